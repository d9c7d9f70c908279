"""One HTTP exchange as values: what is asked, what came back, and that nothing usable came. No I/O.

What is decided is written in these alone, so that whoever carries them, a thread, an event loop or a test, is no part
of it.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

# RFC 9110 section 8.8.3; what is sent back to the issuer is nothing but a tag.
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]{0,256}"')


class TransportError(Exception):
    """No usable answer came. The message names a kind of fault, never an address or a header."""


class Request(NamedTuple):
    """What is asked: `body` is sent as a form. `max_bytes` bounds the answer, after decompression.

    insecure: http may leave this machine, as its owner said. seconds: longest exchange, where the transport's own
    bound is longer. No repr shows headers and body: there are credentials and tokens in them.
    """

    method: str
    url: str
    headers: Mapping[str, str] = MappingProxyType({})
    body: bytes | None = None
    max_bytes: int = 65536
    insecure: bool = False
    seconds: float | None = None

    def __repr__(self) -> str:
        asked = f"method={self.method!r}, url={self.url!r}"
        return f"Request({asked}, max_bytes={self.max_bytes}, insecure={self.insecure}, seconds={self.seconds})"


class Response(NamedTuple):
    """What came back; header names in lower case. received_at: by our clock, where somebody noted that.

    No repr shows the body.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    received_at: int | None = None

    def __repr__(self) -> str:
        return f"Response(status={self.status}, headers={self.headers!r}, received_at={self.received_at})"

    @property
    def etag(self) -> str | None:
        """The tag to ask with whether it changed, where there is a good one (RFC 9110 section 8.8.3)."""
        etag = self.headers.get("etag", "")
        return etag if _ETAG.fullmatch(etag) else None


Transport = Callable[[Request], Response]
"""Carries a request. Raises TransportError."""
