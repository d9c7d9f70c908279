"""DPoP: a request is proven to come from the holder of a key (RFC 9449). Pure: the time is told, and nothing is kept.

That a proof is used once is for who keeps marks: `replay_key` says under what, `Proof.until` how long. That an access
token is bound to the key of the proof (`cnf.jkt`) is for who reads the token.
"""

import hashlib
import hmac
import math
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from realmint.protocol import base64url, jws
from realmint.protocol.claims import ClaimError, numeric_date, string
from realmint.protocol.jws import MIN_RSA_BITS, JWSError, Signer, VerificationKey
from realmint.protocol.names import DPOP_TYP
from realmint.protocol.urls import normalised

MAX_AGE = 60
"""How old a proof may be, in seconds."""
LEEWAY = 30
"""Tolerated difference of clocks either way, in seconds."""
MAX_JTI = 256
"""Longest `jti` in characters."""

REASONS = frozenset(
    {"missing", "several", "malformed", "too_large", "header", "typ", "alg", "jwk", "signature"}
    | {"htm", "htu", "iat", "jti", "ath", "nonce"}
)

# In bits. Anybody can have a signature checked with a key of his own: what is beyond these makes that cost up to a
# hundred times as much.
_MAX_MODULUS, _MAX_EXPONENT = 4096, 32
_COORDINATES = {"P-256": 32, "P-384": 48, "Ed25519": 32}
"""Their size in bytes (RFC 7518 section 6.2.1.2, RFC 8037 section 2)."""


class ProofError(Exception):
    """A proof was refused. `reason` is one of REASONS and never holds input.

    `nonce` alone is mended by the client with another nonce (`use_dpop_nonce`, RFC 9449 section 8).
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Proof(NamedTuple):
    """What a checked proof says.

    jkt: RFC 7638 thumbprint of its key. htu: normalised, without query and fragment. iat: seconds since the epoch.
    until: the last second at which it may be accepted, and so how long a mark of its use is kept.
    """

    jkt: str
    jti: str
    htu: str
    iat: float
    nonce: str | None
    until: int


def check_proof(
    headers: str | Sequence[str] | None,
    method: str,
    url: str,
    now: int,
    *,
    algorithms: Collection[str],
    access_token: str | None = None,
    accepts_nonce: Callable[[str], bool] | None = None,
    max_age: int = MAX_AGE,
    leeway: int = LEEWAY,
) -> Proof:
    """The one proof in `headers`, if it is one for this request (RFC 9449 section 4.3).

    headers: what the request has under DPoP: None or nothing, one value (where WSGI joined several by commas, that
    too), or each. method, url: of the request; the URL as clients write it, never put together from Host.
    algorithms: those that are allowed. access_token: what it came with, at a resource server. accepts_nonce: whether
    a nonce is one of ours; when given, one is demanded. max_age, leeway: in seconds.

    Raises ProofError; ValueError for no algorithms. Not checked: that it is used once, that the token is bound to
    its key, `nbf` and `exp`, which the RFC gives no meaning.
    """
    if not algorithms:
        raise ValueError("no algorithms")
    token = _peek(_only(headers))
    if token.protected.typ != DPOP_TYP:
        raise ProofError("typ")
    if token.alg not in algorithms:
        raise ProofError("alg")
    if token.claims.get("htm") != method:
        raise ProofError("htm")
    # What costs little comes first: anybody can send a proof.
    htu = _matching(token.claims.get("htu"), url)
    iat = _issued(token.claims, now, max_age, leeway)
    jti = _identifier(token.claims)
    if access_token is not None:
        _check_hash(token.claims.get("ath"), access_token)
    nonce = _nonce(token.claims.get("nonce"), accepts_nonce)
    jkt = _signed_by(token)
    return Proof(jkt, jti, htu, iat, nonce, math.floor(iat) + max_age + leeway)


def make_proof(
    signer: Signer, public_jwk: Mapping[str, Any], method: str, url: str, now: int,
    *, access_token: str | None = None, nonce: str | None = None,
) -> str:  # fmt: skip
    """A proof for one request, under a key whose public half goes along (RFC 9449 section 4.2).

    url: as the other side calls it; query and fragment are left out. access_token: what it goes with, at an API.
    """
    claims = {
        "jti": secrets.token_urlsafe(24),
        "htm": method,
        "htu": url.partition("#")[0].partition("?")[0],
        "iat": now,
    }
    optional = {"ath": ath(access_token) if access_token is not None else None, "nonce": nonce}
    claims |= {name: value for name, value in optional.items() if value is not None}
    jwk = {name: public_jwk[name] for name in ("kty", "crv", "x", "y", "n", "e") if name in public_jwk}
    return jws.sign_with_header(claims, signer, {"alg": signer.alg, "typ": DPOP_TYP, "jwk": jwk})


def ath(access_token: str) -> str:
    """The hash of an access token that a proof for it carries (RFC 9449 section 4.2).

    Raises ValueError for what is not ASCII.
    """
    return base64url.encode(hashlib.sha256(access_token.encode("ascii")).digest()).decode("ascii")


def replay_key(proof: Proof) -> bytes:
    """32 bytes under which the use of a proof is kept (RFC 9449 section 11.1): one for each key, address and `jti`."""
    digest = hashlib.sha256()
    for part in (proof.jkt, proof.htu, proof.jti):
        raw = part.encode()
        digest.update(len(raw).to_bytes(4) + raw)  # without the length, two parts could be cut elsewhere
    return digest.digest()


@dataclass(frozen=True)
class Nonces:
    """Nonces that no memory is needed for (RFC 9449 section 8): who has the secret knows those that were issued.

    secret: 32 random bytes or more; processes that share it take each other's. lifetime: seconds for which one is
    issued; it is accepted for between once and twice that long, by any client. Raises ValueError for less of either.
    """

    secret: bytes = field(repr=False)
    lifetime: int

    def __post_init__(self) -> None:
        if len(self.secret) < 32 or self.lifetime < 1:
            raise ValueError("a nonce needs a secret of 32 bytes and a lifetime of a second")

    def issue(self, now: int) -> str:
        """The nonce of this time, base64url."""
        return self._of(now // self.lifetime)

    def accepts(self, text: str, now: int) -> bool:
        """Whether `text` is the nonce of this time or of the one before. How it is wrong takes no time of its own."""
        current, raw = now // self.lifetime, text.encode("utf-8", "replace")
        return any([hmac.compare_digest(raw, self._of(time).encode()) for time in (current, current - 1)])  # noqa: C419 - both

    def _of(self, time: int) -> str:
        # The lifetime too: after it was changed, the number of an older time is not that of one today.
        message = b"DPoP nonce" + self.lifetime.to_bytes(8) + time.to_bytes(8, signed=True)
        return base64url.encode(hmac.digest(self.secret, message, "sha256")[:24]).decode("ascii")


def _only(headers: str | Sequence[str] | None) -> str:
    """The one value of the header (section 4.3 step 1)."""
    values = [headers] if isinstance(headers, str) else list(headers or ())
    if not values:
        raise ProofError("missing")
    if len(values) > 1 or "," in values[0]:  # which no JWS has
        raise ProofError("several")
    return values[0]


def _peek(text: str) -> jws.Unverified:
    try:
        return jws.peek(text, proof=True)
    except JWSError as refused:
        raise ProofError(refused.reason) from None


def _matching(htu: object, url: str) -> str:
    """The one form of both (step 9)."""
    wanted, said = normalised(url), normalised(htu)
    if wanted is None or said != wanted:
        raise ProofError("htu")
    return said


def _issued(claims: Mapping[str, Any], now: int, max_age: int, leeway: int) -> float:
    try:
        iat = numeric_date(claims, "iat")
    except ClaimError:
        raise ProofError("iat") from None
    if not now - max_age - leeway <= iat <= now + leeway:  # step 11
        raise ProofError("iat")
    return iat


def _identifier(claims: Mapping[str, Any]) -> str:
    try:
        jti = string(claims, "jti")
    except ClaimError:
        raise ProofError("jti") from None
    if len(jti) > MAX_JTI:
        raise ProofError("jti")
    return jti


def _check_hash(said: object, access_token: str) -> None:
    """Step 12: for this very token."""
    if not isinstance(said, str) or not access_token.isascii():
        raise ProofError("ath")
    if not hmac.compare_digest(said.encode(), ath(access_token).encode()):
        raise ProofError("ath")


def _nonce(said: object, accepts: Callable[[str], bool] | None) -> str | None:
    """Step 10. One that nobody asked for, say another server's, does no harm."""
    if said is not None and not isinstance(said, str):
        raise ProofError("malformed")
    if accepts is not None and (said is None or not accepts(said)):
        raise ProofError("nonce")
    return said


