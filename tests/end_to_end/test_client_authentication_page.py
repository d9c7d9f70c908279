"""docs/client-authentication.md: what is pasted there runs as it stands, against a real issuer and stand-ins of platforms.

Of what a block has, only names of this machine are others here: where the issuer listens, and where a file is mounted.
"""

import hashlib
import json
import os
import re
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt as pyjwt
import pytest
import yaml

from realmint import Introspection
from realmint.protocol import base64url, certificate_headers, dpop
from tests.support import pasted
from tests.support.client_keys import MADE, pem
from tests.support.curl import WITHOUT_CURL
from tests.support.nginx import WITHOUT_NGINX, nginx
from tests.support.platform import Platform, listening
from tests.support.process import ROOT, Deployment, free_port, until
from tests.support.tls import HERE, Authority

DOCUMENT = ROOT / "docs" / "client-authentication.md"
MOUNTED = "/var/run/secrets/realmint/token"
CLUSTER = "https://kubernetes.default.svc.cluster.local"
POD = "system:serviceaccount:shop:billing"
ELSEWHERE = "https://issuer.example/oauth2/realms/root"
"""Where the page has an issuer that is reached by TLS."""


def environment(deployment: Deployment, folder: Path) -> dict[str, str]:
    """That in which somebody pastes: `flask` finds the deployment, and what is in the folder comes first."""
    module = folder / "page_app.py"
    module.write_text(f"import app\n\ndef create_app():\n    return {deployment.factory.replace(':', '.', 1)}\n")
    return deployment.environ | {
        "FLASK_APP": str(module), "PYTHONPATH": str(ROOT), "ISSUER": deployment.issuer(),
        "PATH": f"{folder}:{os.environ['PATH']}",
    }  # fmt: skip


class Page:
    """The page, in a folder of its own, with an issuer that serves and stand-ins for the commands of platforms."""

    def __init__(self, folder: Path, platform: Platform) -> None:
        self.folder = folder
        self.platform = platform
        self.deployment = Deployment(folder, INTERNAL_HOSTS=platform.issuer.partition("//")[2])
        self.environ = environment(self.deployment, folder)
        for name in ("signed.sh", "proof.sh"):
            (folder / name).write_text(pasted.block(DOCUMENT, name))

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


def claims_of(token: str) -> dict[str, Any]:
    return pyjwt.decode(token, options={"verify_signature": False})


def client_of(answer: str) -> str:
    claims = claims_of(json.loads(answer)["access_token"])
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


class Showing:
    """The page in a folder of its own, with an issuer that is reached by TLS and asks for certificates."""

    def __init__(self, folder: Path, port: int | None = None, **settings: str) -> None:
        self.folder = folder
        self.authority = Authority(folder / "authority")
        self.server = self.authority.certificate(HERE)
        self.deployment = Deployment(folder, **settings)
        self.base = f"https://{HERE}:{port or self.deployment.port}"
        trusted = dict.fromkeys(("SSL_CERT_FILE", "CURL_CA_BUNDLE"), str(self.authority.file))
        self.deployment.environ |= {"REALMINT_BASE_URL": self.base, **trusted}
        self.environ = environment(self.deployment, folder)
        self.deployment.run("db upgrade")

    def run(self, name: str, **there: str) -> str:
        return pasted.run(DOCUMENT, name, self.folder, self.environ, there)

    def here(self) -> dict[str, str]:
        return {ELSEWHERE: self.deployment.issuer()}

    def thumbprint(self, name: str) -> str:
        der = ssl.PEM_cert_to_DER_cert((self.folder / name).read_text())
        return base64url.encode(hashlib.sha256(der).digest()).decode()


@WITHOUT_CURL
def test_an_authority_gives_a_client_a_name_and_its_tokens_are_bound_to_the_certificate(tmp_path: Path) -> None:
    page = Showing(tmp_path)
    page.run("authority")
    certificate, key = page.server
    options = f"--workers 1 --certfile {certificate} --keyfile {key}"
    (shown,) = re.findall(r" (--ca-certs .*)", pasted.block(DOCUMENT, "serve"))
    line = page.deployment.production_line(f"{options} {shown.replace('clients.pem', str(tmp_path / 'clients.pem'))}")
    with page.deployment.process(line, ca=str(page.authority.file)):
        answer, token = page.run("mutual", **page.here()).splitlines()
        assert client_of(answer) == "billing-mtls"
        bound = {"x5t#S256": page.thumbprint("billing-mtls.pem")}
        assert claims_of(json.loads(answer)["access_token"])["cnf"] == claims_of(token)["cnf"] == bound
        answer = page.run("bound-certificate", **page.here())
        assert (client_of(answer), claims_of(json.loads(answer)["access_token"])["cnf"]) == ("billing-bound", bound)


