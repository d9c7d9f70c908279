"""What the OpenID Foundation's FAPI 2.0 plan for the client credentials grant asks of an issuer, module by module.

The suite itself is not run here. A test is named as its module is; what a module asks of the API that it calls after that
is for the library's tests. docs/client-authentication.md has the table.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.issuer.conftest import READER
from tests.issuer.test_dpop import proof
from tests.issuer.test_mutual_tls import x5t
from tests.support import assertions
from tests.support.assertions import add_key, form, issuer_of, written
from tests.support.client_keys import another
from tests.support.issuer import Issuer, claims
from tests.support.mutual_tls import CLIENT, Authority, certificate, pem, post_with
from tests.support.prover import Prover
from tests.support.wire import assert_refused

ROOT = Path(__file__).parent.parent.parent
GRANT = {"grant_type": "client_credentials"}


@dataclass
class Client:
    """A client of one of the plan's variants, and what it holds."""

    issuer: Issuer
    name: str
    auth: str
    constrained: str
    signer: assertions.Signer
    der: bytes
    prover: Prover

    def ask(
        self, *, client_id: str | None = None, assertion: str | None = None, shows: bool = True, proven: Any = True,
        **of_assertion: Any,
    ) -> Any:  # fmt: skip
        """A token request of its own; the arguments change or take away what it authenticates and binds with."""
        issuer = self.issuer
        sent = dict(GRANT)
        if self.auth == "mtls":
            sent |= {"client_id": client_id or self.name}
        else:
            text = assertion or self.signer.assertion(issuer.clock.wall(), **of_assertion)
            sent |= form(text) | ({"client_id": client_id} if client_id else {})
        headers = {}
        if self.constrained == "dpop" and proven:
            headers["DPoP"] = proof(issuer, self.prover, **(proven if isinstance(proven, dict) else {}))
        if shows and "mtls" in (self.auth, self.constrained):
            return post_with(issuer, self.der, sent, headers=headers)
        return issuer.post("/access_token", sent, headers)


Make = Callable[..., Client]


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def make(issuer: Issuer, authority: Authority) -> Make:
    """Registers one."""

    def make(auth: str = "private_key_jwt", constrained: str = "dpop", name: str = "svc", alg: str = "ES256") -> Client:
        binds = "--dpop" if constrained == "dpop" else "--bound-certificate"
        method = "tls_client_auth" if auth == "mtls" else auth
        issuer.run(f"clients create {name} {READER} --auth-method {method} {binds}")
        signer = assertions.Signer(name, alg, "k1", another(alg))
        if auth == "mtls":
            ca = written(issuer, pem(authority.der), "ca.pem")
            issuer.run(f"clients certs add {name} --subject-dn CN={name} --ca {ca}")
        else:
            # As the suite's `client.jwks` has it: with the algorithm that its key is for.
            file = written(issuer, signer.public_jwk(alg=alg))
            issuer.run(f"clients keys add {name} {file}")
        issuer.clock.advance(2)
        return Client(issuer, name, auth, constrained, signer, certificate(name, authority, usages=[CLIENT]), Prover())

    return make


VARIANTS = pytest.mark.parametrize(
    ("auth", "constrained"), [(auth, by) for auth in ("private_key_jwt", "mtls") for by in ("dpop", "mtls")]
)
DPOP = pytest.mark.parametrize("auth", ["private_key_jwt", "mtls"])


@VARIANTS
def test_happy_flow(make: Make, auth: str, constrained: str) -> None:
    client = make(auth, constrained)
    answer = client.ask()
    assert answer.status_code == 200, answer.text
    bound = claims(answer.json["access_token"])["cnf"]
    wanted = {"jkt": client.prover.jkt} if constrained == "dpop" else {}
    if "mtls" in (auth, constrained):
        wanted["x5t#S256"] = x5t(client.der)  # by both, where both were proven
    assert (bound, answer.json["token_type"]) == (wanted, "DPoP" if constrained == "dpop" else "Bearer")


def test_discovery_end_point_verification(issuer: Issuer) -> None:
    issuer.runtime.boot()
    answer = issuer.http.get("/.well-known/oauth-authorization-server/oauth2/realms/root")
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    said = json.loads(answer.data)
    assert said["issuer"] == issuer_of()
    assert said["token_endpoint"].startswith("https://")
    assert "client_credentials" in said["grant_types_supported"]
    assert {"private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth"} <= set(
        said["token_endpoint_auth_methods_supported"]
    )
    for name in ("dpop_signing_alg_values_supported", "token_endpoint_auth_signing_alg_values_supported"):
        assert {"PS256", "ES256", "EdDSA"} <= set(said[name])
    assert said["tls_client_certificate_bound_access_tokens"] is True


@VARIANTS
def test_ensure_holder_of_key_required(make: Make, auth: str, constrained: str) -> None:
    answer = make(auth, constrained).ask(proven=False, shows=constrained == "dpop")
    missing = "invalid_client" if (auth, constrained) == ("mtls", "mtls") else "invalid_request"
    assert answer.json["error"] == missing
    assert answer.status_code == {"invalid_client": 401, "invalid_request": 400}[missing]


@DPOP
def test_check_dpop_proof_nbf_exp(make: Make, auth: str) -> None:
    client = make(auth)
    now = client.issuer.clock.wall()
    assert client.ask(proven={"nbf": now, "exp": now + 300}).status_code == 200


