"""An assertion that somebody else signs, and keeps fresh in a file."""

import json
import os
from pathlib import Path

import pytest

from realmint import AssertionFile
from realmint.client_assertion import MAX_ASSERTION, AssertionUnavailable, assertion_form
from tests.support.client_keys import CURVED, pem, private_jwk


@pytest.mark.rfc("7521", "4.2")
def test_a_form_has_the_type_beside_the_assertion() -> None:
    assert assertion_form("a.b.c") == {
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion": "a.b.c"
    }  # fmt: skip


def test_a_file_that_rotates_in_place_is_read_anew_for_each_use(tmp_path: Path) -> None:
    projected = tmp_path / "token"
    read = AssertionFile(projected)
    assert repr(read) == f"AssertionFile({str(projected)!r})"
    for number in range(3):
        fresh = tmp_path / "..data_tmp"
        fresh.write_text(f" \n e30.{number}.x \n")
        fresh.replace(projected)
        assert read() == f"e30.{number}.x"


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_file_of_more_than_16_kib_is_no_assertion(tmp_path: Path, more: int) -> None:
    file = tmp_path / "token"
    file.write_text("a.b." + "x" * (MAX_ASSERTION + more - 4))
    if more == 1:
        with pytest.raises(AssertionUnavailable, match="longer than 16384 bytes"):
            AssertionFile(file)()
    else:
        assert len(AssertionFile(file)()) == MAX_ASSERTION + more


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "empty"), (b" \n", "empty"), (b"secret", "not a signed JWT"), (b"a.b", "not a signed JWT"), (b"a.b.c.d.e", "not a signed JWT"),
     (b"a.b.", "not a signed JWT"), (b"a.b.c\na.b.c", "not a signed JWT"), (b"a.b.\xff", "not a signed JWT"),
     (pem(CURVED), "not a signed JWT"), (json.dumps(private_jwk(CURVED)).encode(), "not a signed JWT")],
)  # fmt: skip
def test_what_is_no_signed_jwt_is_sent_to_nobody_and_quoted_nowhere(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(AssertionUnavailable) as refused:
        AssertionFile(file)()
    assert str(refused.value) == f"{str(file)!r}: {words}"


def test_a_file_that_cannot_be_read_is_said_with_the_reason_and_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    with (tmp_path / "before").open("w") as file:
        before = file.fileno()
    for name, words in (("missing", "No such file or directory"), ("pipe", "not a regular file"), ("", "not a regular file"),
                        ("loop", "Too many levels of symbolic links"), ("a\0b", "ValueError")):  # fmt: skip
        path = str(tmp_path / name) if name != "a\0b" else name
        with pytest.raises(AssertionUnavailable) as refused:
            AssertionFile(path)()
        assert str(refused.value) == f"{path!r}: {words}"
    with (tmp_path / "after").open("w") as file:
        assert file.fileno() == before  # none was left open
