"""The one translation of errors to answers (RFC 6749 section 5.2): OAuth-shaped JSON, whatever went wrong.

A refusal keeps its code and fixed text, its reason goes to the log. What cannot be decided is 503. Anything
else is server_error and a logged type and place. Every door calls it, and what it says of a request is handed in.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import InvalidClientError
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, PreconditionFailed, RequestEntityTooLarge

from issuer import log
from issuer.answer import Answer, document
from issuer.counts import Counts
from issuer.refusals import (
    MALFORMED,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    PRECONDITION_FAILED,
    SERVER_FAULT,
    TOO_LARGE,
    TRY_LATER,
    TemporarilyUnavailableError,
    UnknownList,
    UnknownRealm,
    UseDPoPNonceError,
)
from issuer.registry.view import HistoryWentBack, SnapshotTooOld
from issuer.storage.engine import STORE_ERRORS
from issuer.storage.revision import SchemaMissing
from issuer.storage.rows import RowSpoilt
from keys.sealing import SealingError
from realmint.protocol.names import DPOP_NONCE

RETRY_AFTER = 1
"""Seconds a caller is asked to wait when the store or the keys are out of reach."""

UNDECIDABLE = (*STORE_ERRORS, SnapshotTooOld, SealingError, RowSpoilt)


@dataclass(frozen=True)
class Asked:
    """What was asked, of which realm and by whom, for the log; None where the address says nothing of it."""

    endpoint: str | None
    realm_path: str | None
    address: str | None


def answer(error: Exception, asked: Asked, refusals: Counts) -> Answer:
    """What is answered when answering raised `error`; one line in the log, but for addresses that are none of ours.

    refusals: where each refusal is counted, under its reason.
    """
    if isinstance(error, OAuth2Error):
        return _refused(error, asked, refusals)
    if isinstance(error, UnknownRealm):
        _note(asked, refusals, "not_found", "unknown_realm")
        return _error(404, "not_found", NOT_FOUND)
    if isinstance(error, UnknownList):
        _note(asked, refusals, "not_found", "unknown_list")
        # Without a word a cache may keep a 404 (RFC 9111 section 4.2.2), and the list may begin the next moment.
        return _error(404, "not_found", NOT_FOUND, {"Cache-Control": "no-store"})
    if isinstance(error, UNDECIDABLE):
        return _undecidable(error, asked)
    if isinstance(error, HTTPException):
        return _by_the_framework(error)
    log.LOGGER.error("server_error", exc_info=error)
    return _error(500, "server_error", SERVER_FAULT)


def _refused(error: OAuth2Error, asked: Asked, refusals: Counts) -> Answer:
    headers = {}
    if isinstance(error, InvalidClientError):
        # RFC 6749 section 5.2, RFC 7617 section 2. A realm's path needs no escaping.
        headers["WWW-Authenticate"] = f'Basic realm="{asked.realm_path or "/"}"'
    if isinstance(error, TemporarilyUnavailableError):
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, UseDPoPNonceError):
        headers[DPOP_NONCE] = error.nonce
    claimed = getattr(error, "claimed_client_id", None)
    reason = getattr(error, "reason", None)
    _note(asked, refusals, error.error, reason, claimed)
    return _error(error.status_code, error.error, error.description, headers)


def _note(asked: Asked, refusals: Counts, error: str, reason: str | None, claimed: str | None = None) -> None:
    refusals.add(reason or error)
    log.event(
        "refused",
        realm=asked.realm_path,
        client_id=claimed,
        address=asked.address,
        endpoint=asked.endpoint,
        error=error,
        reason=reason,
    )


def _undecidable(error: Exception, asked: Asked) -> Answer:
    # These say what to do or where to look, and quote nobody.
    reason = str(error) if isinstance(error, SchemaMissing | SealingError | RowSpoilt | HistoryWentBack) else None
    fields = {"address": asked.address, "endpoint": asked.endpoint, "reason": reason}
    said = {name: value for name, value in fields.items() if value is not None}
    log.LOGGER.warning("unavailable", exc_info=error, extra={"realmint_fields": said})
    headers = {"Retry-After": str(RETRY_AFTER), "Cache-Control": "no-store"}
    return _error(503, TemporarilyUnavailableError.error, TRY_LATER, headers)


def _by_the_framework(error: HTTPException) -> Answer:
    """What a door's framework refuses by itself, in our form."""
    if isinstance(error, NotFound):
        return _error(404, "not_found", NOT_FOUND)
    if isinstance(error, MethodNotAllowed):
        allowed = {"Allow": ", ".join(sorted(error.valid_methods or ()))}
        return _error(405, "method_not_allowed", METHOD_NOT_ALLOWED, allowed)
    if isinstance(error, RequestEntityTooLarge):
        return _error(413, "invalid_request", TOO_LARGE)
    if isinstance(error, PreconditionFailed):
        return _error(412, "invalid_request", PRECONDITION_FAILED)
    code = error.code if error.code and 400 <= error.code < 500 else 400
    return _error(code, "invalid_request", MALFORMED)


def _error(status: int, error: str, description: str, headers: Mapping[str, str] | None = None) -> Answer:
    return document(status, {"error": error, "error_description": description}, headers or {})
