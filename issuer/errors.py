"""The one translation of errors to HTTP (RFC 6749 section 5.2): OAuth-shaped JSON, whatever went wrong.

A refusal keeps its code and fixed text, its reason goes to the log. What cannot be decided is 503. Anything
else is server_error and a logged type and place.
"""

from typing import Any

import flask
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import InvalidClientError, UnauthorizedClientError
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, PreconditionFailed, RequestEntityTooLarge

from issuer import log
from issuer.db import STORE_ERRORS, SchemaMissing
from issuer.peer import client_address
from issuer.refusals import (
    GRANT_NOT_ALLOWED,
    MALFORMED,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    PRECONDITION_FAILED,
    SERVER_FAULT,
    TOO_LARGE,
    TRY_LATER,
    TemporarilyUnavailableError,
)
from issuer.registry import SnapshotTooOld
from issuer.secrets import TooManyAttempts
from keys.sealing import SealingError

RETRY_AFTER = 1
"""Seconds a caller is asked to wait when the store or the keys are out of reach."""

_UNDECIDABLE = (*STORE_ERRORS, SnapshotTooOld, SealingError)


def register(app: flask.Flask) -> None:
    """Puts the translation in front of everything the application answers."""
    app.register_error_handler(OAuth2Error, _refused)
    app.register_error_handler(TooManyAttempts, _too_many_attempts)
    app.register_error_handler(HTTPException, _routing)
    app.register_error_handler(Exception, _failed)
    for kind in _UNDECIDABLE:
        app.register_error_handler(kind, _undecidable)


def _refused(error: OAuth2Error) -> flask.Response:
    description, reason = error.description, getattr(error, "reason", None)
    if isinstance(error, UnauthorizedClientError):  # mostly Authlib's own, which names nothing
        description, reason = GRANT_NOT_ALLOWED, reason or "grant_not_allowed"
    response = _json(error.status_code, error.error, description)
    request = flask.g.get("oauth_request")
    realm_path = flask.g.get("realm_path")
    if isinstance(error, InvalidClientError):
        # RFC 6749 section 5.2, RFC 7617 section 2. A realm's path needs no escaping.
        response.headers["WWW-Authenticate"] = f'Basic realm="{realm_path or "/"}"'
    if isinstance(error, TemporarilyUnavailableError):
        response.headers["Retry-After"] = str(error.retry_after)
    log.event(
        "refused",
        realm=realm_path,
        client_id=_claimed_client_id(request),
        address=_address(),
        endpoint=flask.request.endpoint,
        error=error.error,
        reason=reason,
    )
    return response


def _too_many_attempts(error: TooManyAttempts) -> flask.Response:
    refusal = TemporarilyUnavailableError(error.retry_after, status_code=429)
    refusal.reason = error.reason
    return _refused(refusal)


def _undecidable(error: Exception) -> flask.Response:
    # These two say what to do, and quote nobody.
    reason = str(error) if isinstance(error, SchemaMissing | SealingError) else None
    fields = {"address": _address(), "endpoint": flask.request.endpoint, "reason": reason}
    said = {name: value for name, value in fields.items() if value is not None}
    log.LOGGER.warning("unavailable", exc_info=error, extra={"realmint_fields": said})
    response = _json(503, TemporarilyUnavailableError.error, TRY_LATER)
    response.headers["Retry-After"] = str(RETRY_AFTER)
    response.headers["Cache-Control"] = "no-store"
    return response


def _routing(error: HTTPException) -> flask.Response:
    if isinstance(error, NotFound):
        if flask.request.endpoint is not None:  # the address is one of ours, but for its realm
            realm_path = (flask.request.view_args or {}).get("realm_path")
            log.event(
                "refused", realm=realm_path, address=_address(), endpoint=flask.request.endpoint,
                error="not_found", reason="unknown_realm",
            )  # fmt: skip
        return _json(404, "not_found", NOT_FOUND)
    if isinstance(error, MethodNotAllowed):
        response = _json(405, "method_not_allowed", METHOD_NOT_ALLOWED)
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
        return response
    if isinstance(error, RequestEntityTooLarge):
        return _json(413, "invalid_request", TOO_LARGE)
    if isinstance(error, PreconditionFailed):
        return _json(412, "invalid_request", PRECONDITION_FAILED)
    code = error.code if error.code and 400 <= error.code < 500 else 400
    return _json(code, "invalid_request", MALFORMED)


def _failed(error: Exception) -> flask.Response:
    log.LOGGER.error("server_error", exc_info=error)
    return _json(500, "server_error", SERVER_FAULT)


def _address() -> str | None:
    """Who asks, for the log: endpoints that take no OAuth request have not looked."""
    trusted = flask.current_app.extensions["realmint"].settings.trusted_proxies
    return client_address(flask.request.environ, trusted)


def _json(status: int, error: str, description: str) -> flask.Response:
    response = flask.jsonify(error=error, error_description=description)
    response.status_code = status
    return response


def _claimed_client_id(request: Any) -> str | None:
    """Who the request says it comes from, authenticated or not."""
    return request.claimed_client_id if request is not None else None
