"""The phases of a token request refuse in their order, and what they pass on shows no secret and cannot be changed."""

import dataclasses
import logging
from typing import Any

import pytest

from issuer.answer import document
from issuer.certificate import Presented
from issuer.counts import MOST, OTHERS, Counts
from issuer.request import Arrival, AuthenticatedClient, ClientRequest, Request
from issuer.tokens.mint import Issued
from tests.issuer.conftest import House, Lines
from tests.support.issuer import basic

# Each request mends what the one before was refused for; everything after that is still wrong.
MENDED: list[tuple[str, dict[str, Any], str, str]] = [
    ("svc", {"query_string": "x=1", "content_type": "text/plain", "secret": "wrong"}, "invalid_request", "query_parameters"),
    ("svc", {"content_type": "text/plain", "secret": "wrong"}, "invalid_request", "content_type"),
    ("svc", {"body": "grant_type=password&x=1&x=2", "secret": "wrong"}, "invalid_request", "repeated_parameter"),
    ("svc", {"body": "grant_type=password", "secret": "wrong"}, "unsupported_grant_type", "unknown_grant_type"),
    ("svc", {"body": "client_id=other", "secret": "wrong"}, "invalid_request", "other_client_id_in_body"),
    ("no-grant", {"body": "scope=%22&resource=x", "secret": "wrong"}, "invalid_client", "wrong_secret"),
    ("no-grant", {"body": "scope=%22&resource=x"}, "unauthorized_client", "grant_not_allowed"),
    ("svc", {"body": "scope=%22&resource=x"}, "invalid_scope", "scope_malformed"),
    ("svc", {"body": "scope=read&resource=x"}, "invalid_target", "resource_malformed"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given", "error", "reason"), MENDED, ids=[row[3] for row in MENDED])
def test_the_first_phase_that_refuses_is_the_one_that_answers(
    house: House, lines: Lines, name: str, given: dict[str, Any], error: str, reason: str
) -> None:
    body = given.get("body", "")
    if "grant_type" not in body:
        body = f"grant_type=client_credentials&{body}"
    response = house.issuer.http.post(
        house.issuer.address("/access_token"),
        data=body,
        headers=basic(name, given.get("secret", house[name].secret)),
        content_type=given.get("content_type", "application/x-www-form-urlencoded"),
        query_string=given.get("query_string"),
    )
    assert response.json["error"] == error
    assert f" reason={reason}" in lines.text[-1]


def test_207_208_nothing_that_is_passed_on_shows_a_secret(house: House, caplog: pytest.LogCaptureFixture) -> None:
    secret = house["svc"].secret
    arrival = Arrival(
        "POST",
        "/",
        {},
        None,
        f"x={secret}",
        {"Authorization": f"Basic {secret}"}.get,
        lambda _: secret.encode(),
        lambda: Presented(secret.encode(), verified=True),
    )
    view = house.issuer.runtime.registry.realm("/")
    assert view is not None
    held: dict[str, Any] = {"authorization_header": f"Basic {secret}", "parameters": {"client_secret": (secret,)}}
    request = Request(
        "POST", view.realm, view.addresses, view.keys, set(), 0, None, arrival.header, arrival.certificate, **held
    )
    client = house.issuer.runtime.registry.client(view.realm.id, "svc")
    assert client is not None
    authenticated = ClientRequest(request, AuthenticatedClient(client, "client_secret_post", "sec1"))
    assert secret not in f"{document(200, {'access_token': secret})}"
    for value in (arrival, request, authenticated, arrival.certificate()):
        assert secret not in repr(value)
        assert secret not in str(value)
        with pytest.raises(AttributeError):
            setattr(value, "request" if value is authenticated else "method", None)
    assert "token" not in {field.name for field in dataclasses.fields(Issued) if field.repr}
    with caplog.at_level(logging.DEBUG):
        token = house.issuer.token(house["svc"])
    assert secret not in caplog.text
    assert token not in caplog.text


def test_what_is_counted_is_bounded_by_its_names() -> None:
    counts = Counts()
    for number in range(MOST + 50):
        counts.add(str(number))
    counts.add("0")
    read = counts.read()
    assert len(read) == MOST + 1
    assert (read["0"], read[OTHERS]) == (2, 50)
