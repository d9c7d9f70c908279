"""Certificates of clients (RFC 8705): what they are bound by, and whom they name."""

import base64
import json
import random
import re
import shutil
import subprocess
import warnings
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OKPKey, RSAKey

from realmint.protocol import mtls
from realmint.protocol.certificate_headers import MAX_LENGTH, CertificateError
from realmint.protocol.mtls import (
    SAN_DNS,
    SAN_EMAIL,
    SAN_IP,
    SAN_URI,
    SUBJECT_DN,
    SUBJECT_KINDS,
    certificate,
    is_subject,
    matches_subject,
    thumbprint,
)
from tests.support.certificates import BITS, CN, KEY, ORG, OU, PRINTABLE, UTF8, C, made, name, pem
from tests.support.clock import START

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent.parent / "vectors" / "mtls.json").read_text())
SANS = [
    x509.DNSName("svc.a.example"), x509.DNSName("*.b.example"), x509.UniformResourceIdentifier("spiffe://a.example/ns/b"),
    x509.IPAddress(ip_address("10.0.0.1")), x509.IPAddress(ip_address("2001:db8::1")), x509.RFC822Name("svc@A.example"),
    x509.RegisteredID(x509.ObjectIdentifier("1.2.3")), x509.DirectoryName(name([(CN, "other")])),
]  # fmt: skip
RICH = certificate(made(name([(C, "DE")], [(ORG, "Ac,me")], [(CN, "svc")]), SANS))
BARE = certificate(made())


def reason(der: bytes) -> str:
    with pytest.raises(CertificateError) as refused:
        certificate(der)
    assert refused.value.__cause__ is None
    return refused.value.reason


@pytest.mark.rfc("8705", "3.1")
def test_the_thumbprint_of_the_rfc_is_that_of_its_certificate() -> None:
    der = base64.b64decode(VECTORS["bound"]["certificate"])
    assert thumbprint(der) == certificate(der).thumbprint == VECTORS["bound"]["x5t#S256"]
    assert matches_subject(certificate(der), SUBJECT_DN, "CN=mtls")


def test_a_certificate_says_what_is_in_it() -> None:
    der = made(name([(C, "DE")], [(CN, "svc"), (OU, "a")]), SANS)
    read = certificate(der)
    assert (read.der, read.thumbprint) == (der, thumbprint(der))
    assert read.subject == (frozenset({("2.5.4.6", "DE")}), frozenset({("2.5.4.3", "svc"), ("2.5.4.11", "a")}))
    assert read.san_dns == ("svc.a.example", "*.b.example")
    assert read.san_uri == ("spiffe://a.example/ns/b",)
    assert read.san_ip == (ip_address("10.0.0.1"), ip_address("2001:db8::1"))
    assert read.san_email == ("svc@A.example",)
    assert (read.not_before, read.not_after) == (START, START + 86400)
    assert read.public_key_thumbprint == ECKey.import_key(KEY.public_key()).thumbprint()
    assert read.client_auth
    assert "der=" not in repr(read)


@pytest.mark.parametrize(
    ("key", "kind"),
    [(ec.generate_private_key(ec.SECP256R1()), ECKey), (ec.generate_private_key(ec.SECP384R1()), ECKey),
     (rsa.generate_private_key(65537, 2048), RSAKey), (Ed25519PrivateKey.generate(), OKPKey)],
    ids=["P-256", "P-384", "RSA", "Ed25519"],
)  # fmt: skip
def test_the_thumbprint_of_its_key_is_that_of_its_jwk(key: Any, kind: Any) -> None:
    assert certificate(made(key=key)).public_key_thumbprint == kind.import_key(key.public_key()).thumbprint()


