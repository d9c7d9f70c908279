"""Sealing: bound to realm, kid and algorithm; unsafe key-encryption keys are refused (#179)."""

import base64
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from keys.sealing import (
    KeyEncryptionKey,
    Sealer,
    SealingError,
    create_kek_file,
    parse_keks,
    read_kek_file,
    read_own_kek_file,
)

OLD = KeyEncryptionKey.from_bytes(b"o" * 32)
NEW = KeyEncryptionKey.from_bytes(b"n" * 32)


def test_what_is_sealed_opens_again_and_only_under_its_three_names() -> None:
    sealer = Sealer([NEW])
    sealed = sealer.seal(b"private", 7, "kid-a", "ES256")
    assert sealer.open(sealed, NEW.kek_id, 7, "kid-a", "ES256") == b"private"
    for names in ((8, "kid-a", "ES256"), (7, "kid-b", "ES256"), (7, "kid-a", "RS256")):
        with pytest.raises(SealingError):
            sealer.open(sealed, NEW.kek_id, *names)


@pytest.mark.parametrize("damage", [b"", b"short", b"\0" * 64])
def test_a_damaged_half_is_refused_and_not_quoted(damage: bytes) -> None:
    with pytest.raises(SealingError) as refused:
        Sealer([NEW]).open(damage, NEW.kek_id, 7, "kid-a", "ES256")
    assert "kid-a" in str(refused.value)


def test_the_newest_key_encryption_key_seals_and_older_ones_still_open() -> None:
    sealed = Sealer([OLD]).seal(b"private", 7, "kid-a", "ES256")
    both = Sealer([NEW, OLD])
    assert both.kek_id == NEW.kek_id
    assert both.open(sealed, OLD.kek_id, 7, "kid-a", "ES256") == b"private"
    with pytest.raises(SealingError, match="not given"):
        Sealer([NEW]).open(sealed, OLD.kek_id, 7, "kid-a", "ES256")


def test_two_sealings_of_the_same_half_differ() -> None:
    sealer = Sealer([NEW])
    assert sealer.seal(b"x", 1, "k", "ES256") != sealer.seal(b"x", 1, "k", "ES256")


def test_a_sealer_without_a_key_is_refused() -> None:
    with pytest.raises(SealingError):
        Sealer([])


@pytest.mark.parametrize("text", ["", "AAAA", "not base64!", "A" * 44 + ",", "é" * 43])
def test_text_that_is_not_a_key_encryption_key_is_refused(text: str) -> None:
    with pytest.raises(SealingError):
        parse_keks(text)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_179_a_new_key_file_is_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        create_kek_file(tmp_path / "kek")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "kek").stat().st_mode) == 0o600
    assert len(read_kek_file(tmp_path / "kek")) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["kek"]


def test_of_many_that_make_a_key_file_at_once_all_read_the_same(tmp_path: Path) -> None:
    path = tmp_path / "kek"

    def make(_: int) -> str:
        create_kek_file(path)
        return read_kek_file(path)[0].kek_id

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(make, range(64)))) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["kek"]


def unsafe(kind: str, folder: Path) -> Path:
    path = folder / "kek"
    if kind == "missing":
        return path
    if kind == "directory":
        path.mkdir(0o700)
        return path
    if kind == "fifo":
        os.mkfifo(path, 0o600)
        return path
    create_kek_file(path)
    if kind == "group readable":
        path.chmod(0o640)
    if kind == "world readable":
        path.chmod(0o604)
    if kind == "another's" and os.geteuid() == 0:
        os.chown(path, 12345, 12345)
    if kind == "hard link":
        os.link(path, folder / "other")
    if kind == "symbolic link":
        path.rename(folder / "real")
        path.symlink_to(folder / "real")
    if kind == "too short":
        path.write_bytes(b"x" * 31)
    return path


KINDS = ["missing", "directory", "fifo", "group readable", "world readable", "hard link", "symbolic link", "too short"]


@pytest.mark.parametrize("kind", [*KINDS, *(["another's"] if os.geteuid() == 0 else [])])
def test_179_an_unsafe_key_file_is_refused_by_name_and_never_by_content(tmp_path: Path, kind: str) -> None:
    path = unsafe(kind, tmp_path)
    with pytest.raises(SealingError) as refused:
        read_own_kek_file(path)
    assert "xxxx" not in str(refused.value)


def mounted(folder: Path, mode: int = 0o440) -> Path:
    """A key file as Kubernetes mounts a secret: a link to a link, the file root's, readable by its group."""
    (folder / "..2026").mkdir()
    real = folder / "..2026" / "kek"
    real.write_bytes(b"n" * 32)
    real.chmod(mode)
    (folder / "..data").symlink_to("..2026")
    path = folder / "kek"
    path.symlink_to("..data/kek")
    return path


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o600, 0o640])
def test_179_a_file_that_is_named_may_be_a_link_and_readable_by_its_group(tmp_path: Path, mode: int) -> None:
    assert [kek.kek_id for kek in read_kek_file(mounted(tmp_path, mode))] == [NEW.kek_id]


@pytest.mark.parametrize("mode", [0o444, 0o644, 0o660, 0o602, 0o604, 0o420])
def test_179_a_file_that_all_can_read_or_others_can_write_is_refused_and_the_mode_is_named(
    tmp_path: Path, mode: int
) -> None:
    with pytest.raises(SealingError, match="defaultMode: 0440"):
        read_kek_file(mounted(tmp_path, mode))


@pytest.mark.parametrize("content", [b"", b"\n", b" \r\n\t\n"])
def test_179_an_empty_file_is_a_fault(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "kek"
    path.write_bytes(content)
    path.chmod(0o600)
    for read in (read_kek_file, read_own_kek_file):
        with pytest.raises(SealingError, match="is empty"):
            read(path)


@pytest.mark.parametrize("content", [b"x" * 31, b"x" * 33, b"A" * 43 + b"!", b"x" * 5000, b"\xff" * 40])
def test_179_a_file_that_holds_no_key_is_refused_and_not_quoted(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "kek"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(SealingError) as refused:
        read_kek_file(path)
    assert "xxx" not in str(refused.value)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n"])
def test_lines_of_base64url_may_end_as_editors_end_them(tmp_path: Path, end: bytes) -> None:
    path = tmp_path / "kek"
    lines = [base64.urlsafe_b64encode(letter * 32).rstrip(b"=") for letter in (b"n", b"o")]
    path.write_bytes((end or b"\n").join(lines) + end)
    path.chmod(0o600)
    assert [kek.kek_id for kek in read_kek_file(path)] == [NEW.kek_id, OLD.kek_id]


def test_a_proof_is_for_one_public_half_under_its_three_names() -> None:
    sealer = Sealer([NEW, OLD])
    proof = sealer.vouch("public", 7, "kid-a", "ES256")
    assert sealer.vouches(proof, NEW.kek_id, "public", 7, "kid-a", "ES256")
    for public, *names in (("other", 7, "kid-a", "ES256"), ("public", 8, "kid-a", "ES256"), ("public", 7, "kid-b", "ES256"),
                           ("public", 7, "kid-a", "RS256")):  # fmt: skip
        assert not sealer.vouches(proof, NEW.kek_id, public, *names)
    for damaged in (None, b"", b"short", proof[:-1], proof + b"x", sealer.seal(b"", 7, "kid-a", "ES256")):
        assert not sealer.vouches(damaged, NEW.kek_id, "public", 7, "kid-a", "ES256")
    for kek_id in (OLD.kek_id, "0" * 16, None):
        assert not sealer.vouches(proof, kek_id, "public", 7, "kid-a", "ES256")
