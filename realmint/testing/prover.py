"""The holder of a key, for tests: makes DPoP proofs (RFC 9449 section 4.2), and such as are wrong where it is told."""

from collections.abc import Mapping
from secrets import token_hex
from typing import Any

from realmint.protocol import Clock, system_clock
from realmint.protocol.dpop import ath
from realmint.protocol.mtls import thumbprint
from realmint.protocol.names import DPOP, DPOP_TYP
from realmint.testing.signing import SigningKey

_PUBLIC = ("kty", "crv", "x", "y", "n", "e")


class Prover:
    """A client with a key of its own. alg: ES256, RS256 or EdDSA. clock: by which proofs are dated.

    jkt: the thumbprint to which its tokens are bound. A FakeIssuer's prover() is on that issuer's clock.
    """

    def __init__(self, alg: str = "ES256", clock: Clock = system_clock) -> None:
        self.key = SigningKey(alg)
        self.jkt = self.key.kid
        self._clock = clock

    def now(self) -> int:
        """Seconds since the epoch, by its clock."""
        return self._clock()

    @property
    def header(self) -> dict[str, Any]:
        """That of a good proof."""
        jwk = {name: self.key.jwk[name] for name in _PUBLIC if name in self.key.jwk}
        return {"typ": DPOP_TYP, "alg": self.key.alg, "jwk": jwk}

    def proof(
        self, method: str, url: str, token: str | None = None, *, header: Mapping[str, Any] | None = None, **claims: Any
    ) -> str:
        """A proof for one request, to an API with the token that goes along.

        header, claims: more or other members, such as nonce="..."; None takes one away.
        """
        said: dict[str, Any] = {"jti": token_hex(12), "htm": method, "htu": url, "iat": self._clock()}
        if token is not None:
            said["ath"] = ath(token)
        return self.key.token(_changed(self.header, header or {}), _changed(said, claims))

    def headers(self, method: str, url: str, token: str, **claims: Any) -> list[tuple[str, str]]:
        """Those of a request with a token that is bound to this key. claims: as proof() takes them."""
        return [("Authorization", f"{DPOP} {token}"), (DPOP, self.proof(method, url, token, **claims))]


def confirmation(*bound_to: Prover | bytes) -> dict[str, str]:
    """The claim `cnf` of a token that is bound to a prover's key, or to a certificate (DER), or to both."""
    return {
        "jkt" if isinstance(one, Prover) else "x5t#S256": one.jkt if isinstance(one, Prover) else thumbprint(one)
        for one in bound_to
    }


def _changed(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**values, **changes}.items() if value is not None}
