"""Clients that sign for themselves: their keys, and what they send, made by libraries that are not ours."""

import json
import secrets
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from types import FrameType
from typing import Any

import jwt as pyjwt
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from realmint.protocol import signatures
from realmint.protocol.client_key import PrivateKey, from_pem
from tests.support.client_keys import another, pem, private_jwk
from tests.support.forge import b64, encode, merged
from tests.support.issuer import BASE_URL, Issuer

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
SPIFFE_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
FORMS: Mapping[str, dict[str, str]] = {
    "/access_token": {"grant_type": "client_credentials", "scope": "read"},
    "/introspect": {"token": "x"},
    "/token/revoke": {"token": "x"},
}
READER = "--scope read --default-scope read"


def issuer_of(realm: str = "/") -> str:
    return f"{BASE_URL}/oauth2/realms/root" + ("" if realm == "/" else realm.replace("/", "/realms/"))


@dataclass
class Signer:
    """A private key and whose it is: a client's, or an outside issuer's. Its kid is None for a header without one."""

    name: str
    alg: str = "ES256"
    kid: str | None = "k1"
    native: Any = field(default=None, repr=False)
    audience: str = issuer_of()

    def __post_init__(self) -> None:
        self.native = self.native or another(self.alg)

    def public_jwk(self, **more: Any) -> dict[str, Any]:
        members = {name: value for name, value in private_jwk(self.native).items() if name not in PRIVATE}
        return merged(members, {"kid": self.kid, **more})

    @property
    def header(self) -> dict[str, Any]:
        return merged({"alg": self.alg}, {"kid": self.kid})

    def claims(self, now: int, **changes: Any) -> dict[str, Any]:
        """What a client that authenticates says; `changes` alter that, None takes a claim away."""
        usual = {
            "iss": self.name, "sub": self.name, "aud": self.audience, "iat": now, "exp": now + 60,
            "jti": secrets.token_urlsafe(16),
        }  # fmt: skip
        return merged(usual, changes)

    def assertion(self, now: int, *, by: str = "joserfc", header: Any = None, **changes: Any) -> str:
        return self.signed(self.claims(now, **changes), by=by, header=header)

    def signed(self, claims: dict[str, Any], *, by: str = "joserfc", header: Any = None) -> str:
        """Any claims at all, by another library. header: what it says besides or in place of `alg` and `kid`."""
        return MAKERS[by](self, merged(self.header, header or {}), claims)

    def raw(self, header: Any, payload: Any) -> str:
        """Bytes as they are under a right signature, as no library would make it."""
        signing_input = f"{encode(header)}.{encode(payload)}"
        return f"{signing_input}.{b64(self._private.sign(signing_input.encode()))}"

    @cached_property
    def _private(self) -> PrivateKey:
        return from_pem(pem(self.native), alg=self.alg)


PRIVATE = {"d", "p", "q", "dp", "dq", "qi"}


def _joserfc(signer: Signer, header: dict[str, Any], claims: dict[str, Any]) -> str:
    kind: Any = {"E": ECKey, "R": RSAKey, "P": RSAKey}[signer.alg[0]] if signer.alg != "EdDSA" else OKPKey
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it would rather have EdDSA called Ed25519 (RFC 9864)
        return joserfc_jwt.encode(header, claims, kind.import_key(pem(signer.native)), algorithms=[signer.alg])


def _pyjwt(signer: Signer, header: dict[str, Any], claims: dict[str, Any]) -> str:
    return pyjwt.encode(claims, signer.native, signer.alg, header)


MAKERS: Mapping[str, Callable[[Signer, dict[str, Any], dict[str, Any]], str]] = {"joserfc": _joserfc, "pyjwt": _pyjwt}


def form(assertion: str, **more: Any) -> dict[str, Any]:
    """What a request holds of it; None takes a parameter away."""
    return merged({"client_assertion_type": TYPE, "client_assertion": assertion}, more)


def written(issuer: Issuer, document: Any, name: str = "keys") -> str:
    """The path of a file that holds it."""
    file = issuer.runtime.settings.instance_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
    return str(file)


def key_client(
    issuer: Issuer, client_id: str = "svc", alg: str = "ES256", options: str = READER, *, realm: str = "/",
    kid: str | None = "k1", native: Any = None,
) -> Signer:  # fmt: skip
    """A client of private_key_jwt with one registered key."""
    issuer.run(f"clients create {client_id} --realm {realm} --auth-method private_key_jwt {options}")
    signer = Signer(client_id, alg, kid, native, issuer_of(realm))
    add_key(issuer, signer, realm=realm)
    return signer


def add_key(issuer: Issuer, signer: Signer, options: str = "", *, realm: str = "/") -> Any:
    """Registers its public half; what the command prints."""
    file = written(issuer, signer.public_jwk())
    return issuer.run(f"clients keys add {signer.name} {file} --realm {realm} {options}")


def ask(issuer: Issuer, assertion: str, suffix: str = "/access_token", realm: str = "/", **more: Any) -> Any:
    """One request with an assertion."""
    return issuer.post(suffix, {**FORMS[suffix], **form(assertion, **more)}, None, realm)


class Counted:
    """`checks`: how many signatures were checked."""

    checks = 0


@contextmanager
def counting_checks() -> Iterator[Counted]:
    """Within it, what this thread does is watched, and nothing is in the place of anything."""
    counted = Counted()

    def seen(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_name == "check" and frame.f_code.co_filename == signatures.__file__:
            counted.checks += 1

    sys.setprofile(seen)
    try:
        yield counted
    finally:
        sys.setprofile(None)
