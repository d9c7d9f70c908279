"""Keys from outside: every bad one refused (#185), every good form accepted; what is exported comes back the same."""

import base64
import json
import os
import random
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from joserfc import jwe
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from sqlalchemy import update

from keys import store
from keys.key import ALGORITHMS, KeyRefused, generate, private_jwk, signer
from keys.transfer import MAX_FILE, encrypted, read_key
from realmint.protocol import jws
from realmint.protocol.weak import has_roca_fingerprint
from tests.support.issuer import Issuer, header

PASSPHRASE = b"correct horse battery staple"
PEM, PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
TRADITIONAL = serialization.PrivateFormat.TraditionalOpenSSL
PLAIN = serialization.NoEncryption()


def pem(private: Any, form: Any = PKCS8, encryption: Any = PLAIN) -> bytes:
    return bytes(private.private_bytes(PEM, form, encryption))


def jwk(private: Any, **more: Any) -> dict[str, Any]:
    kind: Any = {rsa.RSAPrivateKey: RSAKey, ec.EllipticCurvePrivateKey: ECKey}
    wrapper = next((wrapper for native, wrapper in kind.items() if isinstance(private, native)), OKPKey)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dict(wrapper(private, private).as_dict(private=True)) | more


def raw(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()


def number(value: int) -> str:
    return base64.urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8, "big")).rstrip(b"=").decode()


P256 = ec.generate_private_key(ec.SECP256R1())
RSA2048 = rsa.generate_private_key(65537, 2048)
ED25519 = ed25519.Ed25519PrivateKey.generate()
OTHER = jwk(ec.generate_private_key(ec.SECP256R1()))