@WITHOUT_CURL
@WITHOUT_NGINX
def test_a_certificate_that_signed_itself_comes_in_through_an_nginx_that_lets_any_pass(tmp_path: Path) -> None:
    port = free_port()
    page = Showing(
        tmp_path, port, CLIENT_CERT_PROXIES="127.0.0.2", CLIENT_CERT_HEADER="X-Client-Cert", CLIENT_CERT_FORMAT="nginx"
    )
    page.run("self-signed")
    operating = ROOT / "docs" / "operating.md"
    (any_passes,) = re.findall(r"^\| nginx \| `(ssl_verify_client \w+;)`", operating.read_text(), re.MULTILINE)
    server = pasted.block(operating, "client_cert_nginx.conf")
    for said, here in (
        ("listen 443 ssl", f"listen {HERE}:{port} ssl"), ("/etc/nginx/tls/issuer.pem", str(page.server[0])),
        ("/etc/nginx/tls/issuer.key", str(page.server[1])), ("ssl_verify_client      optional;", any_passes),
        ("proxy_pass http://127.0.0.1:5000;", f"proxy_bind 127.0.0.2; proxy_pass http://{HERE}:{page.deployment.port};"),
    ):  # fmt: skip
        assert server.count(said) == 1, said
        server = server.replace(said, here)
    server = re.sub(r".*ssl_client_certificate.*", "", server)
    configuration = f"worker_processes 1;\nevents {{}}\nhttp {{\naccess_log off;\n{server}\n}}\n"
    (tmp_path / "nginx").mkdir()
    with (
        page.deployment.process(page.deployment.production_line("--workers 1")),
        nginx(tmp_path / "nginx", configuration, port),
    ):
        there = page.here() | {"billing-mtls": "shipping-mtls"}
        answer, token = page.run("mutual", **there).splitlines()
        assert client_of(answer) == "shipping-mtls"
        assert claims_of(token)["cnf"] == {"x5t#S256": page.thumbprint("shipping-mtls.pem")}


@WITHOUT_CURL
def test_a_token_is_bound_to_a_key_by_a_command_and_by_a_shell_and_a_realm_may_want_nonces(page: Page) -> None:
    *_, token = page.run("dpop-key").splitlines()
    proof = page.run("dpop").strip()
    answer = json.loads((page.folder / "token.json").read_text())
    assert (client_of(json.dumps(answer)), answer["token_type"]) == ("billing-dpop", "DPoP")
    now = int(pyjwt.decode(proof, options={"verify_signature": False})["iat"])
    checked = dpop.check_proof(
        proof, "GET", "https://orders.example/orders", now, algorithms=["ES256"], access_token=answer["access_token"]
    )
    for each in (token, answer["access_token"]):
        assert claims_of(each)["cnf"] == {"jkt": checked.jkt}
    try:
        first, *got = [line for line in page.run("nonce").splitlines() if line.startswith(("{", "ey"))]
        assert "use_dpop_nonce" in first
        assert claims_of(json.loads(got[0])["access_token"])["cnf"] == claims_of(got[1])["cnf"] == {"jkt": checked.jkt}
    finally:
        page.deployment.run("realms update / --no-dpop-nonce")


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


def test_the_page_names_every_reason_for_which_a_certificate_or_a_proof_is_refused() -> None:
    sources = [*(ROOT / "issuer" / "confirmations").glob("*.py"), ROOT / "issuer" / "client_auth" / "mutual_tls.py"]
    code = "\n".join(source.read_text() for source in [*sources, ROOT / "issuer" / "refusals.py"])
    literal = set(re.findall(r'"((?:certificate|dpop)_[a-z_]+)"', code)) - {"dpop_signing_alg_values_supported"}
    # A header that is not there is no proof; an access token comes with a proof at an API alone.
    of_proofs = {f"dpop_{reason}" for reason in dpop.REASONS - {"missing", "ath"}}
    wanted = literal | of_proofs | {f"certificate_{reason}" for reason in certificate_headers.REASONS}
    assert len(wanted) > 25
    told = set(re.findall(r"`((?:certificate|dpop)_[a-z_]+)`", DOCUMENT.read_text()))
    assert told - {"certificate_header_from_unlisted_peer"} == wanted