@DPOP
@pytest.mark.parametrize("seconds", [-10, 8, 10])
def test_ensure_dpopproof_with_iat_10seconds_before_and_after_succeeds(make: Make, auth: str, seconds: int) -> None:
    client = make(auth)
    assert client.ask(proven={"iat": client.issuer.clock.wall() + seconds}).status_code == 200


@VARIANTS
def test_ensure_client_id_in_token_endpoint(make: Make, auth: str, constrained: str) -> None:
    first, second = make(auth, constrained), make(auth, constrained, "other")
    # The second's assertion under the first's key; the second's name over the first's connection.
    text = first.signer.signed(second.signer.claims(first.issuer.clock.wall()))
    assert_refused(first.ask(client_id=second.name, assertion=text), "invalid_client")
    assert second.ask().status_code == 200


@pytest.mark.parametrize("constrained", ["dpop", "mtls"])
class TestAssertions:
    def test_ensure_signed_client_assertion_with_rs256_fails(self, make: Make, constrained: str) -> None:
        client = make(constrained=constrained, alg="PS256")
        rs256 = assertions.Signer(client.name, "RS256", "k1", client.signer.native)
        assert_refused(client.ask(assertion=rs256.assertion(client.issuer.clock.wall())), "invalid_client")
        assert client.ask().status_code == 200

    def test_a_key_that_was_registered_without_an_algorithm_may_sign_rs256(self, make: Make, constrained: str) -> None:
        """So register an RSA key with its `alg`, as the suite does."""
        client = make(constrained=constrained, alg="PS256")
        loose = assertions.Signer(client.name, "RS256", "k2", another("PS256"))
        add_key(client.issuer, loose)
        client.issuer.clock.advance(2)
        assert client.ask(assertion=loose.assertion(client.issuer.clock.wall())).status_code == 200

    def test_ensure_client_assertion_in_token_endpoint(self, make: Make, constrained: str) -> None:
        client = make(constrained=constrained)
        sent = {"DPoP": proof(client.issuer, client.prover)} if constrained == "dpop" else {}
        form = GRANT | {"client_id": client.name}
        answer = (
            client.issuer.post("/access_token", form, sent)
            if constrained == "dpop"
            else post_with(client.issuer, client.der, form)
        )
        assert_refused(answer, "invalid_client")

    @pytest.mark.parametrize(
        "changes",
        [
            {"aud": "https://other.example"}, {"aud": None}, {"aud": f"{issuer_of()}/access_token"},
            {"aud": [issuer_of(), "https://other.example"]}, {"aud": [issuer_of()]},
            {"sub": None}, {"sub": "other"}, {"iss": None}, {"iss": "other"}, {"jti": None},
        ],
        ids=str,
    )  # fmt: skip
    def test_ensure_client_assertion_with_wrong_aud_and_with_no_sub_fails(
        self, make: Make, constrained: str, changes: dict[str, Any]
    ) -> None:
        client = make(constrained=constrained)
        assert_refused(client.ask(**changes), "invalid_client")
        assert client.ask().status_code == 200

    @pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
    def test_ensure_client_assertion_with_exp_is_5_minutes_in_past_fails_and_of_over_a_minute_ahead(
        self, make: Make, constrained: str, name: str
    ) -> None:
        client = make(constrained=constrained)
        now = client.issuer.clock.wall()
        wrong: dict[str, Any] = {"exp": now - 300} if name == "exp" else {name: now + 61, "exp": now + 180}
        assert_refused(client.ask(**wrong), "invalid_client")
        assert client.ask(iat=now + 8, nbf=now + 8).status_code == 200


def test_dpop_negative_tests(make: Make) -> None:
    """Of the API, what an issuer can be asked too; test_dpop.py has these one by one."""
    client = make()
    now, endpoint = client.issuer.clock.wall(), f"{issuer_of()}/access_token"
    good = [
        {"htu": f"{endpoint}?x=1#y"}, {"htu": endpoint.replace("https://issuer", "HTTPS://ISSUER")},
        {"htu": endpoint.replace("issuer.example", "issuer.example:443")}, {"tx_id": 5},
        {"header": {**client.prover.header, "tx_id": now}},
    ]  # fmt: skip
    for changes in good:
        assert client.ask(proven=changes).status_code == 200, changes
    without = [{name: None} for name in ("jti", "htm", "htu", "iat")]
    headers = [{k: v for k, v in client.prover.header.items() if k != name} for name in ("typ", "alg", "jwk")]
    headers += [{**client.prover.header, "typ": "dpop+jwt+wrong"}, {**client.prover.header, "alg": "none"}]
    wrong = [{"htm": "PUT"}, {"htu": "https://other.example/"}, {"iat": now + 3600}, {"iat": now - 3600}]
    for changes in [*without, *({"header": each} for each in headers), *wrong]:
        assert client.ask(proven=changes).json["error"] == "invalid_dpop_proof", changes
    assert client.ask(proven={"jti": "once"}).status_code == 200
    assert client.ask(proven={"jti": "once"}).json["error"] == "invalid_dpop_proof"


def test_the_page_names_each_module_and_a_test_that_there_is() -> None:
    page = (ROOT / "docs" / "client-authentication.md").read_text()
    rows = re.findall(r"^\| `([a-zA-Z0-9-]+)`.*\| (.*) \|$", page.partition("### FAPI 2.0")[2], re.MULTILINE)
    assert len(rows) >= 14
    here = Path(__file__).read_text()
    named = [test for _, shown in rows for test in re.findall(r"`(test_\w+)`", shown)]
    assert named
    assert all(f"def {test}(" in here for test in named)
