"""flask tokens get without a secret: by a key, by a workload's token, and bound to a key."""

import base64
import hashlib
import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from tests.support.issuer import claims
from tests.support.process import Deployment
from tests.support.tls import HERE, Authority

OUTSIDE = "https://ci.example"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Deployment, Path]]:
    deployment = Deployment(tmp_path_factory.mktemp("running"))
    files = tmp_path_factory.mktemp("files")
    for name in ("own", "outside", "proof"):
        key = ECKey.generate_key("P-256")
        (files / f"{name}.pem").write_bytes(key.as_pem(private=True))
        (files / f"{name}.jwk").write_text(json.dumps(key.as_dict(private=False)))
    deployment.run("clients create signs --scope read --default-scope read --auth-method private_key_jwt")
    deployment.run(f"clients keys add signs {files / 'own.jwk'}")
    deployment.run("clients create job --scope read --default-scope read --auth-method workload_identity")
    deployment.run(f"clients trust add job --issuer {OUTSIDE} --match sub=build --jwks {files / 'outside.jwk'}")
    with deployment.gunicorn("--workers 1"):
        yield deployment, files


def issued_outside(files: Path, issuer: str, now: int) -> str:
    key = ECKey.import_key((files / "outside.pem").read_bytes())
    said = {"iss": OUTSIDE, "sub": "build", "aud": issuer, "iat": now, "exp": now + 600}
    return jwt.encode({"alg": "ES256", "kid": key.thumbprint()}, said, key, algorithms=["ES256"])


def test_a_key_signs_an_assertion_each_time(running: tuple[Deployment, Path]) -> None:
    deployment, files = running
    for _ in range(2):
        got = deployment.command(f"tokens get signs --key {files / 'own.pem'}")
        assert got.returncode == 0, got.stderr
        assert claims(got.stdout.strip())["client_id"] == "signs"
    refused = deployment.command(f"tokens get signs --key {files / 'outside.pem'}")
    assert (refused.returncode, "401 invalid_client" in refused.stderr) == (1, True)
    assert refused.stderr.endswith("; the issuer's log says why\n")


def test_a_workload_s_token_is_sent_from_its_file(running: tuple[Deployment, Path]) -> None:
    deployment, files = running
    got = deployment.command(f"tokens get signs --key {files / 'own.pem'}")
    token = claims(got.stdout.strip())
    (files / "token").write_text(issued_outside(files, token["iss"], token["iat"]) + "\n")
    got = deployment.command(f"tokens get job --assertion {files / 'token'}")
    assert got.returncode == 0, got.stderr
    assert claims(got.stdout.strip())["client_id"] == "job"
    wrong = deployment.command(f"tokens get job --assertion {files / 'own.pem'}")
    assert (wrong.returncode, "not a signed JWT" in wrong.stderr) == (2, True), wrong.stderr
    assert "PRIVATE" not in wrong.stderr


@pytest.mark.parametrize("nonce", ["--no-dpop-nonce", "--dpop-nonce"])
def test_a_token_is_bound_to_a_key_with_a_nonce_and_without(running: tuple[Deployment, Path], nonce: str) -> None:
    deployment, files = running
    deployment.run(f"realms update / {nonce}")
    jkt = ECKey.import_key((files / "proof.pem").read_bytes()).thumbprint()
    seen = set()
    for _ in range(3):
        got = deployment.run(f"tokens get signs --key {files / 'own.pem'} --dpop {files / 'proof.pem'}")
        assert got["token_type"] == "DPoP"
        seen.add(claims(got["access_token"])["cnf"]["jkt"])
    assert seen == {jkt}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--key {0}/own.pem --assertion {0}/own.pem", "say one of --key and --assertion"),
        ("--kid a", "--kid is of the key in --key FILE"),
        ("--assertion {0}/own.pem --cert-key {0}/own.pem", "--cert-key is of the certificate in --cert FILE"),
        ("--cert {0}/own.pem", "a certificate is shown over TLS alone"),
        ("--key {0}/own.pem --cert {0}/own.pem", "a certificate is shown over TLS alone"),
    ],
)
def test_what_does_not_go_together_is_said(running: tuple[Deployment, Path], line: str, said: str) -> None:
    deployment, files = running
    got = deployment.command(f"tokens get signs {line.format(files)}")
    assert (got.returncode, said in got.stderr) == (2, True), got.stderr


def test_a_certificate_is_shown_alone_or_beside_a_key(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    server, (shown, key) = authority.certificate(HERE), authority.certificate("svc")
    deployment = Deployment(tmp_path / "issuer")
    deployment.environ |= {
        "REALMINT_BASE_URL": f"https://{HERE}:{deployment.port}",
        "SSL_CERT_FILE": str(authority.file),
    }
    own = ECKey.generate_key("P-256")
    (tmp_path / "own.pem").write_bytes(own.as_pem(private=True))
    (tmp_path / "own.pub").write_bytes(own.as_pem(private=False))
    deployment.run("clients create svc --scope read --default-scope read --auth-method tls_client_auth")
    deployment.run(f"clients certs add svc --subject-dn CN=svc --ca {authority.file}")
    deployment.run(
        "clients create signs --scope read --default-scope read --auth-method private_key_jwt --bound-certificate"
    )
    deployment.run(f"clients keys add signs {tmp_path / 'own.pub'}")
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(shown.read_text())).digest()
    bound = {"x5t#S256": base64.urlsafe_b64encode(digest).rstrip(b"=").decode()}
    tls = f"--certfile {server[0]} --keyfile {server[1]} --ca-certs {authority.file} --cert-reqs 1"
    with deployment.process(deployment.production_line(f"--workers 1 {tls}"), ca=str(authority.file)):
        certificate = f"--cert {shown} --cert-key {key}"
        for who in ("svc", f"signs --key {tmp_path / 'own.pem'}"):
            got = deployment.command(f"tokens get {who} {certificate}")
            assert got.returncode == 0, got.stderr
            assert claims(got.stdout.strip())["cnf"] == bound
        assert (
            "has to show a certificate" in deployment.command(f"tokens get signs --key {tmp_path / 'own.pem'}").stderr
        )
        for pair in (f"--cert {shown}", f"--cert {shown} --cert-key {tmp_path / 'own.pem'}"):
            wrong = deployment.command(f"tokens get svc {pair}")
            assert (wrong.returncode, "no PEM certificate with its own private key" in wrong.stderr) == (2, True)
