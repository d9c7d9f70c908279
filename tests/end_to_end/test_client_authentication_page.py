"""docs/client-authentication.md: what is pasted there runs as it stands, against a real issuer and stand-ins of platforms.

Of what a block has, only names of this machine are others here: where the issuer listens, and where a file is mounted.
"""

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt as pyjwt
import pytest
import yaml

from realmint import Introspection
from tests.support import pasted
from tests.support.client_keys import MADE, pem
from tests.support.platform import Platform, listening
from tests.support.process import ROOT, Deployment, until

DOCUMENT = ROOT / "docs" / "client-authentication.md"
MOUNTED = "/var/run/secrets/realmint/token"
CLUSTER = "https://kubernetes.default.svc.cluster.local"
POD = "system:serviceaccount:shop:billing"


class Page:
    """The page, in a folder of its own, with an issuer that serves and stand-ins for the commands of platforms."""

    def __init__(self, folder: Path, platform: Platform) -> None:
        self.folder = folder
        self.platform = platform
        self.deployment = Deployment(folder, INTERNAL_HOSTS=platform.issuer.partition("//")[2])
        module = folder / "page_app.py"
        module.write_text(
            f"import app\n\ndef create_app():\n    return {self.deployment.factory.replace(':', '.', 1)}\n"
        )
        self.environ = self.deployment.environ | {
            "FLASK_APP": str(module), "PYTHONPATH": str(ROOT), "ISSUER": self.deployment.issuer(),
            "PATH": f"{folder}:{os.environ['PATH']}",
        }  # fmt: skip
        (folder / "signed.sh").write_text(pasted.block(DOCUMENT, "signed.sh"))

    def run(self, name: str, **there: str) -> str:
        """What a block prints. there: what stands in it, and what it is here."""
        return pasted.run(DOCUMENT, name, self.folder, self.environ, there)

    def stand_in(self, command: str, prints: str) -> None:
        file = self.folder / command
        file.write_text(f"#!/bin/sh\ncat <<'END'\n{prints}\nEND\n")
        file.chmod(0o755)

    def jq(self) -> None:
        """As much of it as the page needs: `jq --raw-output .NAME`."""
        program = "import json, sys\nprint(json.load(sys.stdin)[sys.argv[2].removeprefix('.')])"
        file = self.folder / "jq"
        file.write_text(f"#!{sys.executable}\n{program}\n")
        file.chmod(0o755)

    def workload(self, token: str, client_id: str) -> str:
        """What the block of a pod gets."""
        (self.folder / "token").write_text(token)
        script = pasted.block(DOCUMENT, "workload.sh").replace(MOUNTED, "token").replace("billing-pod", client_id)
        (self.folder / "workload.sh").write_text(script)
        return pasted.script("sh workload.sh", self.folder, self.environ)

    def log(self) -> str:
        return self.deployment.log.read_text()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with listening() as platform:
        page = Page(tmp_path_factory.mktemp("page"), platform)
        page.deployment.run("db upgrade")
        with page.deployment.serving():
            yield page


def client_of(answer: str) -> str:
    claims = pyjwt.decode(json.loads(answer)["access_token"], options={"verify_signature": False})
    assert (claims["aud"], claims["scope"]) == ("https://orders.example", "orders:read")
    return str(claims["client_id"])


def answers(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if line.startswith('{"access_token"')]


def test_a_secret_goes_into_the_header_or_into_the_form(page: Page) -> None:
    assert list(map(client_of, answers(page.run("secret")))) == ["billing", "billing"]


def test_an_assertion_is_made_with_openssl_and_a_shell_and_a_new_key_takes_over(page: Page) -> None:
    page.run("key")
    assert client_of(page.run("signed")) == "billing-key"
    assert client_of(page.run("signed")) == "billing-key"  # each with a jti of its own
    listed = page.run("rotation")
    ends = {line.split()[0]: line.split()[-2] for line in listed.splitlines() if line.startswith("billing-")}
    assert ends["billing-2"] == "-" != ends["billing-1"]
    assert client_of(page.run("signed")) == "billing-key"
    assert client_of(page.run("signed", **{"billing.pem": "billing-2.pem", "billing-1": "billing-2"})) == "billing-key"
    page.run("revoke")

    def refused() -> bool:
        script = "CLIENT_ID=billing-key KEY_FILE=billing.pem KID=billing-1 sh signed.sh || true"
        return "invalid_client" in pasted.script(script, page.folder, page.environ)

    until(refused)
    assert "reason=assertion_key_unknown" in page.log()
    assert client_of(page.run("signed", **{"billing.pem": "billing-2.pem", "billing-1": "billing-2"})) == "billing-key"


def test_a_client_publishes_its_keys_at_an_address(page: Page) -> None:
    page.run("jwks-uri", **{"https://shipping.example/jwks.json": f"{page.platform.issuer}/jwks.json"})
    token = page.platform.token(iss="shipping", sub="shipping", aud=page.environ["ISSUER"], jti="1")
    assert client_of(page.workload(token, "shipping")) == "shipping"


