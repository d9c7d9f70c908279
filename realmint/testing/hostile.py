"""Requests that no API may let in, each wrong in one place (RFC 6750, RFC 8725, RFC 9068 section 4, RFC 9449)."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from realmint.testing.fake_issuer import FakeIssuer
from realmint.testing.hostile_proofs import bound_tokens
from realmint.testing.signing import SigningKey, encoded

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class Hostile(NamedTuple):
    """One request: what is wrong with it, its Authorization headers, and the statuses that refuse it rightly.

    headers: what else it brings. times: how often it is sent, the last of which is the one that is wrong.
    """

    name: str
    authorization: tuple[str, ...]
    statuses: frozenset[int] = frozenset({400, 401})
    headers: tuple[tuple[str, str], ...] = ()
    times: int = 1


def hostile_tokens(
    issuer: FakeIssuer, audience: str | Sequence[str], scope: str, method: str = "GET", url: str | None = None
) -> list[Hostile]:
    """Every hostile request against a route of an API of this audience, which needs `scope` ("" for none).

    method, url: of the route, as proofs name them (RFC 9449); the URL is the audience, where that is one.
    """
    forge = _Forge(issuer, audience, scope)
    tokens = [*_headers(forge), *_signatures(forge), *_claims(forge), *_encodings(forge), *_others()]
    found = [Hostile(name, (f"Bearer {token}",)) for name, token in tokens]
    found += _requests(forge)
    found += [
        Hostile(name, authorization, headers=headers, times=times)
        for name, authorization, headers, times in bound_tokens(
            issuer, audience, scope, method, url or _first(audience)
        )
    ]
    if scope:
        less = issuer.issue(audience=audience, scope="another:scope")
        longer = issuer.issue(audience=audience, scope=" ".join(f"{value}x" for value in scope.split()))
        found.append(Hostile("a scope that is another", (f"Bearer {less}",), frozenset({403})))
        found.append(Hostile("a scope that only begins like the right one", (f"Bearer {longer}",), frozenset({403})))
        prover = issuer.prover()
        bound = issuer.issue(audience=audience, scope="another:scope", bound_to=prover)
        proof = ("DPoP", prover.proof(method, url or _first(audience), bound))
        statuses = frozenset({400, 401, 403})
        found.append(Hostile("bound to a key, of another scope", (f"DPoP {bound}",), statuses, (proof,)))
        found.append(
            Hostile("no scope", (f"Bearer {issuer.issue(audience=audience, scope=None)}",), frozenset({401, 403}))
        )
    return found


def _first(audience: str | Sequence[str]) -> str:
    return audience if isinstance(audience, str) else audience[0]


class _Forge:
    """Makes tokens that are right but for what is said."""

    def __init__(self, issuer: FakeIssuer, audience: str | Sequence[str], scope: str) -> None:
        self.issuer, self.audience, self.scope = issuer, audience, scope
        self.key = issuer.keys[0]
        self.stranger = SigningKey(issuer.alg)
        self.good = issuer.issue(audience=audience, scope=scope)

    @property
    def claims(self) -> dict[str, Any]:
        return self.issuer.claims(audience=self.audience, scope=self.scope)

    def header(self, **changes: Any) -> str:
        return self.key.token(_changed(self.issuer.header(), changes), self.claims)

    def says(self, **changes: Any) -> str:
        return self.key.token(self.issuer.header(), _changed(self.claims, changes))

    def signed(self, signature: bytes) -> str:
        return f"{self.good.rpartition('.')[0]}.{encoded(signature) if signature else ''}"


def _changed(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**values, **changes}.items() if value is not None}


def _headers(forge: _Forge) -> Iterator[tuple[str, str]]:
    jwk = dict(forge.stranger.jwk)
    changed: dict[str, dict[str, Any]] = {
        "typ of a plain JWT": {"typ": "JWT"},
        "no typ": {"typ": None},
        "typ of an ID token": {"typ": "id_token+jwt"},
        "typ of a DPoP proof": {"typ": "dpop+jwt"},
        "typ of a client assertion": {"typ": "client-authentication+jwt"},
        "typ of a logout token": {"typ": "logout+jwt"},
        "typ of a security event": {"typ": "secevent+jwt"},
        "typ of a status list": {"typ": "statuslist+jwt"},
        "no kid": {"kid": None},
        "a kid that nobody has": {"kid": "nobody-has-this"},
        "a kid that is a path": {"kid": "../../../../dev/null"},
        "a kid that is SQL": {"kid": "' OR '1'='1"},
        "a kid that is no text": {"kid": 7},
        "crit": {"crit": ["exp"]},
        "crit and what it names": {"crit": ["b64"], "b64": False},
        "b64": {"b64": False},
        "zip": {"zip": "DEF"},
        "an alg that is not its key's": {"alg": "RS256" if forge.key.alg != "RS256" else "ES256"},
        "an alg that is no text": {"alg": 1},
        "no alg": {"alg": None},
    }
    for name, changes in changed.items():
        yield name, forge.header(**changes)
    for name, value in {"jwk": jwk, "jku": "https://evil.example/jwks", "x5u": "https://evil.example/x"}.items():
        header = {**forge.issuer.header(), name: value}
        yield f"{name} of a stranger, who signed", forge.stranger.token(header, forge.claims)
        yield (
            f"{name} of a stranger under his own kid",
            forge.stranger.token({**header, "kid": forge.stranger.kid}, forge.claims),
        )
    yield "a header of 64 KB", forge.header(x="a" * 65536)
    yield (
        "a header with a member twice",
        forge.key.token(json.dumps(forge.issuer.header())[:-1] + ',"kid":"x"}', forge.claims),
    )
    yield "a header that is a list", forge.key.token([forge.issuer.header()], forge.claims)


def _signatures(forge: _Forge) -> Iterator[tuple[str, str]]:
    claims, header = encoded(forge.claims), forge.issuer.header()
    for alg in ("none", "None", "NONE", "nOnE", ""):
        yield f"alg {alg!r} without a signature", f"{encoded({**header, 'alg': alg})}.{claims}."
    yield "alg 'none' with a signature", forge.header(alg="none")
    secret = json.dumps(dict(forge.key.jwk)).encode()
    for what, key in (("the public key", secret), ("nothing", b""), ("its name", forge.key.kid.encode())):
        signed = f"{encoded({**header, 'alg': 'HS256'})}.{claims}"
        yield (
            f"HS256 with {what} as the secret",
            f"{signed}.{encoded(hmac.new(key, signed.encode(), hashlib.sha256).digest())}",
        )
    yield "a stranger's signature", forge.stranger.token(header, forge.claims)
    yield (
        "a stranger's signature under his own kid",
        forge.stranger.token({**header, "kid": forge.stranger.kid}, forge.claims),
    )
    yield "no signature", forge.signed(b"")
    yield "a signature of zeros", forge.signed(bytes(64))
    yield "a signature that is cut short", forge.signed(forge.key.sign(b"x")[:-1])
    yield "a signature over another token", forge.signed(forge.key.sign(b"another token"))
    head, _, rest = forge.good.partition(".")
    _, _, signature = rest.partition(".")
    yield (
        "claims that were changed after they were signed",
        f"{head}.{encoded({**forge.claims, 'sub': 'admin'})}.{signature}",
    )
    if forge.key.alg == "ES256":
        r, s = signature_parts(signature)
        yield "a signature with r and s that are 0", forge.signed(bytes(64))
        yield "a signature with r of the order", forge.signed(_P256_ORDER.to_bytes(32, "big") + s.to_bytes(32, "big"))
        yield (
            "a signature as DER",
            forge.signed(b"0F\x02!\x00" + r.to_bytes(32, "big") + b"\x02!\x00" + s.to_bytes(32, "big")),
        )


def signature_parts(signature: str) -> tuple[int, int]:
    """r and s of a raw ECDSA signature."""
    raw = base64.urlsafe_b64decode(signature + "==")
    return int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")


def _claims(forge: _Forge) -> Iterator[tuple[str, str]]:
    now = forge.claims["iat"]
    changed: dict[str, dict[str, Any]] = {
        "another issuer": {"iss": "https://evil.example"},
        "an issuer with a slash": {"iss": forge.issuer.issuer + "/"},
        "a list of issuers": {"iss": [forge.issuer.issuer]},
        "no issuer": {"iss": None},
        "another audience": {"aud": "https://another.example"},
        "its client as the audience": {"aud": "test-client"},
        "no audience": {"aud": None},
        "an empty audience": {"aud": []},
        "expired": {"exp": now - 3600, "iat": now - 7200, "nbf": now - 7200},
        "no exp": {"exp": None},
        "exp as text": {"exp": str(now + 600)},
        "exp that is true": {"exp": True},
        "exp that is null in a list": {"exp": [None]},
        "exp of the year 30000": {"exp": 10**12},
        "not valid before tomorrow": {"nbf": now + 86400},
        "issued tomorrow": {"iat": now + 86400, "nbf": now, "exp": now + 90000},
        "no sub": {"sub": None},
        "no client_id": {"client_id": None},
        "no jti": {"jti": None},
        "client_id as a list": {"client_id": ["a"]},
        "sub with a line break": {"sub": "a\r\nX-Admin: 1"},
        "bound to a key (DPoP) and without a proof": {"cnf": {"jkt": "x"}},
        "bound to a certificate": {"cnf": {"x5t#S256": "x"}},
        "an empty cnf": {"cnf": {}},
        "scope as a list": {"scope": ["admin"]},
        "a status that cannot be looked up": {"status": {"status_list": {"idx": -1, "uri": "x"}}},
        "a status at somebody else's": {"status": {"status_list": {"idx": 0, "uri": "https://evil.example/status/0"}}},
    }
    for name, changes in changed.items():
        yield name, forge.says(**changes)
    revoked = forge.issuer.issue(audience=forge.audience, scope=forge.scope)
    forge.issuer.revoke(revoked)
    yield "revoked", revoked
    text = json.dumps(forge.claims)
    yield "an audience twice", forge.key.token(forge.issuer.header(), text[:-1] + ',"aud":"https://another.example"}')
    yield "claims that are a list", forge.key.token(forge.issuer.header(), [forge.claims])
    yield "claims with NaN", forge.key.token(forge.issuer.header(), text[:-1] + ',"x":NaN}')
    yield "claims in UTF-16", forge.key.token(forge.issuer.header(), text.encode("utf-16"))
    yield "claims of 10,000 brackets", forge.key.token(forge.issuer.header(), "[" * 5000 + "]" * 5000)


def _encodings(forge: _Forge) -> Iterator[tuple[str, str]]:
    head, body, signature = forge.good.split(".")
    yield "padding", f"{head}.{body}.{signature}=="
    yield "a fourth part", f"{forge.good}.{signature}"
    yield "two parts", f"{head}.{body}"
    yield "five parts, as an encrypted token", f"{head}.{body}.{body}.{body}.{signature}"
    yield "ten thousand dots", "." * 10_000
    yield "a part of spaces", f"{head}. .{signature}"
    yield "JSON serialization", json.dumps({"protected": head, "payload": body, "signature": signature})
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    # The last character carries bits that say nothing: another text for the same bytes.
    yield "another text for the same bytes", f"{head}.{body}.{signature[:-1]}{last[last.index(signature[-1]) ^ 1]}"


def _others() -> Iterator[tuple[str, str]]:
    yield "an opaque token that nobody issued", "rmt_" + "A" * 49
    yield "a word", "token"
    yield "a Basic credential as a token", base64.b64encode(b"client:secret").decode()


def _requests(forge: _Forge) -> list[Hostile]:
    good = forge.good
    nothing = frozenset({401})
    return [
        Hostile("no header", (), nothing),
        Hostile("Basic", ("Basic " + base64.b64encode(b"test-client:secret").decode(),)),
        Hostile("DPoP with a bearer token", (f"DPoP {good}",)),
        Hostile("a good token in two headers", (f"Bearer {good}", f"Bearer {good}")),
        Hostile("a good token and a bad one", (f"Bearer {good}", "Bearer bad")),
        Hostile("Bearer alone", ("Bearer",)),
        Hostile("two tokens in one header", (f"Bearer {good} {good}",)),
        Hostile("two tokens and a comma", (f"Bearer {good}, Bearer {good}",)),
        Hostile("a good token without a scheme", (good,)),
        Hostile("a good token in quotes", (f'Bearer "{good}"',)),
        Hostile("another scheme that ends alike", (f"XBearer {good}",)),
    ]
