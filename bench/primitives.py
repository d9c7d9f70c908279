"""Bare signatures and their checks, as a token needs them: JOSE's form, a signing input of usual length."""

from collections.abc import Callable, Iterator

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from bench.turns import Subject

TEXT = b"e" * 480
Signing = tuple[Callable[[], bytes], Callable[[bytes], None]]


def subjects() -> Iterator[Subject]:
    for alg, (sign, verify) in {"ES256": es256(), "RS256": rs256(), "EdDSA": eddsa()}.items():
        yield Subject("primitives", "sign", alg, sign)
        yield Subject("primitives", "verify", alg, _verifying(verify, sign()))


def _verifying(verify: Callable[[bytes], None], signature: bytes) -> Callable[[], None]:
    return lambda: verify(signature)


def es256() -> Signing:
    private, algorithm = ec.generate_private_key(ec.SECP256R1()), ec.ECDSA(hashes.SHA256())
    public = private.public_key()

    def sign() -> bytes:
        r, s = decode_dss_signature(private.sign(TEXT, algorithm))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def verify(signature: bytes) -> None:
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        public.verify(encode_dss_signature(r, s), TEXT, algorithm)

    return sign, verify


def rs256() -> Signing:
    private, scheme, digest = rsa.generate_private_key(65537, 2048), padding.PKCS1v15(), hashes.SHA256()
    public = private.public_key()
    return lambda: private.sign(TEXT, scheme, digest), lambda found: public.verify(found, TEXT, scheme, digest)


def eddsa() -> Signing:
    private = ed25519.Ed25519PrivateKey.generate()
    public = private.public_key()
    return lambda: private.sign(TEXT), lambda found: public.verify(found, TEXT)
