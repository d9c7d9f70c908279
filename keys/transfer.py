"""Key files: what `import` reads and `export` writes. A private half leaves us only inside an encrypted JWE.

The passphrase is stretched with PBKDF2-HMAC-SHA512 (RFC 7518 section 4.8): the encryption of PEM files that
cryptographic libraries offer has 2,048 rounds of it and no authentication, so we read those and never write them.
"""

import json
from collections.abc import Mapping
from typing import Any

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from keys.key import ENCRYPTED, KeyRefused, Material, from_jwk, from_pem, private_jwk
from realmint.protocol.jws import JWSError, parse_object

MAX_FILE = 64 * 1024
MIN_PASSPHRASE = 14
"""Characters; shorter ones are neither made nor tried."""
_ALG, _ENC = "PBES2-HS512+A256KW", "A256GCM"
_ROUNDS = 210_000


def read_key(raw: bytes, passphrase: bytes | None, alg: str | None, kid: str | None) -> Material:
    """The private key in a file: PEM, JWK, or a JWK in an encrypted JWE. Raises KeyRefused.

    Without `kid` it is named by its thumbprint, whatever name the file gives it.
    """
    if len(raw) > MAX_FILE:
        raise KeyRefused(f"a key file has at most {MAX_FILE} bytes")
    text = raw.strip()
    if text.startswith(b"-----BEGIN"):
        if text.count(b"PRIVATE KEY-----") > 2:
            raise KeyRefused("the file holds several keys; give one")
        return from_pem(text + b"\n", alg, passphrase, kid)
    if not text.startswith(b"{"):
        if text.count(b".") != 4:
            raise KeyRefused("the file is neither PEM nor a JWK nor an encrypted JWE")
        if passphrase is None:
            raise KeyRefused(ENCRYPTED)
        text = _decrypt(text, passphrase)
    elif passphrase is not None:
        raise KeyRefused("the file is not encrypted")
    try:
        jwk = parse_object(text)
    except JWSError:
        raise KeyRefused("the file holds no well-formed JSON object") from None
    if "keys" in jwk:
        raise KeyRefused("the file is a set of keys; give one key")
    return from_jwk(jwk, alg, kid)


def is_encrypted(raw: bytes) -> bool:
    """Whether a file needs a passphrase: encrypted PEM, or a JWE."""
    return b"ENCRYPTED" in raw if raw.lstrip().startswith(b"-----BEGIN") else raw.count(b".") == 4


def encrypted(material: Material, passphrase: bytes) -> bytes:
    """The whole key as an encrypted JWE (RFC 7516) over its JWK. Raises KeyRefused for a short passphrase."""
    if len(passphrase) < MIN_PASSPHRASE:
        raise KeyRefused(f"a passphrase has at least {MIN_PASSPHRASE} characters")
    header = {"alg": _ALG, "enc": _ENC, "cty": "jwk+json", "p2c": _ROUNDS, "kid": material.kid}
    plain = json.dumps(private_jwk(material)).encode()
    return jwe.encrypt_compact(header, plain, OctKey.import_key(passphrase), algorithms=[_ALG, _ENC]).encode() + b"\n"


def public_jwk(jwk: Mapping[str, Any]) -> bytes:
    """The public half as a JWK, for a file."""
    return json.dumps(dict(jwk), indent=2).encode() + b"\n"


def _decrypt(token: bytes, passphrase: bytes) -> bytes:
    if len(passphrase) < MIN_PASSPHRASE:
        raise KeyRefused(f"a passphrase has at least {MIN_PASSPHRASE} characters")
    try:
        plain = jwe.decrypt_compact(token, OctKey.import_key(passphrase), algorithms=[_ALG, _ENC]).plaintext
    except (JoseError, ValueError, KeyError, TypeError, OverflowError):
        raise KeyRefused(f"the file does not open under this passphrase, or is not {_ALG} with {_ENC}") from None
    return plain or b""
