"""Tokens verify with libraries that know nothing of us, from the JWKS alone."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt as pyjwt
import pytest
import urllib3
from freezegun import freeze_time
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet

from tests.support.process import ROOT, Deployment, post

NODE_MODULES = ROOT / "build" / "node" / "node_modules"
VERIFY_WITH_JOSE = """
import { createRemoteJWKSet, jwtVerify } from 'jose';
const [jwks, issuer, audience, typ, token] = process.argv.slice(2);
const { payload, protectedHeader } = await jwtVerify(token, createRemoteJWKSet(new URL(jwks)), { issuer, audience, typ });
console.log(JSON.stringify({ payload, protectedHeader }));
"""

REALMS = {"/es256": "ES256", "/rs256": "RS256", "/ps256": "PS256", "/es384": "ES384", "/eddsa": "EdDSA"}


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    made = Deployment(tmp_path_factory.mktemp("verifiers"))
    for realm, alg in REALMS.items():
        made.run(f"realms create {realm} --alg {alg}")
    with made.serving():
        yield made


def issue(deployment: Deployment, realm: str) -> tuple[str, str, str]:
    """A token of the realm, its JWKS address, its issuer."""
    client = deployment.run(f"clients create --realm {realm} --scope read --default-scope read")
    issuer = deployment.issuer(realm)
    credentials = (client["client_id"], client["client_secret"])
    answer = post(f"{issuer}/access_token", {"grant_type": "client_credentials"}, credentials)
    return answer.json()["access_token"], f"{issuer}/connect/jwk_uri", issuer


@pytest.mark.parametrize(("realm", "alg"), REALMS.items())
def test_pyjwt_verifies_with_its_jwks_client(deployment: Deployment, realm: str, alg: str) -> None:
    token, jwks, issuer = issue(deployment, realm)
    key = pyjwt.PyJWKClient(jwks).get_signing_key_from_jwt(token)
    read = pyjwt.decode(token, key, algorithms=[alg], issuer=issuer, audience=issuer)
    assert read["realm"] == realm


@pytest.mark.parametrize(("realm", "alg"), REALMS.items())
@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
def test_joserfc_verifies_from_the_jwks(deployment: Deployment, realm: str, alg: str) -> None:
    token, jwks, issuer = issue(deployment, realm)
    keys = KeySet.import_key_set(urllib3.request("GET", jwks).json())
    read = joserfc_jwt.decode(token, keys, algorithms=[alg])
    assert read.claims["iss"] == issuer


@pytest.mark.parametrize(("realm", "alg"), REALMS.items())
def test_panvas_jose_verifies_with_its_remote_jwks(
    deployment: Deployment, realm: str, alg: str, tmp_path: Path
) -> None:
    node = shutil.which("node")
    if node is None or not (NODE_MODULES / "jose").exists():
        pytest.skip("needs node, and jose in build/node (npm install --prefix build/node jose)")
    token, jwks, issuer = issue(deployment, realm)
    script = tmp_path / "verify.mjs"
    script.write_text(VERIFY_WITH_JOSE)
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    arguments = [node, str(script), jwks, issuer, issuer, "at+jwt", token]
    answer = subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=False)
    assert answer.returncode == 0, answer.stderr
    read: dict[str, Any] = json.loads(answer.stdout)
    assert read["protectedHeader"]["alg"] == alg
    assert read["payload"]["iss"] == issuer


def test_a_clock_a_second_behind_makes_a_verifier_without_leeway_refuse_and_the_leeway_of_the_document_helps(
    deployment: Deployment,
) -> None:
    assert "`leeway=30`" in (ROOT / "docs" / "operating.md").read_text()
    token, jwks, issuer = issue(deployment, "/es256")
    key = pyjwt.PyJWKClient(jwks).get_signing_key_from_jwt(token)
    issued_at = pyjwt.decode(token, options={"verify_signature": False})["iat"]
    for behind, leeway, taken in ((0, 0, True), (1, 0, False), (1, 30, True), (30, 30, True), (31, 30, False)):
        with freeze_time(datetime.fromtimestamp(issued_at - behind, UTC)):
            if taken:
                pyjwt.decode(token, key, ["ES256"], issuer=issuer, audience=issuer, leeway=leeway)
            else:
                with pytest.raises(pyjwt.ImmatureSignatureError):
                    pyjwt.decode(token, key, ["ES256"], issuer=issuer, audience=issuer, leeway=leeway)
