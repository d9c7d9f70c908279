"""Clients that authenticate by certificate, and tokens that are bound to one: facts/security.md section E."""

import base64
import hashlib
import ipaddress
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from joserfc.jwk import ECKey

from tests.issuer.conftest import READER
from tests.support.issuer import BASE_URL, Issuer, claims
from tests.support.mutual_tls import CLIENT, DAY, SERVER, Authority, certificate, pem, post_with
from tests.support.wire import assert_refused

FORM = {"grant_type": "client_credentials", "client_id": "svc"}
NAMED, OWN = "tls_client_auth", "self_signed_tls_client_auth"


def bit_of(issuer: Issuer, token: str) -> bool:
    """What the status list says of a token."""
    at = claims(token)["status"]["status_list"]
    listed = issuer.http.get(at["uri"].removeprefix(BASE_URL)).text
    packed = base64.urlsafe_b64decode(claims(listed)["status_list"]["lst"] + "==")
    return bool(zlib.decompress(packed)[at["idx"] // 8] >> at["idx"] % 8 & 1)


def x5t(der: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def register(issuer: Issuer, tmp_path: Path) -> Callable[..., None]:
    """Registers a client by certificate: its own, or a name of an authority's."""

    def register(what: bytes | str, ca: Authority | None = None, client_id: str = "svc") -> None:
        method = OWN if isinstance(what, bytes) else NAMED
        if client_id not in {each["client_id"] for each in issuer.run("clients list")}:
            issuer.run(f"clients create {client_id} {READER} --auth-method {method}")
        file, authorities = tmp_path / "own.pem", tmp_path / "ca.pem"
        if isinstance(what, bytes):
            file.write_bytes(pem(what))
            issuer.run(f"clients certs add {client_id} {file}")
        else:
            if ca is not None:
                authorities.write_bytes(pem(ca.der))
            issuer.run(f"clients certs add {client_id} {what} {f'--ca {authorities}' if ca else ''}")
        issuer.clock.advance(2)

    return register


@pytest.mark.parametrize("verified", [True, False])
@pytest.mark.rfc("8705", "3.1")
def test_85_a_registered_certificate_authenticates_and_binds(
    issuer: Issuer, authority: Authority, register: Callable[..., None], verified: bool
) -> None:
    register("--subject-dn CN=svc", authority)
    der = certificate("svc", authority, usages=[CLIENT])
    response = post_with(issuer, der, FORM, verified=verified)
    assert response.status_code == 200, response.text
    assert response.json["token_type"] == "Bearer"
    assert claims(response.json["access_token"])["cnf"] == {"x5t#S256": x5t(der)}
    for suffix, form in (("/introspect", {"token": response.json["access_token"]}), ("/token/revoke", {"token": "x"})):
        answer = post_with(issuer, der, {"client_id": "svc"} | form, suffix)
        assert answer.status_code == 200
    told = post_with(issuer, der, {"client_id": "svc", "token": response.json["access_token"]}, "/introspect").json
    assert told["cnf"] == {"x5t#S256": x5t(der)}


@pytest.mark.rfc("8705", "2")
def test_86_who_names_no_client_is_told_so(issuer: Issuer, authority: Authority, register: Callable[..., None]) -> None:
    register("--subject-dn CN=svc", authority)
    response = post_with(issuer, certificate("svc", authority), {"grant_type": "client_credentials"})
    assert_refused(response, "invalid_request", text="Missing parameter: client_id")


def test_87_the_certificate_of_one_client_is_not_another_s(
    issuer: Issuer, authority: Authority, register: Callable[..., None]
) -> None:
    register("--subject-dn CN=svc", authority)
    register("--subject-dn CN=other", authority, "other")
    for client_id in ("other", "nobody"):
        assert_refused(
            post_with(issuer, certificate("svc", authority), FORM | {"client_id": client_id}), "invalid_client"
        )


def names(*pairs: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(*pair) for pair in pairs])


CN, ORG = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME
URI = "spiffe://example.org/svc"
SANS = {
    "--san-dns svc.example": x509.DNSName("svc.example"),
    f"--san-uri {URI}": x509.UniformResourceIdentifier(URI),
    "--san-ip 192.0.2.7": x509.IPAddress(ipaddress.ip_address("192.0.2.7")),
    "--san-email svc@example.org": x509.RFC822Name("svc@example.org"),
}


@pytest.mark.parametrize("option", SANS)
def test_88_each_kind_of_name_is_compared_as_what_it_is(
    issuer: Issuer, authority: Authority, register: Callable[..., None], option: str
) -> None:
    register(option, authority)
    assert post_with(issuer, certificate("x", authority, sans=[SANS[option]]), FORM).status_code == 200
    others = [each for name, each in SANS.items() if name != option]
    assert_refused(post_with(issuer, certificate("x", authority, sans=others), FORM), "invalid_client")
    assert_refused(post_with(issuer, certificate("svc", authority), FORM), "invalid_client")


@pytest.mark.parametrize(
    ("registered", "subject", "fits"),
    [
        pytest.param("CN=svc,O=Example", names((ORG, "Example"), (CN, "svc")), True, id="case_88-order of RFC 4514"),
        pytest.param("CN=svc,O=Example", names((CN, "svc"), (ORG, "Example")), False, id="case_88-reversed"),
        pytest.param("CN=svc", names((CN, "svc"), (ORG, "Example")), False, id="case_88-a part"),
        pytest.param("CN=svc", names((CN, "svc2")), False, id="case_88-substring"),
        pytest.param("CN=a", names((CN, "a"), (CN, "b")), False, id="case_88-two CN"),
        pytest.param(r"CN=a\,CN=b", names((CN, "a,CN=b")), True, id="case_88-escaped comma"),
        pytest.param("CN=a,CN=b", names((CN, "a,CN=b")), False, id="case_88-comma inside"),
    ],
)
def test_a_subject_is_compared_by_its_values(
    issuer: Issuer, authority: Authority, register: Callable[..., None], registered: str, subject: Any, fits: bool
) -> None:
    register(f"--subject-dn '{registered}'", authority)
    response = post_with(issuer, certificate(subject, authority), FORM)
    assert response.status_code == (200 if fits else 401)


def test_88_a_wildcard_is_a_name_like_any_other(
    issuer: Issuer, authority: Authority, register: Callable[..., None]
) -> None:
    register("--san-dns svc.example", authority)
    wild = certificate("x", authority, sans=[x509.DNSName("*.example")])
    assert_refused(post_with(issuer, wild, FORM), "invalid_client")


def test_89_what_no_authority_of_the_client_s_issued_or_is_not_valid_now_is_refused_by_one_body(
    issuer: Issuer, authority: Authority, register: Callable[..., None]
) -> None:
    register("--subject-dn CN=svc", authority)
    now = issuer.clock.wall()
    imposter = Authority()  # of the same name
    wrong = {
        "self-signed": certificate("svc"),
        "expired": certificate("svc", authority, ends=now - 1),
        "not yet valid": certificate("svc", authority, begins=now + 1),
        "usage": certificate("svc", authority, usages=[SERVER]),
        "untrusted": certificate("svc", imposter),
        "not DER": b"0\x82\x00\x01x",
        "empty": b"",
        "junk behind": certificate("svc", authority) + b"\x00",
    }
    for what, der in wrong.items():
        response = post_with(issuer, der, FORM)
        assert response.status_code == 401, what
        assert_refused(response, "invalid_client")
    for begins, ends, good in ((now, now + DAY, True), (now - DAY, now, True), (now - DAY, now - 1, False)):
        response = post_with(issuer, certificate("svc", authority, begins=begins, ends=ends), FORM)
        assert (response.status_code == 200) == good


@pytest.mark.parametrize("fault", ["expired", "no ca"])
def test_89_an_authority_has_to_be_one_now(issuer: Issuer, register: Callable[..., None], fault: str) -> None:
    authority = Authority(days=10) if fault == "expired" else Authority(ca=False)
    register("--subject-dn CN=svc", authority)
    der = certificate("svc", authority, ends=issuer.clock.wall() + 60 * DAY)
    assert post_with(issuer, der, FORM).status_code == (200 if fault == "expired" else 401)
    issuer.clock.advance(11 * DAY)
    assert_refused(post_with(issuer, der, FORM), "invalid_client")


def test_89_without_an_authority_whoever_ended_tls_has_said_who_issued_it(
    issuer: Issuer, register: Callable[..., None]
) -> None:
    register("--subject-dn CN=svc")
    assert post_with(issuer, certificate("svc", Authority()), FORM).status_code == 200
    assert_refused(post_with(issuer, certificate("svc"), FORM), "invalid_client")  # nobody issued that


@pytest.mark.rfc("8705", "2.2")
def test_90_its_own_certificate_counts_by_its_bytes(issuer: Issuer, register: Callable[..., None]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    first, renewed = certificate("svc", key=key), certificate("svc", key=key, ends=issuer.clock.wall() + 99 * DAY)
    register(first)
    assert claims(post_with(issuer, first, FORM).json["access_token"])["cnf"] == {"x5t#S256": x5t(first)}
    assert_refused(post_with(issuer, renewed, FORM), "invalid_client")
    register(renewed)
    for der in (first, renewed):
        assert post_with(issuer, der, FORM).status_code == 200
    (old, _) = issuer.run("clients certs list svc")
    assert old["thumbprint"] == x5t(first)
    by_old, by_new = (str(post_with(issuer, der, FORM).json["access_token"]) for der in (first, renewed))
    issuer.run(f"clients certs revoke svc {old['credential_id']} --yes")
    issuer.clock.advance(2)
    for token, active in ((by_old, False), (by_new, True)):
        told = post_with(issuer, renewed, {"client_id": "svc", "token": token}, "/introspect").json
        assert told["active"] is active
        assert bit_of(issuer, token) == (not active)
    assert_refused(post_with(issuer, first, FORM), "invalid_client")
    assert post_with(issuer, renewed, FORM).status_code == 200


@pytest.mark.parametrize("kind", ["P-256", "P-384", "Ed25519", "RSA"])
@pytest.mark.rfc("8705", "2.2.2")
def test_90_a_key_that_is_registered_speaks_for_its_certificates(issuer: Issuer, tmp_path: Path, kind: str) -> None:
    private: Any = {
        "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "Ed25519": ed25519.Ed25519PrivateKey.generate,
        "RSA": lambda: rsa.generate_private_key(65537, 2048),
    }[kind]()
    issuer.run(f"clients create svc {READER} --auth-method {OWN}")
    der = certificate("svc", key=private)
    (tmp_path / "key.pem").write_bytes(pem(der))
    issuer.run(f"clients keys add svc {tmp_path / 'key.pem'}")
    issuer.clock.advance(2)
    assert post_with(issuer, der, FORM).status_code == 200
    assert_refused(post_with(issuer, certificate("svc"), FORM), "invalid_client")


def test_92_a_client_that_has_to_show_one_gets_nothing_without_and_a_bound_token_with(issuer: Issuer) -> None:
    caller = issuer.client(options=f"{READER} --bound-certificate")
    issuer.clock.advance(2)
    assert_refused(issuer.token_response(caller), "invalid_request", text="This client has to show a certificate")
    der = certificate("whoever", Authority())
    answer = post_with(issuer, der, {"grant_type": "client_credentials"}, headers=caller.basic)
    assert claims(answer.json["access_token"])["cnf"] == {"x5t#S256": x5t(der)}


def test_a_certificate_that_nobody_asked_for_binds_nothing_and_is_no_second_method(issuer: Issuer) -> None:
    caller = issuer.client(options=READER)
    issuer.clock.advance(2)
    for form, sent in (({}, caller.basic), (caller.post, {})):
        answer = post_with(
            issuer, certificate("x", Authority()), {"grant_type": "client_credentials", **form}, headers=sent
        )
        assert answer.status_code == 200
        assert "cnf" not in claims(answer.json["access_token"])


def test_104_what_both_prove_is_bound_to_both(issuer: Issuer) -> None:
    from tests.issuer.test_dpop import ONE, proof

    caller = issuer.client(options=f"{READER} --bound-certificate --dpop")
    issuer.clock.advance(2)
    der = certificate("whoever", Authority())
    sent = caller.basic | {"DPoP": proof(issuer, ONE)}
    answer = post_with(issuer, der, {"grant_type": "client_credentials"}, headers=sent).json
    assert (answer["token_type"], claims(answer["access_token"])["cnf"]) == (
        "DPoP", {"jkt": ONE.jkt, "x5t#S256": x5t(der)},
    )  # fmt: skip


@pytest.mark.parametrize("suffix", ["", "/openam"])
def test_128_aliases_are_named_where_they_are_configured(make_issuer: Callable[..., Issuer], suffix: str) -> None:
    base, mtls = f"https://issuer.example{suffix}", f"https://mtls.issuer.example{suffix}"
    issuer = make_issuer(BASE_URL=base, MTLS_BASE_URL=mtls)
    issuer.runtime.boot()
    document = issuer.http.get(issuer.address("/.well-known/oauth-authorization-server")).json
    aliases = document["mtls_endpoint_aliases"]
    assert set(aliases) == {"token_endpoint", "introspection_endpoint", "revocation_endpoint"}
    assert all(aliases[name] == document[name].replace(base, mtls) for name in aliases)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{own} --subject-dn CN=svc", "give FILE, or one of"), ("", "give FILE, or one of"),
        ("--subject-dn CN=svc --san-dns a.b", "give FILE, or one of"), ("{issued}", "register the name"),
        ("{key}", "private key"), ("{junk}", "no certificate that can be read"), ("{own} --ca {own}", "--ca is for"),
        ("--subject-dn svc", "no certificate can have this subject dn"), ("--san-ip 1.2", "no certificate can have this"),
        ("--san-dns 'a b'", "no certificate can have this san dns"), ("{two}", "more than 1 certificate"),
    ],
)  # fmt: skip
def test_what_cannot_be_registered_is_said_and_changes_nothing(
    issuer: Issuer, tmp_path: Path, authority: Authority, line: str, said: str
) -> None:
    issuer.run(f"clients create svc {READER} --auth-method {OWN}")
    files = {
        "own": pem(certificate("svc")), "issued": pem(certificate("svc", authority)), "junk": b"-----BEGIN",
        "key": ECKey.generate_key("P-256").as_pem(private=True), "two": pem(certificate("a"), certificate("b")),
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    refused = issuer.command(f"clients certs add svc {line.format(**{name: tmp_path / name for name in files})}")
    assert (refused.exit_code, said in refused.output) == (2, True), refused.output
    assert issuer.run("clients certs list svc") == []


def test_208_no_certificate_is_in_the_log(
    issuer: Issuer, register: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    own = certificate("svc")
    register(own)
    assert post_with(issuer, own, FORM).status_code == 200
    assert base64.b64encode(own).decode()[:60] not in caplog.text
    shown = json.dumps(issuer.run("clients certs list svc"))
    assert base64.b64encode(own).decode()[:60] not in shown
