"""What decides about status lists, without a store and without time: bits, when one is signed anew, what a change does."""

import random
import threading
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from issuer.registry import held_list
from issuer.registry.flights import Flights, NotDone
from issuer.registry.held_list import BEST, FAST, PENDING, HeldList, Signing, as_read
from issuer.registry.signed_list import quantum_of
from issuer.registry.status_bits import ALL_SET, LIST_BYTES, NONE_SET, bits_of
from issuer.slots import LIST_QUANTUM, LIST_SIZE
from issuer.storage.revoked import RevokedIndex
from issuer.storage.status_lists import NAMED, LiveLists
from realmint.protocol.status_list import pack, unpack
from tests.support.forge import Forge
from tests.support.issuer import claims
from tests.support.status_reader import bit, set_bits

URI = "https://issuer.example/oauth2/realms/root/status/5"
NOW = 1_795_400_100
FORGE = Forge()


def signing(looked_at: int = NOW, kids: tuple[str, ...] = ("a", "b"), signer: Any = None) -> Signing:
    return Signing(URI, signer or FORGE.signer, kids, looked_at)


def positions(*ranges: tuple[int, int]) -> set[int]:
    return {position for begin, length in ranges for position in range(begin, begin + length)}


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 255, 256, 8192])
@pytest.mark.parametrize("begin", [0, 1, 7, 8, 9, 1000, LIST_SIZE - 8192])
def test_a_dead_range_is_set_from_its_first_index_to_its_last_and_no_further(begin: int, length: int) -> None:
    array = bits_of(0, 0, enabled=True, dead=[(begin, length)], revoked=[])
    assert len(array) == LIST_BYTES
    assert set_bits(array) == positions((begin, length))


@given(
    st.lists(st.tuples(st.integers(0, LIST_SIZE - 5000), st.integers(1, 5000)), max_size=6),
    st.sets(st.integers(0, LIST_SIZE - 1), max_size=20),
    st.integers(0, 4),
    st.integers(0, 3),
)
def test_the_bits_are_those_of_dead_ranges_and_of_revoked_tokens_wherever_the_floor_is(
    dead: list[tuple[int, int]], revoked: set[int], below: int, above: int
) -> None:
    number, floor = below + above, below * LIST_SIZE
    offsets = [(above * LIST_SIZE + begin, length) for begin, length in dead]
    array = bits_of(number, floor, enabled=True, dead=offsets, revoked=[number * LIST_SIZE + at for at in revoked])
    assert set_bits(array) == positions(*dead) | revoked


def test_nothing_is_set_without_a_reason_and_everything_below_the_floor_and_in_a_disabled_realm() -> None:
    assert bits_of(3, 3 * LIST_SIZE, enabled=True, dead=[], revoked=[]) == NONE_SET
    assert bits_of(2, 3 * LIST_SIZE, enabled=True, dead=[], revoked=[]) == ALL_SET
    assert bits_of(3, 3 * LIST_SIZE, enabled=False, dead=[], revoked=[]) == ALL_SET
    assert bits_of(0, 0, enabled=True, dead=[(0, LIST_SIZE)], revoked=[]) == ALL_SET


def test_lists_below_a_floor_are_all_there_and_only_the_first_are_named() -> None:
    lists = LiveLists(frozenset({1 << 20}), [range(2, 4), range(10, 1 << 20)])
    assert [number in lists for number in (1, 2, 3, 4, 9, 10, (1 << 20) - 1, 1 << 20, (1 << 20) + 1)] == [
        False, True, True, False, False, True, True, True, False,
    ]  # fmt: skip
    assert lists.named() == [2, 3, *range(10, 10 + NAMED), 1 << 20]


def test_a_list_says_what_the_interface_says() -> None:
    _, signed = signing().signed(as_read(None, NONE_SET, 7), 7)
    told = claims(signed.token.decode())
    assert told == {
        "sub": URI, "iat": quantum_of(NOW), "exp": quantum_of(NOW) + 600, "ttl": 10,
        "status_list": {"bits": 1, "lst": pack(NONE_SET)}, "seq": 7, "kids": ["a", "b"],
    }  # fmt: skip
    assert zlib.decompress(signed.gzipped, 31) == signed.token


def test_what_was_signed_is_served_until_the_quantum_turns_and_is_then_signed_anew() -> None:
    """Equal tags mean an equal `exp`, in every process: the quantum decides, not the instant of the signature."""
    start = quantum_of(NOW)
    held, first = signing(start).signed(as_read(None, NONE_SET, 7), 7)
    for looked_at in (start, start + 1, start + LIST_QUANTUM - 1):
        assert signing(looked_at).ready(held) is first
        _, elsewhere = signing(looked_at).signed(as_read(None, NONE_SET, 7), 7)
        assert elsewhere.etag == first.etag
        assert claims(elsewhere.token.decode()) == claims(first.token.decode())
    for looked_at in (start - 1, start + LIST_QUANTUM):  # a clock that was set back as well
        assert signing(looked_at).ready(held) is None
        _, anew = signing(looked_at).signed(held, 7)
        assert anew.etag != first.etag
        assert claims(anew.token.decode())["exp"] == quantum_of(looked_at) + 600