def short(bits: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return rsa.generate_private_key(65537, bits)


@pytest.mark.parametrize(
    "key", [ec.generate_private_key(ec.SECP521R1()), ec.generate_private_key(ec.SECP256K1()), short(1024), short(2046)]
)
def test_a_key_of_a_type_or_size_that_is_not_ours_has_no_thumbprint(key: Any) -> None:
    assert certificate(made(key=key)).public_key_thumbprint is None


def test_a_key_that_nobody_of_ours_knows_has_no_thumbprint() -> None:
    assert certificate(made(key=Ed448PrivateKey.generate())).public_key_thumbprint is None


@pytest.mark.rfc("5280", "4.2.1.12")
@pytest.mark.parametrize(
    ("usages", "allowed"),
    [(None, True), ([ExtendedKeyUsageOID.CLIENT_AUTH], True), ([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH], True),
     ([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE], True), ([ExtendedKeyUsageOID.SERVER_AUTH], False), ([x509.ObjectIdentifier("1.2.3")], False)],
)  # fmt: skip
def test_89_a_certificate_for_another_use_says_so(usages: Any, allowed: bool) -> None:
    assert certificate(made(usages=usages)).client_auth is allowed


@pytest.mark.rfc("8705", "2.1.2")
@pytest.mark.parametrize(
    "text", ["CN=svc,O=Ac\\,me,C=DE", "cn=svc, o=Ac\\2cme , c=DE", "2.5.4.3=svc,2.5.4.10=#0C0541632C6D65,C=DE"]
)
def test_88_a_subject_is_compared_by_its_values(text: str) -> None:
    assert matches_subject(RICH, SUBJECT_DN, text)


@pytest.mark.parametrize(
    "text",
    ["CN=svc", "svc", "CN=svc,O=Ac,me,C=DE", "C=DE,O=Ac\\,me,CN=svc", "CN=SVC,O=Ac\\,me,C=DE", "CN=svc,O=Ac\\,me", "CN=svc,O=Ac\\,me,C=DE,CN=svc", "CN=svc,O=*,C=DE",
     "CN=svc+O=Ac\\,me,C=DE", "OU=svc,O=Ac\\,me,C=DE", "CN=sv,O=Ac\\,me,C=DE", "CN=svc ,O=Ac\\,me\\ ,C=DE", "", "junk", "CN=svc\\,O\\=Ac\\\\\\,me\\,C\\=DE"],
)  # fmt: skip
def test_88_a_subject_that_only_looks_alike_is_another(text: str) -> None:
    assert not matches_subject(RICH, SUBJECT_DN, text)


def subject(*rdns: Any) -> Any:
    return certificate(made(name(*rdns)))


def test_88_two_common_names_are_not_one() -> None:
    both = subject([(CN, "a")], [(CN, "b")])
    assert matches_subject(both, SUBJECT_DN, "CN=b,CN=a")
    for text in ("CN=a", "CN=b", "CN=a,CN=b", "CN=a+CN=b"):
        assert not matches_subject(both, SUBJECT_DN, text)


def test_88_values_of_one_rdn_are_in_no_order() -> None:
    joined = subject([(CN, "a"), (OU, "b")])
    assert matches_subject(joined, SUBJECT_DN, "CN=a+OU=b")
    assert matches_subject(joined, SUBJECT_DN, "OU=b+CN=a")
    assert not matches_subject(joined, SUBJECT_DN, "CN=a,OU=b")
    assert not matches_subject(joined, SUBJECT_DN, "CN=a")


def test_88_a_value_is_the_same_whatever_kind_of_string_it_is() -> None:
    assert subject([(CN, "svc", UTF8)]).der != subject([(CN, "svc", PRINTABLE)]).der
    for kind in (UTF8, PRINTABLE):
        assert matches_subject(subject([(CN, "svc", kind)]), SUBJECT_DN, "CN=svc")


def test_88_a_value_that_holds_another_name_is_a_value() -> None:
    assert not matches_subject(subject([(CN, "svc,O=Acme")]), SUBJECT_DN, "CN=svc,O=Acme")
    assert matches_subject(subject([(CN, "svc,O=Acme")]), SUBJECT_DN, "CN=svc\\,O=Acme")


def test_an_empty_subject_and_one_of_bits_are_nobodys() -> None:
    empty = subject()
    bits = certificate(made(x509.Name([x509.NameAttribute(NameOID.X500_UNIQUE_IDENTIFIER, b"\0\1", BITS)])))
    for one in (empty, bits):
        for text in ("", " ", "CN=", "2.5.4.45=#0C00", "2.5.4.45=0001", "2.5.4.45=#0C0130"):
            assert not matches_subject(one, SUBJECT_DN, text)


@pytest.mark.rfc("8705", "2.1.2")
@pytest.mark.parametrize(
    ("kind", "value"),
    [(SAN_DNS, "svc.a.example"), (SAN_DNS, "SVC.A.example"), (SAN_DNS, "*.b.example"), (SAN_URI, "spiffe://a.example/ns/b"), (SAN_IP, "10.0.0.1"),
     (SAN_IP, "2001:db8::1"), (SAN_IP, "2001:0DB8:0:0::0001"), (SAN_EMAIL, "svc@a.example")],
)  # fmt: skip
def test_88_one_alternative_name_is_whom_a_certificate_names(kind: str, value: str) -> None:
    assert matches_subject(RICH, kind, value)
    assert not matches_subject(BARE, kind, value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [(SAN_DNS, "a.b.example"), (SAN_DNS, "*.a.example"), (SAN_DNS, "*"), (SAN_DNS, "a.example"), (SAN_DNS, "svc.a.example."), (SAN_DNS, " svc.a.example"),
     (SAN_DNS, "10.0.0.1"), (SAN_DNS, ""), (SAN_URI, "spiffe://a.example/ns"), (SAN_URI, "SPIFFE://a.example/ns/b"), (SAN_URI, "spiffe://a.example/ns/b/"),
     (SAN_URI, ""), (SAN_URI, "svc.a.example"), (SAN_IP, "10.0.0.2"), (SAN_IP, "::ffff:10.0.0.1"), (SAN_IP, "10.0.0.01"), (SAN_IP, "10.0.0.0/24"),
     (SAN_IP, "svc.a.example"), (SAN_IP, ""), (SAN_IP, "167772161"), (SAN_IP, "2001:db8::1%eth0"), (SAN_EMAIL, "SVC@a.example"), (SAN_EMAIL, "a.example"),
     (SAN_EMAIL, ""), (SAN_EMAIL, "@"), (SAN_DNS, "\u017fvc.a.example")],
)  # fmt: skip
def test_88_an_alternative_name_matches_nothing_but_itself(kind: str, value: str) -> None:
    assert not matches_subject(RICH, kind, value)


def test_88_a_name_that_stands_there_twice_names_nobody() -> None:
    assert not matches_subject(
        certificate(made(sans=[x509.DNSName("a.example"), x509.DNSName("A.example")])), SAN_DNS, "a.example"
    )


def test_88_names_of_nothing_are_nobodys() -> None:
    empty = certificate(made(sans=[x509.DNSName(""), x509.UniformResourceIdentifier("")]))
    assert (empty.san_dns, empty.san_uri) == (("",), ("",))
    assert not any(matches_subject(empty, kind, "") for kind in SUBJECT_KINDS)


def test_another_kind_is_a_fault_of_the_caller() -> None:
    for call in (lambda: matches_subject(RICH, "san_dns", "a"), lambda: is_subject("san_dns", "a")):
        with pytest.raises(KeyError):
            call()


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (SUBJECT_DN, ["CN=a", "CN=a+OU=b,C=DE"], ["", "a", "CN=a;O=b"]),
        (
            SAN_DNS,
            ["a.example", "*.a.example", "a_b", "xn--bcher-kva.example"],
            ["", "a b", "a..b", "a.", "bücher.example", "https://a", "a/b"],
        ),
        (SAN_URI, ["spiffe://a/b", "urn:a:b"], ["", "a", "spiffe:", "a b:c", "spiffe://a/é"]),
        (SAN_IP, ["10.0.0.1", "::1"], ["", "10.0.0.1/32", "a", "10.0.0.01", "fe80::1%eth0"]),
        (SAN_EMAIL, ["a@b.example"], ["", "a", "@b", "a@", "a@b@c", "a b@c"]),
    ],
)
def test_what_no_certificate_could_say_is_no_value_to_register(kind: str, good: list[str], bad: list[str]) -> None:
    assert all(is_subject(kind, value) for value in good)
    assert not any(is_subject(kind, value) for value in bad)


