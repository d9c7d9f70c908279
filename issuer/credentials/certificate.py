"""What a client shows a certificate for (RFC 8705 section 2): one of its own, or a name that an authority gave it."""

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from realmint.protocol import base64url

SUBJECT_KINDS = ("subject_dn", "san_dns", "san_uri", "san_ip", "san_email")
"""What an authority may have named it by (RFC 8705 section 2.1.2, each without `tls_client_auth_`)."""
MAX_CERTIFICATE = 16384
MOST_AUTHORITIES = 10


@dataclass(frozen=True)
class OwnCertificate:
    """A certificate that is signed by itself, of which the very bytes count (self_signed_tls_client_auth)."""

    KIND: ClassVar[str] = "certificate"
    PREFIX: ClassVar[str] = "cert"

    der: bytes = field(repr=False)

    @property
    def thumbprint(self) -> str:
        """Its `x5t#S256` (RFC 8705 section 3.1)."""
        return base64url.encode(hashlib.sha256(self.der).digest()).decode("ascii")

    def members(self) -> Mapping[str, Any]:
        return {"x5c": _encoded(self.der)}

    @classmethod
    def from_members(cls, members: Mapping[str, Any]) -> Self:
        return cls(_decoded(members.get("x5c")))


@dataclass(frozen=True)
class NamedSubject:
    """A certificate in which an authority names the client so, one field and its value (tls_client_auth).

    authorities: certificates, DER, of those that may have issued it; none where whoever ends TLS decides that.
    """

    KIND: ClassVar[str] = "subject"
    PREFIX: ClassVar[str] = "subj"

    kind: str
    value: str
    authorities: tuple[bytes, ...] = field(default=(), repr=False)

    def members(self) -> Mapping[str, Any]:
        return {self.kind: self.value, "authorities": [_encoded(der) for der in self.authorities]}

    @classmethod
    def from_members(cls, members: Mapping[str, Any]) -> Self:
        (kind,) = [name for name in SUBJECT_KINDS if name in members]
        authorities: Sequence[object] = members["authorities"]
        if not isinstance(members[kind], str):
            raise ValueError("no subject")  # noqa: TRY004 - of what is stored, as every other
        return cls(kind, members[kind], tuple(map(_decoded, authorities)))


def _encoded(der: bytes) -> str:
    return base64.b64encode(der).decode("ascii")  # RFC 7515 section 4.1.6: not base64url


def _decoded(text: object) -> bytes:
    if not isinstance(text, str) or len(text) > 2 * MAX_CERTIFICATE:
        raise ValueError("no certificate")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("no certificate") from None