def _signed_by(token: jws.Unverified) -> str:
    """The thumbprint of the key in the header, with which the proof was signed (steps 6 and 7)."""
    try:
        key = _key(token.signing_input.partition(b".")[0])
        jws.check_signature(token, key)
    except JWSError as refused:
        raise ProofError("jwk" if refused.reason == "key" else refused.reason) from None
    return key.thumbprint


@lru_cache(maxsize=256)
def _key(head: bytes) -> VerificationKey:
    """The key that a header holds. A client sends the same one with each request, and weighing it takes the longest."""
    jwk = jws.parse_object(base64url.decode(head)).get("jwk")
    if not isinstance(jwk, dict) or not _is_plain(jwk):
        raise JWSError("key")
    return jws.verification_key({**jwk, "kid": "proof"})  # it needs no name (RFC 9449 section 4.2)


def _is_plain(jwk: Mapping[str, Any]) -> bool:
    """Whether its numbers are of a size we reckon with, each in its one spelling (RFC 7518 sections 2 and 6).

    One key would have several thumbprints otherwise.
    """
    try:
        if jwk.get("kty") == "RSA":
            n, e = (base64url.decode(jwk[name].encode("ascii")) for name in ("n", "e"))
            bits = int.from_bytes(n).bit_length()
            sized = MIN_RSA_BITS <= bits <= _MAX_MODULUS and int.from_bytes(e).bit_length() <= _MAX_EXPONENT
            return sized and n[0] != 0 and e[0] != 0
        names = ("x", "y") if jwk.get("kty") == "EC" else ("x",)
        size = _COORDINATES[jwk["crv"]]
        return all(len(base64url.decode(jwk[name].encode("ascii"))) == size for name in names)
    except (KeyError, ValueError, TypeError, AttributeError):
        return False
