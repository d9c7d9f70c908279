"""What a caller is answered: status, headers and body of every refusal, and the API's metadata. Pure.

Adapters carry an Answer as it stands, so that whatever framework an API is written with, it says the same.
"""

import json
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from realmint.bearer import NonceNeeded, TokenError, Unavailable
from realmint.protected_resource import Resource, metadata_url
from realmint.schemes import Schemes


class Answer(NamedTuple):
    """One answer. `headers` has everything that is sent with it, the length of `body` included."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def body_for(self, method: str) -> bytes:
        """What is sent of the body: nothing for HEAD (RFC 9110 section 9.3.2)."""
        return b"" if method == "HEAD" else self.body


def refusal(refused: TokenError, resource: Resource | None, schemes: Schemes) -> Answer:
    """What is answered instead of what was asked for (RFC 6750 section 3, RFC 9449 section 7.1, RFC 9728 section 5.1).

    A 503 has no challenge: the token may be perfectly good.
    """
    headers = []
    # It follows from the configuration: a Host header is whatever a caller likes.
    pointer = {"resource_metadata": metadata_url(resource)} if resource is not None else {}
    challenges = schemes.challenges(refused, **pointer)
    if challenges is not None:
        headers.append(("WWW-Authenticate", challenges))
    if isinstance(refused, NonceNeeded):
        headers.append(("DPoP-Nonce", refused.nonce))
    if isinstance(refused, Unavailable):
        headers.append(("Retry-After", str(refused.retry_after)))
    document = {"error": refused.error, "error_description": str(refused)}
    return _json(refused.status, document, ("Cache-Control", "no-store"), *headers)


def metadata(
    resource: Resource | None,
    audience: Sequence[str],
    issuers: Sequence[str],
    scopes: Collection[str],
    schemes: Schemes,
) -> Answer:
    """The document that says whose tokens the API takes (RFC 9728 section 3.2)."""
    document: dict[str, Any] = {
        "resource": resource.text if resource is not None else audience[0],
        "authorization_servers": list(issuers),
        "bearer_methods_supported": ["header"],
        **schemes.metadata(),
    }
    if scopes:
        document["scopes_supported"] = sorted(scopes)
    return _json(200, document)


def _json(status: int, document: Any, *headers: tuple[str, str]) -> Answer:
    body = json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    return Answer(status, (("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers), body)
