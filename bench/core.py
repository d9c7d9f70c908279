"""The least that a token takes: a form is parsed, a digest compared, claims written, signed and answered. No realms,
rotation, revocation, policy or log, and nothing strict: what it costs is what nobody can go below with these parts.

Also an application for a server, `bench.core:application`, whose client has the secret in BENCH_SECRET.
"""

import hashlib
import hmac
import json
import os
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable
from typing import Any, ClassVar
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

Sign = Callable[[bytes], bytes]
ISSUER = "https://issuer.example/oauth2/realms/root"


def signing(alg: str) -> Sign:
    """With a key of its own."""
    if alg == "RS256":
        rsa_key, scheme, digest = rsa.generate_private_key(65537, 2048), padding.PKCS1v15(), hashes.SHA256()
        return lambda text: rsa_key.sign(text, scheme, digest)
    key, algorithm = ec.generate_private_key(ec.SECP256R1()), ec.ECDSA(hashes.SHA256())

    def sign(text: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(text, algorithm))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    return sign


class Core:
    """As a WSGI application, at whatever path: the last part of it names the algorithm."""

    extensions: ClassVar[dict[str, Any]] = {}  # which the server looks into

    def __init__(self, secret: str) -> None:
        self._digest = hashlib.sha256(secret.encode()).digest()
        self._algs = {alg: (_encoded({"alg": alg, "kid": "key", "typ": "at+jwt"}), signing(alg)) for alg in ALGS}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "GET":
            start_response("200 OK", [("Content-Length", "0")])
            return [b""]
        form = parse_qs(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode())
        if not hmac.compare_digest(hashlib.sha256(form["client_secret"][0].encode()).digest(), self._digest):
            start_response("401 Unauthorized", [("Content-Length", "0")])
            return [b""]
        header, sign = self._algs[environ["PATH_INFO"].rpartition("/")[2]]
        client, scope, now = form["client_id"][0], form["scope"][0], int(time.time())
        claims = {
            "iss": ISSUER, "sub": client, "aud": ISSUER, "client_id": client, "iat": now, "nbf": now, "exp": now + 600,
            "jti": secrets.token_urlsafe(16), "scope": scope,
        }  # fmt: skip
        text = header + b"." + _encoded(claims)
        token = (text + b"." + _base64(sign(text))).decode()
        body = json.dumps({"access_token": token, "expires_in": 600, "scope": scope, "token_type": "Bearer"}).encode()
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
        ]
        start_response("200 OK", headers)
        return [body]


ALGS = ("ES256", "RS256")


def _encoded(value: dict[str, Any]) -> bytes:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def make() -> Core:
    """For `python serve.py --app bench.core:make`."""
    return Core(os.environ["BENCH_SECRET"])


if "BENCH_SECRET" in os.environ:
    application = make()
