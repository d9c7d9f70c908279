"""Why an exchange failed, in few fixed words. What is said names no address, no header and nothing of an answer.

connection refused, no such name, host unreachable, connection reset, timed out, certificate not trusted, certificate of
another host, certificate expired, certificate not valid yet, TLS failed, answer cut short, malformed answer, connection
failed; with `proxy: ` in front where it is the proxy that was not reached, `proxy: status N` where it refuses. Beside
these there are: not https, answer too large.
"""

import errno
import http.client
import re
import socket
import ssl
from collections.abc import Iterator

from urllib3 import exceptions

_CERTIFICATE = {9: "not valid yet", 10: "expired", 62: "of another host", 64: "of another host"}
"""What OpenSSL's X509_V_ERR numbers mean to an operator; any other: not trusted."""
_UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})
_TUNNEL = re.compile(r"Tunnel connection failed: ([0-9]{3})\b")
_KINDS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((socket.gaierror, exceptions.NameResolutionError, UnicodeError), "no such name"),
    ((ConnectionRefusedError,), "connection refused"),
    ((ConnectionError,), "connection reset"),
    ((TimeoutError, exceptions.TimeoutError), "timed out"),
    ((ssl.SSLError,), "TLS failed"),
    ((http.client.IncompleteRead, exceptions.IncompleteRead), "answer cut short"),
    ((http.client.HTTPException, exceptions.DecodeError, exceptions.HeaderParsingError), "malformed answer"),
)


def cause_of(error: BaseException) -> tuple[str, BaseException | None]:
    """The kind of fault, and what the system or TLS said: an exception whose text has neither address nor answer."""
    found = list(_within(error))
    kind, root = next(filter(None, map(_kind, found)), ("connection failed", None))
    proxy = "proxy: " if any(isinstance(one, exceptions.ProxyError) for one in found) else ""
    return proxy + kind.removeprefix(proxy), root if isinstance(root, OSError) and not isinstance(
        root, exceptions.HTTPError
    ) else None


def never_connected(error: BaseException) -> bool:
    """Whether no connection was made, to the host or to the proxy, so that nothing can have been sent."""
    return any(isinstance(one, exceptions.ConnectTimeoutError) for one in _within(error))


def _kind(error: BaseException) -> tuple[str, BaseException] | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate {_CERTIFICATE.get(error.verify_code, 'not trusted')}", error
    tunnel = _TUNNEL.match(str(error)) if type(error) is OSError else None
    if tunnel is not None:  # what follows the number is the proxy's own text
        return f"proxy: status {tunnel[1]}", ConnectionError(f"status {tunnel[1]}")
    if isinstance(error, OSError) and error.errno in _UNREACHABLE:
        return "host unreachable", error
    return next(((kind, error) for types, kind in _KINDS if isinstance(error, types)), None)


def _within(error: BaseException) -> Iterator[BaseException]:
    """What urllib3 wrapped, the innermost first."""
    inner = [getattr(error, "reason", None), getattr(error, "original_error", None), *error.args[:2], error.__cause__]
    for one in inner:
        if isinstance(one, BaseException) and one is not error:
            yield from _within(one)
            break
    yield error
