"""Sealing: bound to realm, kid and algorithm; unsafe key-encryption keys are refused (#179)."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from keys.sealing import KeyEncryptionKey, Sealer, SealingError, create_kek_file, parse_keks, read_kek_file

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
        read_kek_file(path)
    assert "xxxx" not in str(refused.value)
