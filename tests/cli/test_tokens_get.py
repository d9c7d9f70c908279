"""flask tokens get: a token from the running issuer, with a secret that is no argument."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.issuer import claims
from tests.support.process import Deployment

ORDERS = "https://orders.example"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Deployment, str]]:
    deployment = Deployment(tmp_path_factory.mktemp("running"))
    made = deployment.run(
        f"clients create svc --scope 'read write' --default-scope read --audience {ORDERS} --audience stock"
    )
    with deployment.gunicorn("--workers 1"):
        yield deployment, made["client_secret"]


def test_it_prints_the_token_and_nothing_else(running: tuple[Deployment, str]) -> None:
    deployment, secret = running
    got = deployment.command("tokens get svc", secret + "\n")
    assert got.returncode == 0, got.stderr
    assert claims(got.stdout.strip())["scope"] == "read"
    got = deployment.command(f"tokens get svc --scope read --scope write --resource {ORDERS} --audience stock", secret)
    assert (claims(got.stdout.strip())["scope"], claims(got.stdout.strip())["aud"]) == ("read write", [ORDERS, "stock"])


def test_decoded_it_shows_header_and_claims(running: tuple[Deployment, str]) -> None:
    deployment, secret = running
    got = deployment.command("tokens get svc --decode", secret)
    assert '"typ": "at+jwt"' in got.stdout
    assert '"client_id": "svc"' in got.stdout
    assert "eyJ" not in got.stdout
    answer = deployment.run("tokens get svc --decode", secret)
    assert answer["claims"] == claims(answer["access_token"])
    assert (answer["token_type"], answer["header"]["alg"]) == ("Bearer", "ES256")


@pytest.mark.parametrize(
    ("line", "stdin", "code", "said"),
    [("tokens get svc", "wrong", 1, "401 invalid_client: Client authentication failed"),
     ("tokens get nobody", "wrong", 1, "401 invalid_client"), ("tokens get svc --scope admin", None, 1, "400 invalid_scope"),
     ("tokens get svc --realm /nobody", None, 1, "404 not_found"), ("tokens get svc --resource x:y", None, 1, "400 invalid_target")],
)  # fmt: skip
def test_a_refusal_of_the_issuer_s_is_said_and_no_secret(
    running: tuple[Deployment, str], line: str, stdin: str | None, code: int, said: str
) -> None:
    deployment, secret = running
    got = deployment.command(line, stdin or secret)
    assert (got.returncode, got.stdout) == (code, "")
    assert said in got.stderr
    assert secret not in got.stderr
    answer = json.loads(deployment.command(f"{line} --json", stdin or secret).stdout)
    assert (answer["changed"], answer["error"]) == (False, said.split()[1].rstrip(":"))


@pytest.mark.parametrize("stdin", ["", "\n"])
def test_no_secret_on_standard_input_is_said_so_and_nobody_is_asked(tmp_path: Path, stdin: str) -> None:
    got = Deployment(tmp_path).command("tokens get svc", stdin)
    assert (got.returncode, "there is no secret on standard input" in got.stderr) == (2, True), got.stderr


def test_an_issuer_that_does_not_run_is_said_so(running: tuple[Deployment, str], tmp_path: object) -> None:
    deployment, secret = running
    away = Deployment(deployment.folder.parent / "away")
    got = away.command("tokens get svc", secret)
    assert (got.returncode, "is the issuer running there?" in got.stderr) == (6, True)
    away.environ |= {"REALMINT_BASE_URL": "http://issuer.example", "REALMINT_ALLOW_HTTP": "1"}
    assert "not sent over plain http" in away.command("tokens get svc", secret).stderr
    away.environ |= {"REALMINT_BASE_URL": "https://issuer.example", "HTTPS_PROXY": "socks5://proxy.example"}
    got = away.command("tokens get svc", secret)
    assert (got.returncode, "HTTPS_PROXY must be http://host:port" in got.stderr) == (2, True), got.stderr
