"""What WSGI (PEP 3333) makes of the head of a request, or why none is made.

What the parser itself refuses (a field folded over lines, white space before a colon, a line that ends in a line feed
alone, two lengths) never comes here.
"""

import re
import sys
from typing import Any, NamedTuple
from urllib.parse import unquote

from issuer.certificate import SHOWN, Presented

_HOST = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:%\[\]-]*\Z")  # RFC 3986 section 3.2, without a user
_MOST_NAMES = 256
_READ = frozenset(
    {"HTTP_AUTHORIZATION", "CONTENT_LENGTH", "CONTENT_TYPE", "HTTP_HOST", "HTTP_TRANSFER_ENCODING", "HTTP_EXPECT"}
)
"""Fields that decide something: a value that is not printable ASCII is none of theirs."""


class Head(NamedTuple):
    """The head of a request as it came. certificate: what the connection's TLS was shown."""

    method: bytes
    target: bytes
    version: str
    fields: list[tuple[bytes, bytes]]
    peer: str
    certificate: Presented | None = None


class Refused(Exception):
    """The head of this request is none: the status, the reason for the log, and a fixed text."""

    def __init__(self, status: int, reason: str, text: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.text = text


class _Keys(dict[bytes, str]):
    """Names of fields as WSGI keeps them. Some are held, and few: a name is whatever a client says."""

    def __missing__(self, name: bytes) -> str:
        if b"_" in name:
            # Behind WSGI nobody could tell X_Forwarded_For from X-Forwarded-For.
            raise Refused(400, "field_name", "A header has an underscore in its name")
        key = name.decode("latin-1").upper().replace("-", "_")
        if key not in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
            key = "HTTP_" + key
        if len(self) < _MOST_NAMES and len(name) < 64:
            self[name] = key
        return key


class Environs:
    """Makes them. secure: over TLS. multiprocess: whether other workers serve beside this one."""

    def __init__(self, port: int, *, secure: bool, multiprocess: bool) -> None:
        self._keys = _Keys()
        self._always = {
            "SCRIPT_NAME": "",
            "SERVER_NAME": "issuer.invalid",  # addresses come from REALMINT_BASE_URL alone
            "SERVER_PORT": str(port),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https" if secure else "http",
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": multiprocess,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
        }

    def of(self, head: Head) -> dict[str, Any]:
        """The environ, but for `wsgi.input`. Raises Refused."""
        environ: dict[str, Any] = self._always.copy()
        target = head.target.decode("latin-1")
        path, _, query = target.partition("?")
        if not path.startswith("/"):
            path = _ABSOLUTE.sub("", path, count=1) or path
        environ["REQUEST_METHOD"] = head.method.decode("ascii")
        environ["RAW_URI"] = target
        environ["PATH_INFO"] = unquote(path, "latin-1") if "%" in path else path
        environ["QUERY_STRING"] = query
        environ["REMOTE_ADDR"] = head.peer
        if head.certificate is not None:
            environ[SHOWN] = head.certificate
        if head.version not in {"1.0", "1.1"}:
            raise Refused(400, "version", "The version is unknown")
        environ["SERVER_PROTOCOL"] = "HTTP/" + head.version
        keys = self._keys
        for name, raw in head.fields:
            key, value = keys[name], raw.decode("latin-1").strip(" \t")
            if key in _READ and not (value.isascii() and value.isprintable()):
                raise Refused(400, "field_value", "A header holds what is not ASCII")
            environ[key] = _joined(key, environ[key], value) if key in environ else value
        host = environ.get("HTTP_HOST")
        if host is None:
            if head.version == "1.1":
                raise Refused(400, "host", "There is no Host")
        elif not _HOST.match(host):
            raise Refused(400, "host", "The Host is malformed")
        _check_framing(environ)
        return environ


_ABSOLUTE = re.compile(r"https?://[^/?#]*", re.IGNORECASE)


def _joined(key: str, before: str, value: str) -> str:
    if key in {"HTTP_HOST", "CONTENT_TYPE", "CONTENT_LENGTH"}:
        raise Refused(400, "repeated_field", "A header is repeated that may come once")
    return f"{before}; {value}" if key == "HTTP_COOKIE" else f"{before},{value}"  # RFC 9110 section 5.3


def _check_framing(environ: dict[str, Any]) -> None:
    """One way to tell where the body ends (RFC 9112 section 6.1)."""
    coding = environ.pop("HTTP_TRANSFER_ENCODING", None)
    length = environ.get("CONTENT_LENGTH")
    if coding is not None:
        if coding.lower() != "chunked":
            raise Refused(501, "transfer_coding", "The transfer coding is unknown")
        if length is not None or environ["SERVER_PROTOCOL"] == "HTTP/1.0":
            raise Refused(400, "framing", "The body has two ends")
    elif length is not None and not (length.isascii() and length.isdecimal()):
        raise Refused(400, "length", "The length is none")
