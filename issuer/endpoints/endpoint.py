"""What an endpoint under a realm declares."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import flask
from werkzeug.exceptions import PreconditionFailed

from issuer.realms import Addresses, Realm

Metadata = Callable[[Addresses, Realm], Mapping[str, Any]]


def _nothing(_addresses: Addresses, _realm: Realm) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True)
class Endpoint:
    """One endpoint: its address under the issuer, its methods, its view and its members of the metadata.

    `private`: its answers, good or bad, are stored nowhere (RFC 6749 section 5.1).
    """

    name: str
    suffix: str
    methods: tuple[str, ...]
    view: Callable[[str], flask.Response]
    metadata: Metadata = _nothing
    private: bool = False


def published(response: flask.Response) -> flask.Response:
    """A document that anybody may read and keep for JWKS_MAX_AGE; 304 or 412 when the request has a condition."""
    response.cache_control.public = True
    response.cache_control.max_age = runtime().settings.rotation.jwks_max_age
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.make_conditional(flask.request)
    if response.status_code == PreconditionFailed.code:
        raise PreconditionFailed  # Werkzeug would send the document under that status
    return response


def runtime() -> Any:
    """What this process works with; app.py puts it there."""
    return flask.current_app.extensions["realmint"]
