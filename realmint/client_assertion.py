"""How a client authenticates without a secret: an assertion signed with its own key (`private_key_jwt`, RFC 7523
section 2.2), or one that somebody else signs for it and leaves in a file.
"""

import os
import re
import stat
from collections.abc import Mapping
from secrets import token_urlsafe
from typing import Any

from realmint.protocol.client_key import KeyRefused, from_jwk, from_pem
from realmint.protocol.dpop import make_proof
from realmint.protocol.jws import JWSError, parse_object, sign
from realmint.protocol.names import CLIENT_AUTHENTICATION_TYP, JWT_BEARER_ASSERTION

LIFETIME = 60
"""Seconds for which an assertion counts: longer than a request takes, and no gift to who steals one."""
MAX_ASSERTION = 16384
"""Longest assertion in bytes that is taken from a file."""
MAX_KEY = 65536
"""Longest file of a key in bytes."""
_JTI_BYTES = 24

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class AssertionUnavailable(Exception):
    """There is no assertion to send. The message says why, and has nothing of what was read."""


class ClientKey:
    """A client's own private key, and the assertions that it signs.

    key: PEM (PKCS #8, PKCS #1 or SEC 1, not encrypted), as text or bytes, or a JWK (RFC 7517), as a mapping or JSON.
    kid: the name under which the issuer knows it; without, that of the JWK, or else its thumbprint (RFC 7638). alg:
    without, that of the JWK, or else ES256 for P-256, ES384 for P-384, EdDSA for Ed25519 and PS256 for RSA, for which
    RS256 may be asked for.

    Raises ValueError for what is no such key, RSA of less than 2048 bits and a key that can be guessed among them; the
    message has no part of it. The key is in no repr, and is never written anywhere. Safe to use from several threads,
    and across a fork.
    """

    __slots__ = ("_signer",)

    def __init__(self, key: str | bytes | Mapping[str, Any], *, kid: str | None = None, alg: str | None = None) -> None:
        if isinstance(key, Mapping):
            self._signer = from_jwk(key, kid, alg)
            return
        if not isinstance(key, str | bytes):
            raise ValueError("a client's key is PEM text, or a JWK")  # noqa: TRY004 - as for every other
        raw = key.encode("utf-8", "replace") if isinstance(key, str) else key
        self._signer = from_pem(raw, kid, alg) if b"-----BEGIN " in raw else from_jwk(_object(raw), kid, alg)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], *, kid: str | None = None, alg: str | None = None) -> "ClientKey":
        """The key in a file, in PEM or as a JWK. It is read once. Raises ValueError, which names the file."""
        name = os.fspath(path)
        try:
            with open(name, "rb") as file:  # noqa: PTH123 - one that is no text is a fault like others
                raw = file.read(MAX_KEY + 1)
        except OSError as error:
            raise ValueError(f"{name}: {_words(error)}") from None
        if len(raw) > MAX_KEY:
            raise ValueError(f"{name}: longer than {MAX_KEY} bytes, and so no key")
        try:
            return cls(raw, kid=kid, alg=alg)
        except KeyRefused as error:
            raise KeyRefused(f"{name}: {error}") from None

    @property
    def kid(self) -> str:
        """The name of the key, which each assertion's header has."""
        return self._signer.kid

    @property
    def alg(self) -> str:
        """What it signs with."""
        return self._signer.alg

    @property
    def public_jwk(self) -> Mapping[str, Any]:
        """The public half, as the issuer is told of it when the client is registered."""
        return dict(self._signer.public_jwk)

    def dpop_proof(
        self, method: str, url: str, now: int, *, access_token: str | None = None, nonce: str | None = None
    ) -> str:
        """A DPoP proof for one request (RFC 9449 section 4), from `now`, in seconds since the epoch.

        A key that proves possession is another than one that authenticates: nobody checks that here.
        """
        return make_proof(
            self._signer, self._signer.public_jwk, method, url, now, access_token=access_token, nonce=nonce
        )

    def assertion(self, client_id: str, audience: str, now: int) -> str:
        """An assertion that counts once, for LIFETIME seconds from `now`, in seconds since the epoch.

        audience: the issuer identifier, and neither a list nor an endpoint's address (rfc7523bis). Implements RFC 7523
        section 3. Raises ValueError for a client_id or an audience that is no text.
        """
        if not all(isinstance(name, str) and name for name in (client_id, audience)):
            raise ValueError("an assertion needs a client_id and the issuer identifier, each as text")
        claims = {
            "iss": client_id,
            "sub": client_id,
            "aud": audience,
            "iat": now,
            "exp": now + LIFETIME,
            "jti": token_urlsafe(_JTI_BYTES),
        }
        return sign(claims, self._signer, CLIENT_AUTHENTICATION_TYP)

    def __repr__(self) -> str:
        return f"ClientKey(kid={self.kid!r}, alg={self.alg!r})"


class AssertionFile:
    """An assertion in a file that somebody else keeps fresh: a projected token of Kubernetes, a JWT-SVID of SPIFFE.

    Called for each use, it reads the file anew. Nothing is read, and nothing refused, when it is made: the file may
    come later.
    """

    __slots__ = ("path",)

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)

    def __call__(self) -> str:
        """The text of the file without white space around it. Raises AssertionUnavailable, which names the file.

        Not checked: who signed it, for whom, and whether it has expired.
        """
        try:
            raw = self._read()
            if len(raw) > MAX_ASSERTION:
                raise AssertionUnavailable(f"longer than {MAX_ASSERTION} bytes")  # noqa: TRY301 - said as the others are
            return compact(raw.decode("ascii", "replace").strip())
        except AssertionUnavailable as error:
            raise AssertionUnavailable(f"{self.path!r}: {error}") from None
        except (OSError, ValueError) as error:  # the second for a NUL in the path
            raise AssertionUnavailable(f"{self.path!r}: {_words(error)}") from None

    def _read(self) -> bytes:
        # Not to be held up by a pipe that nobody writes into.
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise AssertionUnavailable("not a regular file")
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(MAX_ASSERTION + 1)
        finally:
            os.close(descriptor)

    def __repr__(self) -> str:
        return f"AssertionFile({self.path!r})"


def compact(text: object) -> str:
    """`text`, if it has the form of a signed JWT. Raises AssertionUnavailable.

    So neither a key nor anything else that stood in the wrong file is sent to anybody.
    """
    if not isinstance(text, str) or len(text) > MAX_ASSERTION or not _COMPACT.fullmatch(text):
        raise AssertionUnavailable("not a signed JWT" if text else "empty")
    return text


def assertion_form(assertion: str) -> dict[str, str]:
    """The two members of a form by which a client authenticates with `assertion` (RFC 7521 section 4.2)."""
    return {"client_assertion_type": JWT_BEARER_ASSERTION, "client_assertion": assertion}


def _object(raw: bytes) -> Mapping[str, Any]:
    try:
        return parse_object(raw)
    except JWSError:
        raise KeyRefused("that is neither PEM text nor a JWK; a file is read by ClientKey.from_file(path)") from None


def _words(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
