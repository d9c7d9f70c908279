"""Private keys of clients, as other libraries write them."""

from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from joserfc.jwk import JWKRegistry

PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
PKCS8, TRADITIONAL = serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL
OPENSSH = serialization.PrivateFormat.OpenSSH
SPKI = serialization.PublicFormat.SubjectPublicKeyInfo
PLAIN = serialization.NoEncryption()
LOCKED = serialization.BestAvailableEncryption(b"a passphrase")

RSA = rsa.generate_private_key(65537, 2048)
MADE: Mapping[str, Any] = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    "PS256": RSA,
    "RS256": RSA,
}
CURVED = MADE["ES256"]
ALGORITHMS = sorted(MADE)
BY_TYPE = ["ES256", "ES384", "EdDSA", "PS256"]


def pem(key: Any, form: Any = PKCS8, lock: Any = PLAIN) -> bytes:
    """Not encrypted, unless `lock` says so."""
    return bytes(key.private_bytes(PEM, form, lock))


def private_jwk(key: Any, **more: Any) -> dict[str, Any]:
    """As another library writes it."""
    kinds: list[tuple[Any, Any]] = [(rsa.RSAPrivateKey, "RSA"), (ec.EllipticCurvePrivateKey, "EC")]
    kind = next((kind for native, kind in kinds if isinstance(key, native)), "OKP")
    members = JWKRegistry.import_key(pem(key), kind).as_dict(private=True)
    return {**{name: value for name, value in members.items() if name != "kid"}, **more}


def another(alg: str) -> Any:
    """A fresh one."""
    return {
        "ES256": lambda: ec.generate_private_key(ec.SECP256R1()), "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate,
    }.get(alg, lambda: rsa.generate_private_key(65537, 2048))()  # fmt: skip
