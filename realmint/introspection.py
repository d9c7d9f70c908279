"""Asking the issuer about a token (RFC 7662), for what cannot be decided locally."""

import logging
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote_plus, urlencode

from realmint.bearer import InvalidToken, Unavailable
from realmint.key_source import KeySource
from realmint.protocol.jws import JWSError, parse_object
from realmint.transport import Request, Transport, TransportError, is_secure

Mode = Literal["rescue", "opaque", "live"]
MAX_ANSWER = 65536
TIED = ("iss", "jti", "sub", "client_id")
"""Claims by which an answer is known to be about the token that was asked about."""

LOGGER = logging.getLogger("realmint")
_NOT_HERE = frozenset({301, 302, 303, 307, 308, 404, 405, 410})
"""Statuses of an address that has moved."""


@dataclass(frozen=True)
class Introspection:
    """When to ask, and as which client.

    mode: `rescue` asks when a token of our issuer cannot be decided locally; `opaque` also when it is not a
    JWT; `live` also about every token that passed the local checks. endpoint: its address, when not the one
    the issuer's metadata names.
    """

    client_id: str
    client_secret: str = field(repr=False)
    mode: Mode = "rescue"
    endpoint: str | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("rescue", "opaque", "live"):
            raise ValueError("mode is rescue, opaque or live")
        if not self.client_id or not self.client_secret:
            raise ValueError("introspection needs a client_id and a client_secret")
        if self.endpoint is not None and not is_secure(self.endpoint):
            raise ValueError("the introspection endpoint must be https")


class IntrospectionClient:
    """Asks one issuer. The answer still has to pass the checks a JWT passes; that is not done here."""

    def __init__(self, settings: Introspection, source: KeySource, transport: Transport) -> None:
        self._settings = settings
        self._source = source
        self._transport = transport
        # RFC 6749 section 2.3.1: form-encoded first, then Basic.
        pair = f"{quote_plus(settings.client_id)}:{quote_plus(settings.client_secret)}"
        self._headers = {
            "Accept": "application/json",
            "Content-Type": "application/x-www-form-urlencoded",
            "Authorization": "Basic " + b64encode(pair.encode()).decode(),
        }

    def ask(self, token: str, read: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """What the issuer says of an active token; `read`: the claims that were read in it, None where nothing was.

        Raises InvalidToken("inactive") for one that is not, and Unavailable for any answer but those two: also
        a 401, which means that our own credentials are wrong and says nothing of the token, and one that is not about
        this token.
        """
        endpoint = self._settings.endpoint or self._source.endpoint("introspection_endpoint")
        body = urlencode({"token": token, "token_type_hint": "access_token"}).encode()
        try:
            answer = self._transport(Request("POST", endpoint, self._headers, body, MAX_ANSWER))
        except TransportError as error:
            self._source.doubt_endpoint()
            raise Unavailable("introspection_unreachable") from error
        if answer.status in _NOT_HERE:
            self._source.doubt_endpoint()
        if answer.status != 200:
            reason = "introspection_credentials" if answer.status == 401 else "introspection_failed"
            raise Unavailable(reason)
        try:
            document = parse_object(answer.body)
        except JWSError:
            raise Unavailable("introspection_failed") from None
        active = document.get("active")
        if active is False:
            raise InvalidToken("inactive")
        if active is not True:
            raise Unavailable("introspection_failed")
        if read is not None:
            _check_same_token(document, read)
        return document


def _check_same_token(answer: Mapping[str, Any], read: Mapping[str, Any]) -> None:
    """Raises Unavailable unless the answer is about the token that says `read` (RFC 7662 names no such check).

    Whatever mixes answers up, on our side, on theirs or between, must not let one client in as another. An answer that
    lacks one of the claims is not known to be about this token.
    """
    other = [name for name in TIED if not isinstance(answer.get(name), str) or answer[name] != read.get(name)]
    if other:
        LOGGER.warning("introspection answered about another token: other %s", ", ".join(other))
        raise Unavailable("introspection_mismatch")
