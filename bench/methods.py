"""Tokens by each way of client authentication under `make serve`, two workers, on SQLite and on PostgreSQL.

A client's own assertion is taken once: each turn has as many as it may need, signed before it begins. The token of a
workload is one and the same again and again, as its platform hands it out. A proof (DPoP) is made beforehand as well. A
certificate comes as from a proxy that ended TLS: what TLS costs is not in it.
"""

import base64
import json
import secrets
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
from cryptography.x509.oid import ExtendedKeyUsageOID

from bench import load
from bench.figures import Run
from bench.load import Target
from bench.servers import FORM, NO_POSTGRESQL, PROXY, Ours, Servers
from bench.wrk import Request
from keys.key import Material, generate, signer
from realmint.client_assertion import assertion_form
from realmint.protocol.dpop import make_proof
from realmint.protocol.jws import sign
from realmint.protocol.names import CLIENT_AUTHENTICATION_TYP, DPOP, JWT_TYP
from tests.support.tls import Authority, certificate

PART = "methods"
ALG = "ES256"
"""What the tokens are signed with, whatever an assertion is."""
POST = "client_secret_post"
ASSERTIONS = ("ES256", "PS256", "EdDSA")
BY_NAME, SELF_SIGNED = "tls_client_auth", "self_signed_tls_client_auth"
PLATFORM = "https://platform.example"
WORKLOAD = "system:serviceaccount:shop:billing"

Bodies = Callable[[int], Sequence[str]]


def targets(servers: Servers, run: Run) -> Iterator[Target]:
    yield from on("SQLite", servers.ours(2))
    on_postgresql = servers.on_postgresql(2)
    if on_postgresql is None:
        run.skip(PART, "PostgreSQL", NO_POSTGRESQL)
    else:
        yield from on("PostgreSQL", on_postgresql)


def on(store: str, ours: Ours) -> Iterator[Target]:
    """Each method, and of how many tokens by a secret in the form it has a multiple."""
    secret, address = ours.secrets[ALG], ours.address(ALG, "access_token")

    def target(method: str, what: str, bodies: Bodies, headers: Mapping[str, str] | None = None) -> Target:
        request = Request(address, "POST", headers={**FORM, **(headers or {})}, bodies=bodies)
        load.token(request, ALG)
        return Target(PART, f"{method}, {store}", what, request, unit=(f"{POST}, {store}", ""))

    yield target(POST, "", _again(_form(client_id="svc", client_secret=secret)))
    yield target("client_secret_basic", "", _again(_form()), urllib3.make_headers(basic_auth=f"svc:{secret}"))
    for alg in ASSERTIONS:
        yield target("private_key_jwt", alg, _client(ours, alg))
    yield target("workload_identity", ALG, _workload(ours))
    for name, file in _certificates(ours).items():
        yield target(name.removesuffix("_client_auth"), "", _again(_form(client_id=name)), _shown(file))
    yield target(POST, "DPoP", _proven(address, _form(client_id="svc", client_secret=secret)))


def _client(ours: Ours, alg: str) -> Bodies:
    """What a client sends that signs for itself."""
    name, material = f"signing-{alg.lower()}", generate(alg)
    _run(ours, f"clients create {name} --auth-method private_key_jwt --scope read")
    _run(ours, f"clients keys add {name} {_public(ours, material)}")
    issuer, own = ours.address(ALG, "").rstrip("/"), signer(material.kid, alg, material.pkcs8)

    def bodies(count: int) -> Sequence[str]:
        # Each is read as of the moment when it is sent, within the five minutes that it may live.
        claims = {"iss": name, "sub": name, "aud": issuer, "exp": int(time.time()) + 240}
        lot = secrets.token_urlsafe(16)
        return [
            _form(**assertion_form(sign({**claims, "jti": f"{lot}-{number}"}, own, CLIENT_AUTHENTICATION_TYP)))
            for number in range(count)
        ]

    return bodies


def _workload(ours: Ours) -> Bodies:
    """What a workload sends that has a token of its platform's, whose keys are given."""
    material = generate(ALG)
    _run(ours, "clients create workload --scope read")
    rule = f"--issuer {PLATFORM} --match sub={WORKLOAD} --jwks {_public(ours, material)}"
    _run(ours, f"clients trust add workload {rule}")
    now = int(time.time())
    claims = {"iss": PLATFORM, "sub": WORKLOAD, "aud": ours.address(ALG, "").rstrip("/"), "iat": now, "exp": now + 3600}
    token = sign(claims, signer(material.kid, ALG, material.pkcs8), JWT_TYP)
    return _again(_form(client_id="workload", **assertion_form(token)))


def _certificates(ours: Ours) -> dict[str, Path]:
    """A client of each method, under its name, and its certificate."""
    folder = ours.deployment.folder / "certificates"
    authority = Authority(folder / "authority")
    issued, _ = authority.certificate("svc", usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    own, _ = certificate(folder / "own", "own")
    for name, registered in ((BY_NAME, f"--subject-dn CN=svc --ca {authority.file}"), (SELF_SIGNED, str(own))):
        _run(ours, f"clients create {name} --auth-method {name} --scope read")
        _run(ours, f"clients certs add {name} {registered}")
    return {BY_NAME: issued, SELF_SIGNED: own}


def _shown(file: Path) -> Mapping[str, str]:
    der = ssl.PEM_cert_to_DER_cert(file.read_text())
    return {PROXY["HEADER"]: f":{base64.b64encode(der).decode()}:"}


def _proven(address: str, body: str) -> Bodies:
    """With proofs of one key, as a client sends them; each counts for a minute."""
    material = generate(ALG)
    own = signer(material.kid, ALG, material.pkcs8)

    def bodies(count: int) -> Sequence[str]:
        now = int(time.time())
        return [f"{body}\t{DPOP}: {make_proof(own, material.public_jwk, 'POST', address, now)}" for _ in range(count)]

    return bodies


def _form(**more: str) -> str:
    return urlencode({"grant_type": "client_credentials", "scope": "read", **more})


def _again(body: str) -> Bodies:
    return lambda _: (body,)


def _public(ours: Ours, material: Material) -> str:
    """A file with the public half."""
    file = ours.deployment.folder / f"{material.kid}.json"
    file.write_text(json.dumps(dict(material.public_jwk)))
    return str(file)


def _run(ours: Ours, line: str) -> Any:
    return ours.deployment.run_apart(f"{line} --realm /{ALG.lower()}")
