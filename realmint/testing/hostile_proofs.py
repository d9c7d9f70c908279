"""Requests with bound tokens that no API may let in, whether it takes such tokens or not (RFC 8705, RFC 9449).

A right proof or certificate is beside what is wrong wherever there can be one, so that nothing else refuses it.
"""

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from realmint.protocol.base64url import encode
from realmint.testing.fake_issuer import FakeIssuer
from realmint.testing.prover import Prover
from realmint.testing.signing import client_certificate, pem_of

Headers = tuple[tuple[str, str], ...]
Request = tuple[str, tuple[str, ...], Headers, int]
"""What is wrong, the Authorization headers, the others, and how often it is sent."""


class _Client:
    """The client that a token is bound to, and one that stole it."""

    def __init__(self, issuer: FakeIssuer, audience: str | Sequence[str], scope: str, method: str, url: str) -> None:
        self.issuer, self.method, self.url = issuer, method, url
        self.holder, self.thief = issuer.prover(), issuer.prover()
        self.certificate, self.stranger_s = client_certificate(), client_certificate("stranger")
        self._of: dict[str, Any] = {"audience": audience, "scope": scope}
        self.token = self.issue(bound_to=self.holder)

    def issue(self, **more: Any) -> str:
        return self.issuer.issue(**self._of, **more)

    def proof(self, prover: Prover | None = None, **changes: Any) -> str:
        """One for the token and the route, but for what is said."""
        given = {"method": self.method, "url": self.url, "token": self.token, **changes}
        return (prover or self.holder).proof(**given)


def bound_tokens(
    issuer: FakeIssuer, audience: str | Sequence[str], scope: str, method: str, url: str
) -> Iterator[Request]:
    """Against a route with this method and URL."""
    client = _Client(issuer, audience, scope, method, url)
    for name, proofs in (*_proofs(client), *_headers(client)):
        yield name, (f"DPoP {client.token}",), tuple(("DPoP", proof) for proof in proofs), 1
    yield "a proof that was used before", (f"DPoP {client.token}",), (("DPoP", client.proof()),), 2
    yield from _schemes(client)
    yield from _bindings(client)
    yield from _certificates(client)


def _proofs(client: _Client) -> Iterator[tuple[str, list[str]]]:
    now, proof = client.holder.now(), client.proof
    yield "bound to a key, and no proof", []
    yield "two proofs", [proof(), proof()]
    yield "two proofs in one header", [f"{proof()},{proof()}"]
    yield "a proof that is a word", ["proof"]
    yield "an access token as a proof", [client.token]
    yield "a proof of another key", [proof(client.thief)]
    yield "a proof without ath", [proof(token=None)]
    yield "a proof for another token", [proof(token=client.issue(bound_to=client.holder))]
    yield "a proof for another method", [proof(method="PATCH" if client.method != "PATCH" else "PUT")]
    yield "a proof for another method, by its letters", [proof(method=client.method.swapcase())]
    yield "a proof for another host", [proof(url="https://evil.example/")]
    yield "a proof for another path", [proof(url=f"{client.url}/x")]
    yield "a proof for another scheme", [proof(url=client.url.replace("https:", "wss:", 1).replace("http:", "ws:", 1))]
    yield "a proof for a host that begins alike", [proof(url=_longer(client.url))]
    yield "a proof of an hour ago", [proof(iat=now - 3600)]
    yield "a proof of the next hour", [proof(iat=now + 3600)]
    yield "a proof without jti", [proof(jti=None)]
    yield "a proof without iat", [proof(iat=None)]
    yield "a proof without htm", [proof(htm=None)]
    yield "a proof without htu", [proof(htu=None)]
    yield "a proof with iat as text", [proof(iat=str(now))]
    yield "a proof with jti as a list", [proof(jti=["x"])]
    yield "a proof with ath as a list", [proof(ath=[client.token])]


def _headers(client: _Client) -> Iterator[tuple[str, list[str]]]:
    proof, public = client.proof, dict(client.holder.header["jwk"])
    yield "a proof of another key, with the right one in its header", [proof(client.thief, header={"jwk": public})]
    yield "a proof of the type JWT", [proof(header={"typ": "JWT"})]
    yield "a proof without a type", [proof(header={"typ": None})]
    yield "a proof without a key", [proof(header={"jwk": None})]
    yield "a proof with a private key in its header", [proof(header={"jwk": {**public, "d": "AQ"}})]
    yield "a proof with a secret for a key", [proof(header={"jwk": {"kty": "oct", "k": "AAAA"}})]
    yield "a proof with alg none", [proof(header={"alg": "none"})]
    yield "a proof with alg HS256", [proof(header={"alg": "HS256"})]
    yield "a proof without a signature", [proof().rpartition(".")[0] + "."]
    yield "a proof with a signature of zeros", [proof().rpartition(".")[0] + "." + encode(bytes(64)).decode()]
    yield "a proof with crit", [proof(header={"crit": ["exp"], "exp": client.holder.now()})]


