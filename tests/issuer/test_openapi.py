"""docs/openapi.yaml and the program say the same: at random by Schemathesis, and status by status (#24, #26, #129)."""

import ast
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from issuer import refusals
from issuer.endpoints import ENDPOINTS
from issuer.refusals import TRY_LATER
from tests.issuer.conftest import READER, House
from tests.support.issuer import Caller, Issuer
from tests.support.wire import FORM

PATH = Path(__file__).parent.parent.parent / "docs" / "openapi.yaml"
DOCUMENT: dict[str, Any] = yaml.safe_load(PATH.read_text())
ANSWERS = [status_code_conformance, content_type_conformance, response_headers_conformance, response_schema_conformance]
OPERATIONS = {
    operation["operationId"]: (path, method)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if method != "servers"
}
AT_NO_REALM = {"healthz", "readyz"}
AT_ORIGIN = {"metadata_at_origin": "metadata", "openid_metadata_at_origin": "openid_metadata"}
FORMS = {"token", "introspection", "revocation"}
REFUSES = {"authorization": "authorization", "authorization_by_post": "authorization"}
DOCUMENTS = set(OPERATIONS) - FORMS - AT_NO_REALM - set(REFUSES)
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
# Through WSGI, Schemathesis knows the servers of the whole document only.
AT_SERVERS_ROOT = schemathesis.openapi.from_dict(DOCUMENT | {"servers": [{"url": "/"}]})


def operation_of(name: str) -> Any:
    path, method = OPERATIONS[name]
    schema = AT_SERVERS_ROOT if name in AT_NO_REALM or name in AT_ORIGIN else SCHEMA
    return schema[path][method.upper()]


def address(issuer: Issuer, name: str, realm: str = "/") -> str:
    path = OPERATIONS[name][0].replace("{list}", "0")
    if name in AT_NO_REALM or name in AT_ORIGIN:
        return path + ("" if realm == "/" else realm.replace("/", "/realms/"))
    return issuer.address(path, realm)


def test_the_document_and_the_registry_list_the_same_addresses_and_methods() -> None:
    written = {
        (REFUSES.get(name, name), path, method.upper()) for name, (path, method) in OPERATIONS.items()
        if name not in {*AT_ORIGIN, *AT_NO_REALM}
    }  # fmt: skip
    registered = {(endpoint.name, endpoint.suffix, method) for endpoint in ENDPOINTS for method in endpoint.methods}
    assert written == registered


def test_every_address_of_the_program_is_in_the_document_and_the_other_way_round(house: House) -> None:
    rules = house.issuer.app.url_map
    assert {rule.endpoint for rule in rules.iter_rules()} == set(OPERATIONS) - {*AT_ORIGIN, "authorization_by_post"}
    adapter = rules.bind("issuer.invalid")
    for name, (_, method) in OPERATIONS.items():
        found, _ = adapter.match(address(house.issuer, name), method=method.upper())
        assert found == {**AT_ORIGIN, **REFUSES}.get(name, name)


def test_25_every_text_of_an_invalid_request_is_in_the_document_and_no_other() -> None:
    """Each refusal names its text as a constant of issuer/refusals.py, so the source can be asked for all of them."""
    named = {"TOO_LARGE", "MALFORMED", "PRECONDITION_FAILED"}  # of those that errors.py and the body's limit give
    for file in (PATH.parent.parent / "issuer").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "invalid_request":
                assert isinstance(node.args[1], ast.Name), f"{file}:{node.lineno}"
                named.add(node.args[1].id)
    description = DOCUMENT["components"]["schemas"]["Error"]["properties"]["error_description"]["description"]
    written = re.findall("^- (.*)$", description, re.MULTILINE)
    assert sorted(written) == sorted(getattr(refusals, name) for name in named)
    assert len(set(written)) == len(written) == 29


def test_129_every_member_of_the_metadata_is_in_the_document(house: House) -> None:
    schemas = DOCUMENT["components"]["schemas"]
    members = set(schemas["Metadata"]["properties"])
    for realm in ("/", "/customers"):
        answer = house.issuer.http.get(house.issuer.address("/.well-known/oauth-authorization-server", realm)).json
        assert set(answer) <= members
    # /customers lists its scopes; the other comes with MTLS_BASE_URL.
    assert set(answer) | {"mtls_endpoint_aliases"} == members
    openid = house.issuer.http.get(house.issuer.address("/.well-known/openid-configuration")).json
    assert set(openid) <= members | set(schemas["OpenIDMetadata"]["properties"])


