"""What an endpoint under a realm declares."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import flask

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


def runtime() -> Any:
    """What this process works with; app.py puts it there."""
    return flask.current_app.extensions["realmint"]
