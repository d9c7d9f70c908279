"""Whole answers: the status, the body and every header that the issuer adds."""

import json
from typing import Any

FORM = "application/x-www-form-urlencoded"
JSON = {"Content-Type": "application/json", "X-Content-Type-Options": "nosniff"}
PRIVATE = JSON | {"Cache-Control": "no-store", "Pragma": "no-cache"}

# error: status, the text on the wire unless a case has its own
REFUSALS = {
    "invalid_request": (400, "The request is malformed"),
    "invalid_client": (401, "Client authentication failed"),
    "unauthorized_client": (400, "The authenticated client is not authorized to use this authorization grant type."),
    "unsupported_grant_type": (400, "Grant type is not supported"),
    "invalid_scope": (400, "Unknown/invalid scope(s)"),
    "invalid_target": (400, "The requested resource or audience is invalid, unknown or not allowed"),
    "unsupported_response_type": (400, "There is no authorization grant here; ask the token endpoint"),
    "method_not_allowed": (405, "This address does not take this method"),
    "not_found": (404, "There is nothing at this address"),
    "temporarily_unavailable": (503, "The server is temporarily unable to handle the request"),
}
NO_SCOPE = "No scope requested and no default scope configured"

# What an invalid_request says, one text for each rule that can be broken.
CONTENT_TYPE = "Invalid Content Type"
QUERY = "Parameters in the query are not accepted"
REPEATED = "A parameter is repeated"
TOO_MANY = "The request has too many parameters"
PERCENT = "The body holds a percent sign without two hexadecimal digits"
NOT_UTF8 = "The body is not UTF-8"
NOT_FRAMED = "The body is not framed as HTTP frames one"
CONTROL = "A parameter holds a control character"
NO_GRANT_TYPE = "Grant type is not set"
NO_TOKEN = "Missing parameter: token"
NO_CLIENT_ID = "Missing parameter: client_id"
CLIENT_ID = "The client_id is malformed"
TWO_METHODS = "More than one client authentication method is used"
OTHER_CLIENT_ID = "The client_id in the body is not that of the Authorization header"
BASIC_LONG = "The Authorization header is too long"
BASIC_BASE64 = "The Basic credentials are not in canonical base64"
BASIC_NOT_UTF8 = "The Basic credentials are not UTF-8"
BASIC_CONTROL = "The Basic credentials hold a control character"
BASIC_PAIR = "The Basic credentials are not a client_id, a colon and a client_secret"
OTHER_CLIENTS_TOKEN = "The token was issued to another client"
TOO_LARGE = "The request is too large"


def headers(response: Any) -> dict[str, str]:
    """Every header but the length, which the body speaks for."""
    return {name: value for name, value in response.headers.items() if name != "Content-Length"}


def assert_refused(
    response: Any, error: str, *, status: int = 0, text: str = "", realm: str = "/", also: dict[str, str] | None = None
) -> None:
    """One refusal of a private endpoint, whole."""
    usual, wording = REFUSALS[error]
    assert (response.status_code, response.json) == (
        status or usual,
        {"error": error, "error_description": text or wording},
    )
    expected = PRIVATE | (also or {})
    if error == "invalid_client":
        expected |= {"WWW-Authenticate": f'Basic realm="{realm}"'}
    assert headers(response) == expected


def assert_inactive(response: Any) -> None:
    """RFC 7662 section 2.2: one constant, and nothing that tells why."""
    assert (response.status_code, response.data) == (200, b'{"active":false}\n')
    assert headers(response) == PRIVATE


def assert_clean(response: Any) -> None:
    """What holds for every answer there is (#24): JSON, not sniffed, nothing about what runs here."""
    assert response.status_code < 500, response.text
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "Server" not in response.headers
    assert "Location" not in response.headers
    if response.status_code != 304 and response.request.method != "HEAD":
        assert response.headers["Content-Type"] in ("application/json", "application/jwk-set+json")
        json.loads(response.data)
        assert "Traceback" not in response.text