def cases(name: str) -> st.SearchStrategy[Any]:
    """Requests as the document allows them, and as it does not."""
    operation = operation_of(name)
    allowed = operation.as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE)
    if name in AT_NO_REALM:
        return allowed  # nothing to be wrong about
    return allowed | operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)


def credentials(house: House, data: st.DataObject, body: Any) -> dict[str, str]:
    """Headers of a caller that mostly is who it says; the body is made to fit, mostly."""
    caller = house["svc"]
    how = data.draw(st.sampled_from(["basic", "basic", "post", "wrong", "as generated"]), label="credentials")
    if how == "as generated" or not isinstance(body, dict):
        return {} if how != "basic" else caller.basic
    for member in ("client_id", "client_secret", "client_assertion", "client_assertion_type", "assertion"):
        body.pop(member, None)
    if how == "post":
        body |= caller.post
        return {}
    return caller.basic if how == "basic" else Caller("svc", "wrong-secret").basic


def sensible(house: House, data: st.DataObject, name: str, body: Any, token: str) -> None:
    """Values that a random text never is: a scope of the client, a resource of its, a token."""
    if not isinstance(body, dict):
        return
    if name in {"introspection", "revocation"} and data.draw(st.booleans(), label="a real token"):
        body["token"] = token
    if name == "token" and data.draw(st.integers(0, 3), label="sensible"):
        body["grant_type"] = "client_credentials"
        body["scope"] = data.draw(st.sampled_from(["read", "write", "read write"]))
        body["resource"] = data.draw(st.sampled_from([[], ["https://orders.example"]]))
        body["audience"] = data.draw(st.sampled_from([[], ["https://orders.example"], ["https://orders.example", "x"]]))


@pytest.mark.parametrize("name", OPERATIONS)
def test_26_every_answer_is_one_that_the_document_gives(house: House, name: str) -> None:
    check_at_random(house, name, 250 if name in FORMS else 25)


@pytest.mark.soak
@pytest.mark.parametrize("name", OPERATIONS)
def test_26_every_answer_is_one_that_the_document_gives_for_a_long_time(house: House, name: str) -> None:
    check_at_random(house, name, 3000)