def _longer(url: str) -> str:
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host}.evil.example{slash}{path}"


def _schemes(client: _Client) -> Iterator[Request]:
    token, plain = client.token, client.issue()
    one = (("DPoP", client.proof()),)
    yield "bound to a key, as Bearer", (f"Bearer {token}",), (), 1
    yield "bound to a key, as Bearer, with its proof", (f"Bearer {token}",), one, 1
    yield "bound to nothing, as DPoP", (f"DPoP {plain}",), (("DPoP", client.proof(token=plain)),), 1
    yield "Bearer and DPoP", (f"Bearer {plain}", f"DPoP {token}"), one, 1
    yield "DPoP and Bearer", (f"DPoP {token}", f"Bearer {plain}"), one, 1
    yield "DPoP twice", (f"DPoP {token}", f"DPoP {token}"), one, 1
    yield "DPoP and Bearer in one header", (f"DPoP {token}, Bearer {plain}",), one, 1
    yield "DPoP alone", ("DPoP",), one, 1


def _bindings(client: _Client) -> Iterator[Request]:
    jkt = client.holder.jkt
    cnf: dict[str, Any] = {
        "empty": {},
        "a list": [{"jkt": jkt}],
        "text": jkt,
        "jkt of a list": {"jkt": [jkt]},
        "jkt of nothing": {"jkt": ""},
        "jkt of null": {"jkt": None},
        "jkt that begins like the right one": {"jkt": jkt[:-1]},
        "JKT": {"JKT": jkt},
        "jwk": {"jwk": client.holder.header["jwk"]},
        "kid": {"kid": jkt},
        "a member that is unknown": {"x": jkt},
        "jkt and a member that is unknown": {"jkt": jkt, "x": jkt},
        "both members, one of a list": {"jkt": jkt, "x5t#S256": []},
    }
    for what, value in cnf.items():
        token = client.issue(cnf=value)
        yield f"cnf: {what}, with a proof", (f"DPoP {token}",), (("DPoP", client.proof(token=token)),), 1
        yield f"cnf: {what}, as Bearer", (f"Bearer {token}",), (), 1
    both = client.issue(bound_to=(client.holder, client.certificate))
    proof = (("DPoP", client.proof(token=both)),)
    yield "bound to a key and a certificate, with the proof alone", (f"DPoP {both}",), proof, 1
    yield "bound to a key and a certificate, as Bearer", (f"Bearer {both}",), proof, 1
    for header in _shown(client.stranger_s):
        sent = (("DPoP", client.proof(token=both)), header)
        yield f"bound to both, with another's certificate in {header[0]}", (f"DPoP {both}",), sent, 1


def _certificates(client: _Client) -> Iterator[Request]:
    token = client.issue(bound_to=client.certificate)
    yield "bound to a certificate, and none there", (f"Bearer {token}",), (), 1
    yield "bound to a certificate, as DPoP", (f"DPoP {token}",), (("DPoP", client.proof(token=token)),), 1
    for header in _shown(client.stranger_s):
        yield f"bound to a certificate, with another's in {header[0]}", (f"Bearer {token}",), (header,), 1
    for (name, right), (_, wrong) in zip(_shown(client.certificate), _shown(client.stranger_s), strict=True):
        yield f"bound to a certificate, with two in {name}", (f"Bearer {token}",), ((name, right), (name, wrong)), 1


def _shown(certificate: bytes) -> list[tuple[str, str]]:
    """As proxies hand one on, under the names that they use."""
    escaped = quote(pem_of(certificate), safe="")
    plain = encode(certificate).decode().translate(str.maketrans("-_", "+/"))
    plain += "=" * (-len(plain) % 4)
    names = ("X-SSL-Client-Cert", "SSL-Client-Cert", "X-Client-Cert")
    found = [("Client-Cert", f":{plain}:"), ("X-SSL-Client-DER", plain)]
    found.append(("X-Forwarded-Client-Cert", f'Cert="{escaped}"'))
    return found + [(name, escaped) for name in names]
