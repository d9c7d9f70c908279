"""Sealing of private halves, proofs of public ones: AES-256-GCM under a key-encryption key (NIST SP 800-38D).

A sealed half is bound to its realm, its kid and its algorithm, so a row cannot be moved; a proof to the public half
as well, so none can be planted. The identifier of the key-encryption key stands beside both. Several are accepted for
reading, the newest seals.
"""

import base64
import binascii
import hashlib
import hmac
import os
import resource
import secrets
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keys.files import sync_folder, write_private

KEK_BYTES = 32
_NONCE_BYTES = 12
_FORMAT = b"realmint key 1"
_PUBLIC_FORMAT = b"realmint public key 1"
_MAX_FILE = 4096


class SealingError(Exception):
    """A key-encryption key is missing, malformed, unsafe or not the right one. Never holds key material."""


@dataclass(frozen=True)
class KeyEncryptionKey:
    """One 256-bit key-encryption key and the identifier derived from it."""

    kek_id: str
    cipher: AESGCM = field(repr=False, compare=False)
    derived: bytes = field(repr=False, compare=False)
    """A secret that tells nothing of the key, for what every node has to know and nobody else."""

    @classmethod
    def from_bytes(cls, raw: bytes) -> "KeyEncryptionKey":
        """The key over exactly 32 bytes. Raises SealingError."""
        if len(raw) != KEK_BYTES:
            raise SealingError(f"a key-encryption key has {KEK_BYTES} bytes, this one has {len(raw)}")
        kek_id = hashlib.sha256(b"realmint kek id" + raw).hexdigest()[:16]
        return cls(kek_id, AESGCM(raw), hmac.digest(raw, b"realmint derived secret", "sha256"))


class Sealer:
    """Seals and opens private halves with one or more key-encryption keys, newest first."""

    def __init__(self, keks: Sequence[KeyEncryptionKey]) -> None:
        if not keks:
            raise SealingError("there is no key-encryption key")
        self._newest = keks[0]
        self._by_id = {kek.kek_id: kek for kek in keks}

    @property
    def kek_id(self) -> str:
        """Identifier of the key-encryption key that seals."""
        return self._newest.kek_id

    @property
    def derived_secret(self) -> bytes:
        """32 bytes that every node has which seals with the same key, and nobody else."""
        return self._newest.derived

    def knows(self, kek_id: str | None) -> bool:
        """Whether halves sealed under `kek_id` can be opened."""
        return kek_id in self._by_id

    def seal(self, plain: bytes, realm_id: int, kid: str, alg: str) -> bytes:
        """`plain` sealed under the newest key-encryption key, bound to the three names."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._newest.cipher.encrypt(nonce, plain, _bound_to(realm_id, kid, alg))

    def open(self, sealed: bytes, kek_id: str | None, realm_id: int, kid: str, alg: str) -> bytes:
        """The private half. Raises SealingError when the key-encryption key is not the right one."""
        kek = self._by_id.get(kek_id or "")
        if kek is None:
            raise SealingError(f"key {kid} is sealed under key-encryption key {kek_id}, which is not given")
        try:
            return kek.cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _bound_to(realm_id, kid, alg))
        except (InvalidTag, ValueError):
            raise SealingError(f"key {kid} does not open under key-encryption key {kek_id}") from None

    def vouch(self, public: str, realm_id: int, kid: str, alg: str) -> bytes:
        """A proof that whoever held the newest key-encryption key stored this public half under these three names."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        # Nothing is encrypted: the tag is over what the proof is bound to (NIST SP 800-38D section 3, GMAC).
        return nonce + self._newest.cipher.encrypt(nonce, b"", _vouched_for(public, realm_id, kid, alg))

    def vouches(self, proof: bytes | None, kek_id: str | None, public: str, realm_id: int, kid: str, alg: str) -> bool:
        """Whether `proof` was made for just this public half under these names, by a key-encryption key we have."""
        kek = self._by_id.get(kek_id or "")
        if kek is None or proof is None:
            return False
        try:
            bound_to = _vouched_for(public, realm_id, kid, alg)
            return kek.cipher.decrypt(proof[:_NONCE_BYTES], proof[_NONCE_BYTES:], bound_to) == b""
        except (InvalidTag, ValueError):
            return False


def parse_keks(text: str) -> Sequence[KeyEncryptionKey]:
    """Key-encryption keys from text: base64url of 32 bytes each, comma-separated, newest first. Raises SealingError."""
    return [KeyEncryptionKey.from_bytes(_unbase64(part.strip())) for part in text.split(",")]


def read_kek_file(path: Path) -> Sequence[KeyEncryptionKey]:
    """Key-encryption keys from a file that somebody named: 32 raw bytes, or lines of base64url, newest first.

    It may be a link, as mounted secrets are, may belong to root and be readable by its group. Raises SealingError for
    one that all can read or others can write, and for an empty one (#179).
    """
    return _read_keks(path, own=False)


def read_own_kek_file(path: Path) -> Sequence[KeyEncryptionKey]:
    """The file that was made beside the embedded database: no link, nobody else's, and private. Raises SealingError."""
    return _read_keks(path, own=True)


def _read_keks(path: Path, *, own: bool) -> Sequence[KeyEncryptionKey]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | (os.O_NOFOLLOW if own else 0))
    except FileNotFoundError:
        raise SealingError(f"key-encryption key file {path} does not exist") from None
    except OSError as error:
        raise SealingError(f"key-encryption key file {path} cannot be opened: {error.strerror}") from None
    try:
        fault = (_own_fault if own else _named_fault)(os.fstat(descriptor))
        if fault is not None:
            raise SealingError(f"key-encryption key file {path} {fault}")
        raw = os.read(descriptor, _MAX_FILE + 1)
    finally:
        os.close(descriptor)
    if len(raw) == KEK_BYTES:
        return [KeyEncryptionKey.from_bytes(raw)]
    lines = raw.decode("ascii", "replace").split()
    if not lines or len(raw) > _MAX_FILE:  # never a reason to look elsewhere
        raise SealingError(f"key-encryption key file {path} is {'too long' if lines else 'empty'}")
    return [KeyEncryptionKey.from_bytes(_unbase64(line)) for line in lines]


def _own_fault(status: os.stat_result) -> str | None:
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        return "is not a regular file of its own"
    if status.st_mode & 0o077 or status.st_uid != os.geteuid():
        return "must be readable by its owner only (chmod 600)"
    return None


def _named_fault(status: os.stat_result) -> str | None:
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file"
    if status.st_uid not in (0, os.geteuid()):
        return "belongs to another user than root and this one"
    if status.st_mode & 0o027:
        return "can be read by all or written by others than its owner (chmod 600; in Kubernetes defaultMode: 0440)"
    return None


def create_kek_file(path: Path) -> None:
    """A new key-encryption key at `path`, unless another process has made one meanwhile: then that is the one."""
    try:
        write_private(path, secrets.token_bytes(KEK_BYTES))
    except FileExistsError:
        # Its maker may have died before its name was safe; what is sealed from now on must not outlive it.
        sync_folder(path.parent)


def forbid_core_dumps() -> None:
    """The memory of this process holds private halves from now on: it is never written to a file by a crash."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _vouched_for(public: str, realm_id: int, kid: str, alg: str) -> bytes:
    return b"|".join((_PUBLIC_FORMAT, str(realm_id).encode(), kid.encode(), alg.encode(), public.encode()))


def _bound_to(realm_id: int, kid: str, alg: str) -> bytes:
    return b"|".join((_FORMAT, str(realm_id).encode(), kid.encode(), alg.encode()))


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise SealingError("a key-encryption key is not base64url") from None