def check_at_random(house: House, name: str, examples: int) -> None:
    seen: Counter[int] = Counter()
    token = house.issuer.token(house["svc"])

    @given(case=cases(name), data=st.data())
    @settings(
        max_examples=examples, deadline=None, derandomize=True, database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )  # fmt: skip
    def check(case: Any, data: st.DataObject) -> None:
        headers = {}
        if name in FORMS:
            sensible(house, data, name, case.body, token)
            headers = credentials(house, data, case.body)
        if case.headers and data.draw(st.integers(0, 3), label="a proof") < 3:
            case.headers.pop("DPoP", None)
        if name == "status_list" and data.draw(st.booleans(), label="a list that there is"):
            case.path_parameters["list"] = 0
        response = case.call(headers=headers, app=house.issuer.app)
        case.validate_response(response, checks=[not_a_server_error, *ANSWERS])
        seen[response.status_code] += 1

    check()
    # The good answers were reached, or this would have shown little.
    assert seen[400 if name in REFUSES else 200] > (examples // 6 if name in FORMS else 0), seen
    if name in FORMS:
        assert seen[400] > 0, seen
        assert seen[401] > 0, seen


class Seen:
    """Answers held against the document; which of its statuses came."""

    def __init__(self) -> None:
        self.statuses: dict[str, set[str]] = {name: set() for name in OPERATIONS}

    def __call__(self, name: str, response: Any, status: int) -> None:
        assert response.status_code == status, response.text
        operation_of(name).Case(path_parameters={"list": 0}).validate_response(response, checks=ANSWERS)
        self.statuses[name].add(str(status))


def test_every_status_in_the_document_is_answered_and_every_answer_fits_it(
    make_issuer: Callable[..., Issuer], tmp_path: Path
) -> None:
    issuer = make_issuer("one", f"sqlite:///{tmp_path / 'store.db'}", AUTH_FAILURES_PER_MINUTE="2").setup()
    svc = issuer.client(options=f"{READER} --signing-alg ES256")
    seen, http = Seen(), issuer.http
    issuer.run("realms create /rsa --alg RS256 --alg EdDSA --alg ES384 --alg PS256")
    issuer.client(realm="/rsa", options=READER)  # a realm without any has no status list
    for name in FORMS:
        where = address(issuer, name)
        good = {"grant_type": "client_credentials"} if name == "token" else {"token": issuer.token(svc)}
        seen(name, http.post(where, data=good, headers=svc.basic), 200)
        seen(name, http.post(where, data=good | {"x": "\x00"}, headers=svc.basic), 400)
        seen(name, http.post(where, data=good), 401)
        seen(name, http.post(address(issuer, name, "/nobody"), data=good, headers=svc.basic), 404)
        seen(name, http.put(where, data=good, headers=svc.basic), 405)
        seen(name, http.post(where, data=b"x" * 70_000, content_type=FORM, headers=svc.basic), 413)
        wrong = [http.post(where, data=good, headers=Caller(name, "wrong").basic) for _ in range(3)]
        seen(name, wrong[-1], 429)
    for name in REFUSES:
        method = OPERATIONS[name][1]
        seen(name, http.open(address(issuer, name), method=method), 400)
        seen(name, http.open(address(issuer, name, "/nobody"), method=method), 404)
        seen(name, http.put(address(issuer, name)), 405)
    for name in DOCUMENTS:
        for realm in ("/", "/rsa"):
            response = http.get(address(issuer, name, realm))
            seen(name, response, 200)
            unchanged = http.get(address(issuer, name, realm), headers={"If-None-Match": response.headers["ETag"]})
            seen(name, unchanged, 304)
        seen(name, http.get(address(issuer, name), headers={"If-Match": '"another"'}), 412)
        seen(name, http.get(address(issuer, name, "/nobody")), 404)
        seen(name, http.post(address(issuer, name)), 405)
    for name in AT_NO_REALM:
        seen(name, http.get(address(issuer, name)), 200)
        seen(name, http.post(address(issuer, name)), 405)
    for token_format in ("jwt", "am", "opaque"):
        issuer.run(f"clients update svc --token-format {token_format}")
        issuer.clock.advance(2)
        seen("token", issuer.token_response(svc), 200)
        seen("introspection", issuer.introspect(svc, issuer.token(svc)), 200)
    away(issuer, tmp_path, seen, svc, make_issuer("two", f"sqlite:///{tmp_path / 'store.db'}"))
    documented = {
        name: set(DOCUMENT["paths"][path][method]["responses"]) for name, (path, method) in OPERATIONS.items()
    }
    assert seen.statuses == documented


def away(issuer: Issuer, folder: Path, seen: Seen, caller: Caller, never_started: Issuer) -> None:
    """The answers while the store is out of reach; documents are kept, so those come from a fresh process."""
    issuer.runtime.database.engine.dispose()
    (folder / "store.db").rename(folder / "away.db")
    issuer.clock.advance(30)
    seen("token", issuer.token_response(caller), 503)
    seen("introspection", issuer.introspect(caller, "x"), 503)
    seen("revocation", issuer.revoke(caller, "x"), 503)
    seen("readyz", issuer.http.get("/readyz"), 503)
    for name in DOCUMENTS | set(REFUSES):
        response = never_started.http.open(address(never_started, name), method=OPERATIONS[name][1])
        seen(name, response, 503)
        assert response.json["error_description"] == TRY_LATER


def test_an_error_that_is_not_in_the_document_would_be_found(house: House) -> None:
    """The checks bite: an answer of another shape is refused, one member more included."""
    response = house.issuer.http.get("/healthz")
    for name in set(OPERATIONS) - {"healthz"}:
        with pytest.raises(FailureGroup):
            operation_of(name).Case(path_parameters={"list": 0}).validate_response(response, checks=ANSWERS)