def test_another_key_or_another_key_set_signs_it_anew_under_another_tag() -> None:
    held, first = signing().signed(as_read(None, NONE_SET, 7), 7)
    other = Forge().signer
    for changed in (signing(kids=("a", "b", "c")), signing(kids=("b", "a")), signing(signer=other)):
        assert changed.ready(held) is None
    _, anew = signing(kids=("a", "b", "c")).signed(held, 7)
    assert anew.etag != first.etag
    assert claims(anew.token.decode())["kids"] == ["a", "b", "c"]
    assert claims(anew.token.decode())["seq"] == 7


def test_a_revoked_token_sets_its_bit_before_the_list_is_served_again() -> None:
    held, first = signing().signed(as_read(None, NONE_SET, 7), 7)
    revoked = [RevokedIndex(1, 5 * LIST_SIZE + 9, 8), RevokedIndex(1, 5 * LIST_SIZE + 1000, 10)]
    held = held.with_bits(revoked)
    assert signing().ready(held) is None
    held, anew = signing().signed(held, 12)
    assert set_bits(unpack(claims(anew.token.decode())["status_list"]["lst"])) == {9, 1000}
    assert (anew.seq, held.level) == (10, FAST)
    assert anew.etag != first.etag
    assert signing().ready(held) is anew


def test_what_was_read_after_a_revocation_knows_it_already() -> None:
    held = as_read(None, NONE_SET, 7)
    assert held.with_bits([RevokedIndex(1, 3, 7)]) is held
    assert held.with_bits([RevokedIndex(1, 3, 8)]).pending == (3,)


def test_bits_that_nobody_asks_for_are_not_kept_without_bound() -> None:
    held = as_read(None, NONE_SET, 1)
    some = [RevokedIndex(1, at, 2 + at) for at in range(PENDING)]
    assert not held.with_bits(some).stale
    full = held.with_bits(some).with_bits([RevokedIndex(1, PENDING, 3 * PENDING)])
    assert (full.stale, full.pending) == (True, ())
    assert full.with_bits(some) is full


def test_what_is_read_again_and_is_as_it_was_keeps_its_text_and_its_number() -> None:
    held, first = signing().signed(as_read(None, NONE_SET, 7), 7)
    again = as_read(held.no_more(), NONE_SET, 9)
    assert (again.read_at, again.seq, again.stale) == (9, 7, False)
    assert signing().ready(again) is first
    other = as_read(held.no_more(), ALL_SET, 9)
    assert (other.seq, other.level, other.signed) == (9, FAST, None)


def test_a_list_is_compressed_fast_while_it_changes_and_best_when_the_quantum_turns() -> None:
    """And takes the number of what was heard of last, so that no process stays behind another for longer."""
    held, _ = signing().signed(as_read(None, NONE_SET, 7).with_bits([RevokedIndex(1, 3, 8)]), 8)
    assert (held.level, held.lst) == (FAST, pack(unpack(held.lst), 1))
    held, anew = signing(NOW + LIST_QUANTUM).signed(held, 20)
    assert (held.level, held.lst) == (BEST, pack(unpack(held.lst), 9))
    assert (anew.seq, claims(anew.token.decode())["seq"]) == (20, 20)
    changing, anew = signing(NOW + 2 * LIST_QUANTUM).signed(held.with_bits([RevokedIndex(1, 4, 30)]), 31)
    assert (changing.level, anew.seq) == (FAST, 30)


def test_a_thousand_bits_cost_what_the_design_reckons_with() -> None:
    bits = bits_of(0, 0, enabled=True, dead=[], revoked=random.Random(1).sample(range(LIST_SIZE), 1000))
    assert len(unpack(pack(bits))) == LIST_BYTES
    assert len(pack(NONE_SET)) < 250
    assert len(pack(bits)) < 4000
    assert all(bit(bits, index) for index in set_bits(bits))


def test_several_threads_that_want_one_thing_wait_for_the_one_that_does_it() -> None:
    flights: Flights[str] = Flights()
    working, go_on, done = threading.Event(), threading.Event(), []

    def work() -> None:
        working.set()
        assert go_on.wait(10)
        done.append(1)

    threads = [threading.Thread(target=flights.join, args=("a", work, 10)) for _ in range(4)]
    threads[0].start()
    assert working.wait(10)
    for thread in threads[1:]:
        thread.start()
    flights.join("b", lambda: done.append(2), 10)  # another thing is not held up
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert done[0] == 2
    assert 1 <= done.count(1) <= 4
    flights.join("a", lambda: done.append(3), 10)  # and the next is done anew
    assert done[-1] == 3


def test_who_waited_for_another_that_failed_is_told_and_the_next_tries_again() -> None:
    flights: Flights[str] = Flights()
    working, go_on = threading.Event(), threading.Event()
    failed: list[type[BaseException]] = []

    def fail() -> None:
        working.set()
        assert go_on.wait(10)
        raise OSError

    def lead() -> None:
        try:
            flights.join("a", fail, 10)
        except OSError as error:
            failed.append(type(error))

    leader = threading.Thread(target=lead)
    leader.start()
    assert working.wait(10)
    with pytest.raises(NotDone):
        flights.join("a", fail, 0.01)  # no longer than that
    go_on.set()
    leader.join(10)
    assert failed == [OSError]
    done: list[int] = []
    flights.join("a", lambda: done.append(1), 10)
    assert done == [1]


def test_a_held_list_shows_none_of_its_bits() -> None:
    assert "lst" not in repr(HeldList(1, 1, BEST, "eNr"))
    assert held_list.PENDING == PENDING
