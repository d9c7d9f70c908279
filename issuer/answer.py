"""What an endpoint answers, before a door writes it down."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from issuer.encoding import answered

JSON = "application/json"
_NONE: Mapping[str, str] = MappingProxyType({})


class Answer(NamedTuple):
    """Status, body and headers; its repr does not show the body, which may hold a token.

    With an `etag`, the conditions of the request decide whether the body is sent; one that is `weak` is that of bodies
    that mean the same (RFC 9110 section 8.8.1).
    """

    status: int
    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = _NONE
    etag: str | None = None
    weak: bool = False

    def __repr__(self) -> str:
        return f"<answer {self.status}>"


def document(status: int, members: Mapping[str, object], headers: Mapping[str, str] = _NONE) -> Answer:
    """A JSON object."""
    return Answer(status, answered(members), headers=headers)