@pytest.mark.parametrize(
    ("der", "why"),
    [(b"", "missing"), (b"junk", "malformed"), (made()[:-1], "malformed"), (made() + b"\0", "malformed"), (made() + made(), "malformed"), (pem(made()).encode(), "malformed"),
     (b"\x30\x00", "malformed"), (bytes(MAX_LENGTH), "malformed"), (bytes(MAX_LENGTH + 1), "too_large")],
)  # fmt: skip
def test_91_bytes_that_are_not_one_certificate_are_refused(der: bytes, why: str) -> None:
    assert reason(der) == why


@pytest.mark.rfc("5280", "4.1.2.2")
@pytest.mark.parametrize("serial", [b"\2\1\0", b"\2\1\xff"])
def test_a_serial_number_that_is_not_positive_is_refused(serial: bytes) -> None:
    der = made()
    assert reason(der.replace(b"\2\1\5", serial, 1)) == "malformed"
    with warnings.catch_warnings():  # in whatever mood warnings are
        warnings.simplefilter("ignore")
        assert reason(der.replace(b"\2\1\5", serial, 1)) == "malformed"


def outcome(der: bytes) -> str:
    try:
        read = certificate(der)
    except CertificateError as refused:
        return refused.reason
    for kind in SUBJECT_KINDS:
        assert not matches_subject(read, kind, "nobody@nowhere")
    return "good"


