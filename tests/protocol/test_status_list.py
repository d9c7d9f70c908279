"""Status lists as bytes and as text (Token Status List, draft 21), against the vectors of the draft."""

import json
import tracemalloc
import zlib
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from realmint.protocol.status_list import (
    MAX_UNPACKED,
    VALID,
    WIDTHS,
    StatusList,
    StatusListError,
    pack,
    read,
    unpack,
    written,
)

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent.parent / "vectors" / "status_list.json").read_text())
ENTRIES = 2**20


def reason(call: Any, *args: Any) -> str:
    with pytest.raises(StatusListError) as refused:
        call(*args)
    assert refused.value.__cause__ is None
    return refused.value.reason


def text(compressed: bytes) -> str:
    return urlsafe_b64encode(compressed).rstrip(b"=").decode()


@pytest.mark.parametrize("vector", VECTORS["arrays"], ids=lambda vector: str(vector["bits"]))
def test_the_arrays_of_the_draft_are_packed_and_unpacked_as_there(vector: dict[str, Any]) -> None:
    array = bytes.fromhex(vector["array"])
    assert pack(array) == vector["lst"]
    assert unpack(vector["lst"]) == array


def test_index_0_is_the_least_significant_bit_of_the_first_byte() -> None:
    """Section 4.1: the two arrays that are drawn there."""
    one = [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1]
    two = [1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3]
    for vector, statuses in zip(VECTORS["arrays"], (one, two), strict=True):
        found = read({"bits": vector["bits"], "lst": vector["lst"]})
        assert [found.status(index) for index in range(len(found))] == statuses


@pytest.mark.parametrize("vector", VECTORS["lists"], ids=lambda vector: str(vector["bits"]))
def test_the_lists_of_the_draft_say_of_each_of_their_entries_what_they_say_there(vector: dict[str, Any]) -> None:
    bits, told = vector["bits"], {int(index): status for index, status in vector["statuses"].items()}
    found = read({"bits": bits, "lst": vector["lst"]})
    assert len(found) == ENTRIES
    assert len(found.array) == ENTRIES * bits // 8
    assert {index: status for index in range(ENTRIES) if (status := found.status(index)) != VALID} == {
        index: status for index, status in told.items() if status != VALID
    }
    expected = bytearray(len(found.array))
    for index, status in told.items():
        expected[index * bits // 8] |= status << index * bits % 8
    assert found.array == expected
    assert pack(bytes(expected)) == vector["lst"]  # at the level that the draft recommends


@given(
    st.sampled_from(WIDTHS).flatmap(lambda bits: st.tuples(st.just(bits), st.lists(st.integers(0, 2**bits - 1)))),
    st.integers(1, 9),
)
def test_what_was_set_is_what_is_read_at_every_width_and_level(given_list: tuple[int, list[int]], level: int) -> None:
    bits, statuses = given_list
    array = bytearray((len(statuses) * bits + 7) // 8)
    for index, status in enumerate(statuses):
        array[index * bits // 8] |= status << index * bits % 8
    found = read({"bits": bits, "lst": pack(bytes(array), level)})
    assert [found.status(index) for index in range(len(statuses))] == statuses
    assert all(found.status(index) == VALID for index in range(len(statuses), len(found)))


@given(st.binary(max_size=4096), st.integers(1, 9))
def test_every_array_comes_back(array: bytes, level: int) -> None:
    assert unpack(pack(array, level)) == array
    found = read(written(array, level))
    assert (found.bits, found.array) == (1, array)


@pytest.mark.parametrize("bits", WIDTHS)
def test_an_index_outside_the_list_is_refused_and_never_wraps(bits: int) -> None:
    """Section 8.3: an index out of bounds refuses the token."""
    found = StatusList(bits, b"\xff" * 3)
    last = 24 // bits - 1
    assert [found.status(0), found.status(last)] == [2**bits - 1] * 2
    for index in (last + 1, -1, 2**64, 10**30, True, False, 0.0, "0", None, [0]):
        assert reason(found.status, index) == "index"
    assert reason(StatusList(bits, b"").status, 0) == "index"


def test_a_byte_more_than_allowed_is_too_much_and_as_many_are_not() -> None:
    for size in (99, 100):
        assert unpack(pack(bytes(size)), 100) == bytes(size)
    assert reason(unpack, pack(bytes(101)), 100) == "too_large"
    assert reason(read, written(bytes(101)), 100) == "too_large"


def test_a_bomb_is_refused_before_it_bursts() -> None:
    """A thousand to one: 20 MiB of zeros in 20 kB, many of which one after the other would be gigabytes."""
    bomb = text(zlib.compress(bytes(20 * MAX_UNPACKED), 9))
    tracemalloc.start()
    assert reason(unpack, bomb) == "too_large"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * MAX_UNPACKED  # what was allowed, and the buffer that it grew in


def test_what_is_cut_off_or_followed_by_something_or_of_another_form_is_malformed() -> None:
    whole = zlib.compress(bytes(1000))
    raw = zlib.compressobj(wbits=-15)
    gzip = zlib.compressobj(wbits=31)
    for spoilt in (
        whole[:-1], whole[:4], whole + b"\0", whole + whole, whole[:-1] + bytes([whole[-1] ^ 1]), b"\0" * 10,
        raw.compress(bytes(1000)) + raw.flush(), gzip.compress(bytes(1000)) + gzip.flush(),
    ):  # fmt: skip
        assert reason(unpack, text(spoilt)) == "malformed"
    lst = text(whole)
    for other in ("", lst + "=", lst + "==", " " + lst, lst + "\n", lst[:5] + "+" + lst[6:], lst + "ü", lst[:-1]):
        assert reason(unpack, other) == "malformed"


@pytest.mark.parametrize(
    "member",
    [None, [], "x", 1, {}, {"bits": 1}, {"lst": "eNrbuRgAAhcBXQ"}, {"bits": 1, "lst": 5}, {"bits": 1, "lst": None},
     *({"bits": bits, "lst": "eNrbuRgAAhcBXQ"} for bits in (0, 3, 16, -1, True, 1.0, "1", None, [1]))],
)  # fmt: skip
def test_a_claim_of_another_shape_is_malformed(member: object) -> None:
    assert reason(read, member) == "malformed"


def refused(call: Any, *args: Any) -> bool:
    """Whether a call refuses as it should; what else it raises is a fault."""
    try:
        call(*args)
    except StatusListError as error:
        return error.reason in {"malformed", "too_large"} or pytest.fail(error.reason)
    return False


@given(st.binary(max_size=2000) | st.binary(max_size=2000).map(zlib.compress), st.integers(0, 3000))
@example(zlib.compress(b""), 0)
def test_26_any_bytes_are_a_list_or_a_refusal_of_ours(raw: bytes, most: int) -> None:
    if not refused(unpack, text(raw), most):
        assert unpack(text(raw), most) == zlib.decompress(raw)
        assert len(unpack(text(raw), most)) <= most


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["bits", "lst", "x"]), inner),
)


@given(JSON | st.fixed_dictionaries({"bits": st.sampled_from(WIDTHS), "lst": st.text()}))
def test_26_any_json_is_a_list_or_a_refusal_of_ours(member: object) -> None:
    assert refused(read, member) or len(read(member)) >= 0
