"""The request of AM's documentation, unchanged, against Realmint over TLS."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.issuer import claims, header
from tests.support.process import Deployment
from tests.support.tls import certificate

HOST = "openam.example.com"


@pytest.fixture(scope="module")
def openam(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Deployment, Path]]:
    folder = tmp_path_factory.mktemp("am")
    cert, key = certificate(folder, HOST)
    deployment = Deployment(folder)
    deployment.environ["REALMINT_BASE_URL"] = f"https://{HOST}:{deployment.port}/openam"
    deployment.run("realms create / --access-token-lifetime 3600")
    deployment.run("realms create /customers --access-token-lifetime 3600 --token-format am --am-sub-prefix")
    for realm in ("/", "/customers"):
        deployment.run(f"clients create myClient --realm {realm} --scope write --secret-stdin", "forgerock\n")
    with deployment.serving(f"run --cert {cert} --key {key}", ca=str(cert)):
        yield deployment, cert


def curl(openam: tuple[Deployment, Path], path: str, *data: str) -> tuple[int, str, str]:
    """The documented command, with --resolve and --cacert: status, content type, body."""
    deployment, cert = openam
    arguments = [part for pair in data for part in ("--data", pair)]
    answer = subprocess.run(
        ["curl", "--silent", "--cacert", str(cert), "--resolve", f"{HOST}:{deployment.port}:127.0.0.1",
         "--request", "POST", *arguments, "--write-out", "\n%{http_code} %{content_type}",
         f"https://{HOST}:{deployment.port}/openam{path}"],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    body, _, last = answer.stdout.rpartition("\n")
    status, _, content_type = last.partition(" ")
    return int(status), content_type, body


CREDENTIALS = ("grant_type=client_credentials", "client_id=myClient", "client_secret=forgerock", "scope=write")


@pytest.mark.parametrize(
    ("path", "realm"),
    [
        ("/oauth2/realms/root/access_token", "/"),
        ("/oauth2/access_token", "/"),
        ("/oauth2/realms/root/realms/customers/access_token", "/customers"),
        ("/oauth2/customers/access_token", "/customers"),
    ],
)
def test_the_documented_request_of_am_is_answered_as_am_answers(
    openam: tuple[Deployment, Path], path: str, realm: str
) -> None:
    status, content_type, body = curl(openam, path, *CREDENTIALS)
    answer = json.loads(body)
    assert (status, content_type) == (200, "application/json")
    assert set(answer) == {"access_token", "scope", "token_type", "expires_in"}
    assert answer["scope"] == "write"
    assert answer["token_type"] == "Bearer"
    assert answer["expires_in"] == 3600
    # One canonical issuer per realm, whichever address was used.
    token = claims(answer["access_token"])
    assert token["iss"] == openam[0].issuer(realm)
    assert token["realm"] == realm


def test_the_am_format_has_its_claim_names_and_types(openam: tuple[Deployment, Path]) -> None:
    _, _, body = curl(openam, "/oauth2/customers/access_token", *CREDENTIALS)
    token = json.loads(body)["access_token"]
    read = claims(token)
    assert set(header(token)) == {"alg", "kid", "typ"}
    assert header(token)["typ"] == "JWT"
    kinds = {name: type(value).__name__ for name, value in read.items()}
    assert kinds == {
        "sub": "str", "cts": "str", "auditTrackingId": "str", "subname": "str", "iss": "str", "tokenName": "str",
        "token_type": "str", "authGrantId": "str", "client_id": "str", "aud": "str", "nbf": "int",
        "grant_type": "str", "scope": "list", "auth_time": "int", "realm": "str", "exp": "int", "iat": "int",
        "expires_in": "int", "jti": "str", "status": "dict",
    }  # fmt: skip
    assert read["sub"] == "(age!myClient)"
    assert read["subname"] == read["client_id"] == read["aud"] == "myClient"
    assert read["scope"] == ["write"]
    assert read["exp"] - read["iat"] == read["expires_in"] == 3600
    assert (len(read["jti"]), len(read["authGrantId"])) == (28, 27)


def test_introspection_and_revoked_access_speak_am_too(openam: tuple[Deployment, Path]) -> None:
    _, _, body = curl(openam, "/oauth2/customers/access_token", *CREDENTIALS)
    token = json.loads(body)["access_token"]
    status, _, body = curl(openam, "/oauth2/customers/introspect", *CREDENTIALS[1:3], f"token={token}")
    answer = json.loads(body)
    assert (status, answer["active"], answer["scope"]) == (200, True, "write")
    assert answer["username"] == answer["user_id"] == answer["subname"] == "myClient"
    assert {"auditTrackingId", "authGrantId", "realm", "expires_in"} <= set(answer)
    # Another realm's client of the same name sees nothing.
    _, _, body = curl(openam, "/oauth2/introspect", *CREDENTIALS[1:3], f"token={token}")
    assert json.loads(body) == {"active": False}