def test_91_mutated_certificates_give_a_certificate_or_a_reason() -> None:
    chance = random.Random(8705)
    seeds = [
        RICH.der,
        BARE.der,
        made(key=rsa.generate_private_key(65537, 2048), usages=[ExtendedKeyUsageOID.CLIENT_AUTH]),
        made(key=Ed25519PrivateKey.generate()),
    ]
    seen = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(4000):
            der = bytearray(chance.choice(seeds))
            for _ in range(chance.randint(1, 4)):
                at = chance.randrange(len(der))
                match chance.randrange(4):
                    case 0:
                        der[at] ^= 1 << chance.randrange(8)
                    case 1:
                        der[at] = chance.choice((0, 1, 0x30, 0x7F, 0x80, 0xFF))
                    case 2:
                        del der[at : at + chance.randint(1, 8)]
                    case _:
                        der[at:at] = chance.randbytes(chance.randint(1, 8))
            seen.add(outcome(bytes(der)))
    assert seen == {"good", "malformed"}


@given(st.binary())
def test_91_any_bytes_give_a_reason(der: bytes) -> None:
    assert outcome(der) in ("malformed", "missing")


def test_a_panic_of_the_parser_is_a_refusal_and_an_interrupt_is_none() -> None:
    panic = type("PanicException", (BaseException,), {})

    def fails(fault: type[BaseException]) -> Any:
        def read() -> None:
            raise fault

        return read

    for fault in (panic, ValueError, KeyError, RecursionError, MemoryError):
        with pytest.raises(CertificateError, match="malformed"):
            mtls._guarded(fails(fault))
    with pytest.raises(KeyboardInterrupt):
        mtls._guarded(fails(KeyboardInterrupt))


OPENSSL = shutil.which("openssl")


def openssl(*args: str, said: bytes = b"") -> bytes:
    assert OPENSSL
    return subprocess.run([OPENSSL, *args], input=said, capture_output=True, check=True, timeout=60).stdout


@pytest.mark.skipif(OPENSSL is None, reason="no openssl on this machine")
@pytest.mark.parametrize(
    "said", ["/CN=svc", '/C=DE/O=Ac,me \\\\ "Co"/OU=a+CN=svc; #1', "/O=Lučić/CN= a /emailAddress=a@b.example", "/DC=net/DC=example/UID=jsmith", "/CN=#a=b<c>"]
)  # fmt: skip
def test_88_certificates_of_openssl_match_the_names_that_it_writes_for_them(said: str, tmp_path: Path) -> None:
    names = "subjectAltName=DNS:a.example,IP:2001:db8::1,URI:spiffe://a/b,email:a@b.example"
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(tmp_path / "key")]
    der = openssl(
        "req",
        "-x509",
        *key,
        "-utf8",
        "-subj",
        said,
        "-addext",
        names,
        "-addext",
        "extendedKeyUsage=clientAuth",
        "-outform",
        "DER",
    )
    shown = openssl(
        "x509", "-inform", "DER", "-noout", "-subject", "-nameopt", "RFC2253", "-fingerprint", "-sha256", said=der
    ).decode()
    subject, fingerprint = shown.splitlines()
    read = certificate(der)
    assert matches_subject(read, SUBJECT_DN, subject.removeprefix("subject="))
    digest = bytes.fromhex(re.sub("[^0-9A-F]", "", fingerprint.partition("=")[2]))
    assert read.thumbprint == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    assert (read.san_dns, read.san_uri, read.san_email) == (("a.example",), ("spiffe://a/b",), ("a@b.example",))
    assert matches_subject(read, SAN_IP, "2001:DB8:0::1")
    assert read.client_auth
