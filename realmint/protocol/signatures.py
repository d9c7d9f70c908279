"""Checking a signature (RFC 7518 section 3, RFC 8037 section 3.1), each algorithm over the one kind of key that it has.

The parsed key is bound to its checks once, so that no call looks anything up or imports anything.
"""

from collections.abc import Callable, Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

Check = Callable[[bytes, bytes], bool]
"""Whether a signature, first, is right over what was signed, second. Of any bytes it says yes or no."""

# Without a state of their own.
_PKCS1 = padding.PKCS1v15()
_PSS = padding.PSS(mgf=padding.MGF1(SHA256()), salt_length=SHA256.digest_size)
_CURVES: Mapping[str, tuple[str, int, ec.ECDSA]] = {
    "secp256r1": ("ES256", 32, ec.ECDSA(SHA256())),
    "secp384r1": ("ES384", 48, ec.ECDSA(SHA384())),
}


def checks(key: Any) -> Mapping[str, Check]:
    """What may be checked with a public key, by algorithm; nothing for a key of a type or curve that is not ours."""
    if isinstance(key, rsa.RSAPublicKey):
        return {"RS256": _over(key, _PKCS1, SHA256()), "PS256": _over(key, _PSS, SHA256())}
    if isinstance(key, Ed25519PublicKey):
        return {"EdDSA": _over(key)}
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        name, size, how = _CURVES[key.curve.name]
        return {name: _over_curve(key, size, how)}
    return {}


def _over(key: Any, *how: Any) -> Check:
    verify = key.verify

    def check(signature: bytes, signed: bytes) -> bool:
        try:
            verify(signature, signed, *how)
        except InvalidSignature:
            return False
        return True

    return check


def _over_curve(key: ec.EllipticCurvePublicKey, size: int, how: ec.ECDSA) -> Check:
    verify, number = key.verify, int.from_bytes

    def check(signature: bytes, signed: bytes) -> bool:
        if len(signature) != 2 * size:  # r and s, each as long as the curve's order (RFC 7518 section 3.4)
            return False
        try:
            verify(encode_dss_signature(number(signature[:size]), number(signature[size:])), signed, how)
        except InvalidSignature:
            return False
        return True

    return check