def flawed_prime(generator: random.Random) -> int:
    """A prime of 1024 bits that is a power of 65537 modulo many small primes, as the flawed generator made them."""
    modulus = 1
    for small in (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157):
        modulus *= small
    while True:
        factor = generator.randrange((3 << 1022) // modulus + 1, (1 << 1024) // modulus)
        candidate = factor * modulus + pow(65537, generator.getrandbits(64), modulus)
        if candidate % 2 and pow(2, candidate - 1, candidate) == 1:
            return candidate


@cache
def flawed() -> rsa.RSAPrivateKey:
    """An RSA key as CVE-2017-15361 made them."""
    generator = random.Random(15361)
    p, q = flawed_prime(generator), flawed_prime(generator)
    d = pow(65537, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(65537, p * q)
    return rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public).private_key()


@cache
def close_primes() -> rsa.RSAPrivateKey:
    """An RSA key whose primes are neighbours: Fermat's method factors it at once."""

    def prime(start: int) -> int:
        candidate = start | 1
        while pow(2, candidate - 1, candidate) != 1:
            candidate += 2
        return candidate

    p = prime((3 << 1022) + random.Random(1).getrandbits(1000))
    q = prime(p + (1 << 500))
    d = pow(65537, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(65537, p * q)
    return rsa.RSAPrivateNumbers(q, p, d, d % (q - 1), d % (p - 1), pow(p, -1, q), public).private_key()


def scalar(value: int, curve: ec.EllipticCurve) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(value, curve)


def seed(value: bytes) -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.from_private_bytes(value)


def small_rsa(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def bad_keys() -> dict[str, tuple[bytes, str | None]]:
    """What is wrong with it: the file, and what the refusal says of it."""
    weak, exponent3 = small_rsa(1024), rsa.generate_private_key(3, 2048)
    p192 = ec.generate_private_key(ec.SECP192R1())
    encrypted_pem = pem(P256, encryption=serialization.BestAvailableEncryption(PASSPHRASE))
    good = jwk(P256)
    return {
        "RSA of 1024 bits": (pem(weak), "bits"),
        "RSA of 1024 bits as a JWK": (raw(jwk(weak)), "bits"),
        "RSA of 2047 bits": (pem(small_rsa(2047)), "bits"),
        "RSA of 2056 bits": (pem(small_rsa(2056)), "bits"),
        "a small exponent": (pem(exponent3), "exponent"),
        "the fingerprint of ROCA": (pem(flawed()), "CVE-2017-15361"),
        "close primes": (pem(close_primes()), "close"),
        "close primes as a JWK": (raw(jwk(close_primes())), "close"),
        "a P-256 scalar of 1": (pem(scalar(1, ec.SECP256R1())), "guessed"),
        "a small P-256 scalar": (pem(scalar(2**128, ec.SECP256R1())), "guessed"),
        "a P-256 scalar just below the order": (pem(scalar(ec.SECP256R1().group_order - 2, ec.SECP256R1())), "guessed"),
        "a small P-384 scalar as a JWK": (raw(jwk(scalar(31337, ec.SECP384R1()))), "guessed"),
        "a P-256 scalar of one byte over and over": (pem(scalar(int.from_bytes(b"\x41" * 32), ec.SECP256R1())), "guessed"),
        "a P-384 scalar that counts": (raw(jwk(scalar(int.from_bytes(bytes(range(1, 49))), ec.SECP384R1()))), "guessed"),
        "an Ed25519 seed of zeros": (pem(seed(bytes(32))), "guessed"),
        "an Ed25519 seed of one": (raw(jwk(seed(bytes(31) + b"\1"))), "guessed"),
        "an Ed25519 seed that counts": (pem(seed(bytes(range(32)))), "guessed"),
        "an Ed25519 seed of letters over and over": (pem(seed(b"abcdefgh" * 4)), "guessed"),
        "P-192": (pem(p192), "P-256 or P-384"),
        "P-521": (pem(ec.generate_private_key(ec.SECP521R1())), "P-256 or P-384"),
        "secp256k1": (pem(ec.generate_private_key(ec.SECP256K1())), "P-256 or P-384"),
        "Ed448": (pem(ed448.Ed448PrivateKey.generate()), "not RSA, EC or Ed25519"),
        "X25519, which cannot sign": (pem(x25519.X25519PrivateKey.generate()), "not RSA, EC or Ed25519"),
        "DSA": (pem(dsa.generate_private_key(2048)), "not RSA, EC or Ed25519"),
        "an HMAC key": (raw({"kty": "oct", "k": "c2VjcmV0"}), "not an RSA, EC or OKP private key"),
        "encrypted PEM without a passphrase": (encrypted_pem, "passphrase"),
        "a public key": (P256.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo), "no private"),
        "a public JWK": (raw({k: v for k, v in good.items() if k != "d"}), "not an RSA, EC or OKP private key"),
        "a certificate": (b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "no private"),
        "halves of two EC keys": (raw({**good, "x": OTHER["x"], "y": OTHER["y"]}), "belong together"),
        "halves of two Ed25519 keys": (raw({**jwk(ED25519), "x": jwk(ed25519.Ed25519PrivateKey.generate())["x"]}), "public members"),
        "the private key in the public field": (raw({**jwk(ED25519), "x": jwk(ED25519)["d"]}), "public members"),
        "an RSA modulus of another key": (raw({**jwk(RSA2048), "n": jwk(small_rsa(2048))["n"]}), "belong together"),
        "RSA numbers that contradict each other": (raw({**jwk(RSA2048), "dp": number(7)}), "belong together"),
        "a point off the curve": (raw({**good, "y": good["x"]}), "belong together"),
        "another curve than it says": (raw({**good, "crv": "P-384"}), "belong together"),
        "for encryption": (raw({**good, "use": "enc"}), "not for signatures"),
        "for verifying only": (raw({**good, "key_ops": ["verify"]}), "not for signatures"),
        "operations that are no list": (raw({**good, "key_ops": "sign"}), "not for signatures"),
        "another algorithm than it fits": (raw({**good, "alg": "ES384"}), "does not fit"),
        "an algorithm of another kind": (raw({**good, "alg": "HS256"}), "does not fit"),
        "numbers instead of text": (raw({**good, "d": 5}), "not an RSA, EC or OKP private key"),
        "a set of keys": (raw({"keys": [good]}), "set of keys"),
        "duplicate members": (b'{"kty":"EC","kty":"EC"}', "well-formed"),
        "no JSON": (b"{", "well-formed"),
        "nothing": (b"", "neither"),
        "garbage": (b"\x00\xff" * 50, "neither"),
        "a JWT": (b"a.b.c", "neither"),
        "too much": (b"{" + b" " * MAX_FILE, "bytes"),
    }  # fmt: skip


@pytest.fixture(scope="module")
def bad() -> dict[str, tuple[bytes, str | None]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bad_keys()


NAMES = [
    "RSA of 1024 bits", "RSA of 1024 bits as a JWK", "RSA of 2047 bits", "RSA of 2056 bits", "a small exponent",
    "the fingerprint of ROCA", "close primes", "close primes as a JWK", "a P-256 scalar of 1", "a small P-256 scalar",
    "a P-256 scalar just below the order", "a small P-384 scalar as a JWK",
    "a P-256 scalar of one byte over and over", "a P-384 scalar that counts", "an Ed25519 seed of zeros", "an Ed25519 seed of one",
    "an Ed25519 seed that counts", "an Ed25519 seed of letters over and over", "P-192", "P-521", "secp256k1", "Ed448", "X25519, which cannot sign", "DSA", "an HMAC key",
    "encrypted PEM without a passphrase", "a public key", "a public JWK", "a certificate", "halves of two EC keys",
    "halves of two Ed25519 keys", "the private key in the public field", "an RSA modulus of another key",
    "RSA numbers that contradict each other", "a point off the curve", "another curve than it says", "for encryption",
    "for verifying only", "operations that are no list", "another algorithm than it fits",
    "an algorithm of another kind", "numbers instead of text", "a set of keys", "duplicate members", "no JSON", "nothing",
    "garbage", "a JWT", "too much",
]  # fmt: skip


def test_185_the_list_of_bad_keys_is_whole(bad: dict[str, Any]) -> None:
    assert list(bad) == NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
def test_185_a_bad_key_is_refused_by_its_rule_and_never_quoted(bad: dict[str, Any], name: str) -> None:
    content, says = bad[name]
    with pytest.raises(KeyRefused) as refused:
        read_key(content, None, "RS256" if "RSA" in name or "ROCA" in name or "exponent" in name else None, None)
    assert says in str(refused.value)
    assert len(str(refused.value)) < 120


def test_185_the_fingerprint_is_not_that_of_sound_keys() -> None:
    assert has_roca_fingerprint(flawed().public_key().public_numbers().n)
    assert not any(has_roca_fingerprint(small_rsa(2048).public_key().public_numbers().n) for _ in range(3))


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_good_pem_jwk_and_encrypted_jwe_are_the_same_key(alg: str) -> None:
    made = generate(alg)
    native = serialization.load_der_private_key(made.pkcs8, None)
    forms = [pem(native), raw(private_jwk(made)), encrypted(made, PASSPHRASE)]
    for content in forms:
        key = read_key(content, PASSPHRASE if content.count(b".") == 4 else None, alg, None)
        assert (key.kid, key.alg, key.public_jwk) == (made.kid, alg, made.public_jwk)
        token = jws.sign({"n": 1}, signer(key.kid, alg, key.pkcs8), "at+jwt")
        assert jws.verify(jws.peek(token), jws.verification_key(dict(made.public_jwk)))


def test_older_pem_forms_and_encrypted_pem_are_read() -> None:
    for content, alg in ((pem(P256, TRADITIONAL), "ES256"), (pem(RSA2048, TRADITIONAL), "PS256")):
        assert read_key(content, None, alg, None).alg == alg
    secret = pem(P256, encryption=serialization.BestAvailableEncryption(PASSPHRASE))
    assert read_key(secret, PASSPHRASE, None, None).alg == "ES256"
    for content, passphrase in ((secret, b"wrong"), (pem(P256), PASSPHRASE), (raw(jwk(P256)), PASSPHRASE)):
        with pytest.raises(KeyRefused):
            read_key(content, passphrase, None, None)


def test_an_rsa_key_must_be_told_what_it_signs() -> None:
    with pytest.raises(KeyRefused, match="RS256 or PS256"):
        read_key(pem(RSA2048), None, None, None)
    assert read_key(raw(jwk(RSA2048, alg="PS256")), None, None, None).alg == "PS256"
    with pytest.raises(KeyRefused, match="another algorithm"):
        read_key(raw(jwk(RSA2048, alg="PS256")), None, "RS256", None)


def test_a_key_is_named_by_its_thumbprint_unless_a_name_is_given() -> None:
    content = raw(jwk(P256, kid="from/elsewhere"))
    assert read_key(content, None, None, None).kid == read_key(content, None, None, None).thumbprint
    named = read_key(content, None, None, "old-issuer.2026_1")
    assert (named.kid, named.public_jwk["kid"]) == ("old-issuer.2026_1",) * 2
    for name in ("", "a b", "../x", "a/b", "x" * 129, "é", "a\n"):
        with pytest.raises(KeyRefused):
            read_key(content, None, None, name)


def test_an_encrypted_key_opens_with_its_passphrase_alone_and_costs_what_it_should() -> None:
    made = generate("ES256")
    sealed = encrypted(made, PASSPHRASE)
    head = json.loads(base64.urlsafe_b64decode(sealed.split(b".")[0] + b"=="))
    assert (head["alg"], head["enc"], head["p2c"]) == ("PBES2-HS512+A256KW", "A256GCM", 210_000)
    for passphrase in (b"wrong but long enough", b"wrong", b"", PASSPHRASE + b" "):
        with pytest.raises(KeyRefused):
            read_key(sealed, passphrase, None, None)
    with pytest.raises(KeyRefused, match="passphrase"):
        read_key(sealed, None, None, None)
    with pytest.raises(KeyRefused, match="at least 14"):
        encrypted(made, b"short")


@pytest.mark.parametrize(
    "header_",
    [{"alg": "dir", "enc": "A256GCM"}, {"alg": "PBES2-HS256+A128KW", "enc": "A128GCM"},
     {"alg": "PBES2-HS512+A256KW", "enc": "A256GCM", "zip": "DEF"}],
)  # fmt: skip
def test_158_no_other_encryption_and_no_compression_is_read(header_: dict[str, str]) -> None:
    key = OctKey.import_key(b"k" * 32)
    algorithms = [header_["alg"], header_["enc"], "DEF"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sealed = jwe.encrypt_compact(header_, raw(jwk(P256)), key, algorithms=algorithms).encode()
    with pytest.raises(KeyRefused):
        read_key(sealed, b"k" * 32, None, None)


@pytest.mark.parametrize("rounds", [2**31 - 1, 10**400, -1, 0, "many", None, 1.5])
@pytest.mark.filterwarnings("ignore:A minimum iteration count")
def test_158_a_count_of_rounds_that_would_take_hours_or_is_none_is_refused_at_once(rounds: Any) -> None:
    sealed = encrypted(generate("ES256"), PASSPHRASE)
    head, _, rest = sealed.partition(b".")
    told = json.loads(base64.urlsafe_b64decode(head + b"==")) | {"p2c": rounds}
    with pytest.raises(KeyRefused):
        read_key(base64.urlsafe_b64encode(raw(told)).rstrip(b"=") + b"." + rest, PASSPHRASE, None, None)


# Through the commands


def file(folder: Path, content: bytes) -> Path:
    path = folder / "key"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("form", ["pem", "jwk", "jwe"])
def test_an_imported_key_becomes_the_standby_and_signs_after_its_gate(
    stored_issuer: Issuer, tmp_path: Path, form: str
) -> None:
    issuer = stored_issuer
    caller = issuer.client(options="--scope read --default-scope read")
    made = generate("ES256")
    native = serialization.load_der_private_key(made.pkcs8, None)
    content = {"pem": pem(native), "jwk": raw(private_jwk(made)), "jwe": encrypted(made, PASSPHRASE)}[form]
    path = file(tmp_path, content)
    line = f"keys import {path} {'--passphrase-stdin' if form == 'jwe' else ''}"
    stdin = PASSPHRASE + b"\n" if form == "jwe" else None
    refused = issuer.command(f"{line} --json", stdin)
    assert (refused.exit_code, json.loads(refused.stdout)["error"]) == (2, "standby_exists")
    replaced = issuer.run(f"{line} --replace", stdin)
    assert [step["event"] for step in replaced["steps"]] == ["discarded", "imported"]
    again = issuer.command(f"{line} --replace --json", stdin)
    assert (again.exit_code, json.loads(again.stdout)["error"]) == (2, "key_refused")
    assert issuer.command("keys rotate").exit_code == 3
    issuer.clock.advance(20 + 86400 + 5)
    issuer.run("keys rotate")
    issuer.clock.advance(3)
    token = issuer.token(caller)
    assert header(token)["kid"] == made.kid
    published = issuer.http.get(issuer.address("/connect/jwk_uri")).json["keys"]
    assert jws.verify(jws.peek(token), jws.verification_key(published[0]))
    assert issuer.run("keys doctor") == []


def test_186_a_key_that_any_realm_has_or_had_never_comes_again(stored_issuer: Issuer, tmp_path: Path) -> None:
    issuer = stored_issuer
    issuer.run("realms create /other")
    made = generate("ES256")
    path = file(tmp_path, raw(private_jwk(made)))
    issuer.run(f"keys import {path} --pending")
    issuer.run(f"keys revoke {made.kid} --reason test --yes")
    for options in ("", "--realm /other", "--realm /other --kid another-name", "--pending"):
        refused = issuer.command(f"keys import {path} --replace {options} --json")
        assert (refused.exit_code, json.loads(refused.stdout)["error"]) == (2, "key_refused"), options
    # Nor does its name, for other material.
    second = file(tmp_path, raw(private_jwk(generate("ES256"))))
    refused = issuer.command(f"keys import {second} --pending --kid {made.kid} --json")
    assert json.loads(refused.stdout)["error"] == "key_refused"


def test_what_is_no_file_is_not_read(issuer: Issuer, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", tmp_path / "pipe", tmp_path / "nothing", tmp_path):
        assert issuer.command(f"keys import {path} --json").exit_code == 2
    both = file(tmp_path, pem(P256) + pem(ED25519))
    assert "several" in json.loads(issuer.command(f"keys import {both} --json").stdout)["message"]


def test_an_imported_key_must_be_of_an_algorithm_that_the_realm_signs_with(issuer: Issuer, tmp_path: Path) -> None:
    refused = issuer.command(f"keys import {file(tmp_path, pem(ED25519))} --replace --json")
    assert refused.exit_code == 2
    assert "realms update --alg" in json.loads(refused.stdout)["message"]


def test_export_is_public_unless_asked_and_then_encrypted(stored_issuer: Issuer, tmp_path: Path) -> None:
    issuer = stored_issuer
    (kid,) = [key["kid"] for key in issuer.run("keys list --state active")]
    public = tmp_path / "public.jwk"
    issuer.run(f"keys export {kid[:8]} --out {public}")
    assert json.loads(public.read_bytes()) == issuer.http.get(issuer.address("/connect/jwk_uri")).json["keys"][0]
    issuer.run(f"keys export {kid[:8]} --pem --out {tmp_path / 'public.pem'}")
    assert (tmp_path / "public.pem").read_bytes().startswith(b"-----BEGIN PUBLIC KEY-----")
    assert issuer.command(f"keys export {kid} --out {public}").exit_code == 2  # never over a file that is there
    secret = tmp_path / "secret.jwe"
    line = f"keys export {kid} --private --passphrase-stdin --out {secret}"
    assert issuer.command(line, PASSPHRASE).exit_code == 2  # nobody can be asked
    issuer.run(f"{line} --yes", PASSPHRASE + b"\n")
    assert secret.stat().st_mode & 0o777 == 0o600
    assert read_key(secret.read_bytes(), PASSPHRASE, None, None).kid == kid
    assert issuer.command(f"keys export {kid} --private --pem --out x --yes", PASSPHRASE).exit_code == 2
    assert [row["event"] for row in issuer.run("keys audit")][-1] == "exported"
    assert issuer.run("keys doctor") == []


@pytest.mark.parametrize("kid", ["--help", "-rf", "..", ".hidden", "-", "a/b", "", "a b", "x" * 129])
def test_185_a_key_takes_no_name_that_a_shell_or_a_file_system_reads_otherwise(
    issuer: Issuer, tmp_path: Path, kid: str
) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(pem(P256))
    refused = issuer.app.test_cli_runner().invoke(args=["keys", "import", str(path), "--pending", f"--kid={kid}"])
    assert refused.exit_code == 2
    assert "a kid is 1 to 128" in refused.output
    assert issuer.run("keys list --state pending") == []


def test_a_name_that_begins_another_is_refused_and_where_one_stands_it_is_ambiguous(
    issuer: Issuer, tmp_path: Path
) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(pem(P256))
    (active,) = [key["kid"] for key in issuer.run("keys list --state active")]
    for kid in (active[:6], active + "x"):
        refused = issuer.command(f"keys import {path} --pending --kid={kid} --json")
        assert refused.exit_code == 2
        assert "could be taken for each other" in json.loads(refused.stdout)["message"]
    issuer.run(f"keys import {path} --pending --kid=ours")
    with issuer.runtime.database.write() as connection:  # as an earlier version let it in
        connection.execute(update(store.keys).where(store.keys.c.kid == "ours").values(kid=active[:8]))
    refused = issuer.command(f"keys show {active[:8]} --json")
    assert refused.exit_code == 4
    assert f"={active[:8]}" in json.loads(refused.stdout)["message"]
    assert issuer.run(f"keys show ={active[:8]}")["state"] == "pending"
    assert issuer.run(f"keys show {active}")["state"] == "active"
