"""Realmint for resource servers: checks access tokens (RFC 9068) from the issuer's keys alone.

from realmint import ResourceServer, TokenError

api = ResourceServer(issuer="https://issuer.example/oauth2/realms/root", audience="https://orders.example")

try:
    token = api.validate(access_token, scope="orders:read")
except TokenError as refused:
    answer(refused.status, {"WWW-Authenticate": refused.challenge})
else:
    print(token.client_id, token.scopes, token.expires_at, token.realm)

What the RFCs say is in `protocol`. What decides, without I/O, lock or clock: `bearer` (RFC 6750: the header, refusals),
`schemes` (which are taken), `decision` (an `access_token`) by `rules`, `confirmation` (what it is bound to, and whether
that is `presented`); `key_cache` (an issuer's keys: `key_fetches`, how they are had, by `key_policy`; `key_set`, one
answer; `probing`, what unknown names may cause), `metadata`, `issuer_clock`, `status_cache` (what is held of an issuer)
and `status_reading` (a list as it is sent), `reach` (where it is), in the words of `messages` (HTTP) and `fetching`;
`protected_resource` (RFC 9728). What does: `resource_server` (the door) with an `issuer_rule` for each issuer, `engine`
(what a decision needs), `token_cache`; `key_source` and `status_source` by `single_flight` (threads, event loops) and
`upkeep` (ahead of them), `proofs` (DPoP, RFC 9449) by `dpop_policy`, each used once (`replays`, `sqlite_replays`),
`introspection` (by `introspection_policy`; settled by `introspection_desk`, `introspection_call`, `introspection_cache`
and `breaker`; as the client that `introspection_credentials` shows, with a secret or a `client_assertion`), `notices`
(the log), `transport` over `connections`, `lookups` and `proxies`, whose failures `causes` names. Adapters: `flask`
(with `routes` and `open_routes`), `fastapi`, `django`, `asgi`, `wsgi`, which all ask the one `gate`, carry its
`answers` and know `open_paths`, by `arrivals` (requests) and `client_certificates`; `testing`, for the tests of an API;
`checkup`, also as a command (`__main__`), for its operator; `version`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from realmint.access_token import AccessToken
    from realmint.bearer import (
        InsufficientScope,
        InvalidProof,
        InvalidRequest,
        InvalidToken,
        NonceNeeded,
        TokenError,
        Unavailable,
    )
    from realmint.client_assertion import AssertionFile, ClientKey
    from realmint.client_certificates import ClientCertificates
    from realmint.dpop_policy import DPoPPolicy
    from realmint.introspection_policy import Introspection
    from realmint.issuer_rule import IssuerRule
    from realmint.key_policy import KeyPolicy
    from realmint.presented import Presented
    from realmint.replays import MemoryReplays, ReplayStore
    from realmint.resource_server import ResourceServer
    from realmint.rules import Legacy
    from realmint.sqlite_replays import SQLiteReplays
    from realmint.status_cache import StatusPolicy
    from realmint.token_cache import TokenCache
    from realmint.transport import HTTPTransport
    from realmint.version import __version__

__all__ = [
    "AccessToken",
    "AssertionFile",
    "ClientCertificates",
    "ClientKey",
    "DPoPPolicy",
    "HTTPTransport",
    "InsufficientScope",
    "Introspection",
    "InvalidProof",
    "InvalidRequest",
    "InvalidToken",
    "IssuerRule",
    "KeyPolicy",
    "Legacy",
    "MemoryReplays",
    "NonceNeeded",
    "Presented",
    "ReplayStore",
    "ResourceServer",
    "SQLiteReplays",
    "StatusPolicy",
    "TokenCache",
    "TokenError",
    "Unavailable",
    "__version__",
]

_HOME = {
    "AccessToken": "access_token",
    "AssertionFile": "client_assertion",
    "ClientCertificates": "client_certificates",
    "ClientKey": "client_assertion",
    "DPoPPolicy": "dpop_policy",
    "HTTPTransport": "transport",
    "InsufficientScope": "bearer",
    "Introspection": "introspection_policy",
    "InvalidProof": "bearer",
    "InvalidRequest": "bearer",
    "InvalidToken": "bearer",
    "IssuerRule": "issuer_rule",
    "KeyPolicy": "key_policy",
    "Legacy": "rules",
    "MemoryReplays": "replays",
    "NonceNeeded": "bearer",
    "Presented": "presented",
    "ReplayStore": "replays",
    "ResourceServer": "resource_server",
    "SQLiteReplays": "sqlite_replays",
    "StatusPolicy": "status_cache",
    "TokenCache": "token_cache",
    "TokenError": "bearer",
    "Unavailable": "bearer",
    "__version__": "version",
}


def __getattr__(name: str) -> Any:
    """Each is loaded when it is asked for: an issuer wants `realmint.protocol` alone, and no HTTP client with it."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"realmint.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
