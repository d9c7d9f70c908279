"""How keys outside are fetched: by the library's transport, to addresses that may be asked, and through no proxy.

Behind a proxy a name would be looked up where nobody here sees what it leads to. It is loaded when the first key is
asked for: commands, and issuers whose clients all have secrets, do without.
"""

from functools import cache
from typing import TYPE_CHECKING

from issuer.outside.addresses import Guarded

if TYPE_CHECKING:
    from realmint.messages import Request, Response, Transport


class Outside:
    """Carries a request. Raises TransportError."""

    def __init__(self, guarded: Guarded) -> None:
        self._guarded = guarded

    def __call__(self, request: "Request") -> "Response":
        return _made(self._guarded)(request)


@cache
def _made(guarded: Guarded) -> "Transport":
    from realmint.transport import HTTPTransport

    return HTTPTransport(proxy="", resolve=guarded)