def test_a_pods_token_stands_for_its_client_and_explain_says_what_of_another_does_not_fit(page: Page) -> None:
    page.stand_in("kubectl", json.dumps(page.platform.jwks))
    page.run("kubernetes")
    (source,) = yaml.safe_load(pasted.block(DOCUMENT, "pod.yaml"))["spec"]["volumes"][0]["projected"]["sources"]
    audience = source["serviceAccountToken"]["audience"].replace("http://127.0.0.1:5000", page.deployment.base_url)
    token = page.platform.token(iss=CLUSTER, sub=POD, aud=[audience], jti="pod")
    assert client_of(page.workload(token, "billing-pod")) == "billing-pod"
    assert client_of(page.workload(token, "billing-pod")) == "billing-pod"  # the file is the same for minutes
    assert "a token would be issued" in page.run("explain", **{MOUNTED: "token"})
    (page.folder / "token").write_text(
        page.platform.token(iss=CLUSTER, sub="system:serviceaccount:shop:default", aud="x")
    )
    explained = pasted.script(
        "flask clients trust explain billing-pod < token || echo exit $?", page.folder, page.environ
    )
    failed = re.findall(r"^  FAIL (\w+) ", explained, re.MULTILINE)
    assert failed == ["aud", "sub"]
    assert explained.endswith("no token would be issued: invalid_client\nexit 1\n")


def test_a_github_workflow_asks_for_its_identity_and_swaps_it_for_a_token(page: Page) -> None:
    page.run("github", **{"https://token.actions.githubusercontent.com": page.platform.issuer})
    workflow = yaml.safe_load(pasted.block(DOCUMENT, "deploy.yaml"))
    assert workflow["permissions"]["id-token"] == "write"
    (step,) = workflow["jobs"]["deploy"]["steps"]
    *script, last = step["run"].splitlines()
    assert last.startswith("curl ")
    asked = page.environ | {
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of-the-job",
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{page.platform.issuer}/identity?api-version=2.0",
    }
    page.jq()
    said = pasted.script("\n".join(script), page.folder, asked)
    token = said.strip().removeprefix("::add-mask::")
    assert client_of(json.dumps({"access_token": token})) == "deploy"


def test_a_gitlab_job_has_its_identity_in_a_variable(page: Page) -> None:
    page.run("gitlab", **{"https://gitlab.example": page.platform.issuer})
    job = yaml.safe_load(pasted.block(DOCUMENT, ".gitlab-ci.yml"))["deploy"]
    audience = job["id_tokens"]["IDENTITY"]["aud"].replace("http://127.0.0.1:5000", page.deployment.base_url)
    subject = "project_path:acme/shop:ref_type:branch:ref:main"
    identity = page.platform.token(sub=subject, aud=audience, ref_protected="true")
    page.jq()
    got = job["script"][0] + '\nprintf %s "$token"'
    token = pasted.script(got, page.folder, page.environ | {"IDENTITY": identity})
    assert client_of(json.dumps({"access_token": token})) == "deploy-gitlab"


def test_a_jwt_svid_is_taken_by_the_bundle_of_its_trust_domain(page: Page) -> None:
    bundle = {"keys": [{**key, "use": "jwt-svid"} for key in page.platform.jwks["keys"]], "spiffe_sequence": 1}
    page.stand_in("spire-server", json.dumps(bundle))
    page.run("spiffe")
    svid = page.platform.token(iss=None, sub="spiffe://example.org/billing", aud=[page.environ["ISSUER"]])
    page.stand_in(
        "spire-agent", f"token(spiffe://example.org/billing):\n\t{svid}\nbundle(spiffe://example.org):\n\t{{}}"
    )
    assert client_of(page.run("svid")) == "billing-spiffe"


def test_the_library_asks_with_a_key_or_with_the_platforms_file(tmp_path: Path) -> None:
    key = tmp_path / "orders-api.pem"
    key.write_bytes(pem(MADE["ES256"]))
    program = pasted.block(DOCUMENT, "introspection").replace("orders-api.pem", str(key))
    named: dict[str, Any] = {}
    exec(program, named)
    assert isinstance(named["own_key"], Introspection)
    assert isinstance(named["of_the_platform"], Introspection)


def test_the_page_names_every_reason_for_which_an_assertion_is_refused() -> None:
    sources = [
        ROOT / "issuer" / "client_auth" / f"{name}.py" for name in ("private_key_jwt", "workload_identity", "assertion")
    ]
    code = "\n".join(source.read_text() for source in [*sources, ROOT / "issuer" / "credentials" / "trust_rule.py"])
    # A plain literal where it is refused; a type of invalid_request is told elsewhere.
    literal = set(re.findall(r'"((?:assertion|trust)_[a-z_]+)"', code)) - {"assertion_missing", "assertion_type"}
    of_parser = re.findall(
        r'JWSError\("(malformed|too_large|alg|header)"\)', (ROOT / "realmint/protocol/jws.py").read_text()
    )
    times = (ROOT / "realmint/protocol/claims.py").read_text()
    of_times = re.findall(r'ClaimError\("(claim_missing|claim_type|expired|not_yet_valid|lifetime)"', times)
    wanted = literal | {f"assertion_{reason}" for reason in (*of_parser, *of_times)}
    assert len(wanted) > 15
    told = set(re.findall(r"`((?:assertion|trust)_[a-z_]+)`", DOCUMENT.read_text()))
    assert told == wanted
