"""What WSGI (PEP 3333) makes of the head of a request, or why none is made: the strictness of gunicorn.conf.py, for a
parser that leaves more to its application.

What the parser itself refuses (a field folded over lines, white space before a colon, two lengths that differ, a
coding that is not chunked) never comes here.
"""

import re
import sys
from collections.abc import Iterable
from typing import Any, Protocol

from issuer.serving.limits import Limits

_HOST = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:%\[\]-]*\Z")  # RFC 3986 section 3.2, without a user
_MOST_NAMES = 256
_READ = ("authorization", "content-length", "content-type", "host", "transfer-encoding")
"""Fields that decide something: a value that is not printable ASCII is none of theirs."""


class Fields(Protocol):
    """Header fields as granian hands them over: names in lower case; values that are not ASCII are left out, and None
    is what get() has for a field whose first value is one."""

    def items(self) -> Iterable[tuple[str, str]]: ...
    def get(self, key: str, default: Any = None) -> Any: ...
    def __contains__(self, name: str) -> bool: ...


class Scope(Protocol):
    """The head of a request as granian hands it over."""

    headers: Fields
    http_version: str
    method: str
    path: str
    query_string: str
    client: str


class Refused(Exception):
    """The head of this request is none: the status, the reason for the log, and a fixed text."""

    def __init__(self, status: int, reason: str, text: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.text = text


class _Keys(dict[str, str]):
    """Names of fields as WSGI keeps them. Some are held, and few: a name is whatever a client says."""

    def __missing__(self, name: str) -> str:
        if "_" in name:
            # Behind WSGI nobody could tell X_Forwarded_For from X-Forwarded-For.
            raise Refused(400, "field_name", "A header has an underscore in its name")
        key = "HTTP_" + name.upper().replace("-", "_")
        if len(self) < _MOST_NAMES and len(name) < 64:
            self[name] = key
        return key


class Environs:
    """Makes them. multiprocess: whether other workers serve beside this one."""

    def __init__(self, limits: Limits, port: int, *, multiprocess: bool) -> None:
        self._limits = limits
        self._keys = _Keys({"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"})
        self._always = {
            "SCRIPT_NAME": "",
            "SERVER_NAME": "issuer.invalid",  # addresses come from REALMINT_BASE_URL alone
            "SERVER_PORT": str(port),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": multiprocess,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
        }

    def of(self, scope: Scope) -> dict[str, Any]:
        """The environ, but for `wsgi.input`. Raises Refused."""
        path, query = scope.path, scope.query_string
        limits = self._limits
        if len(path) + len(query) > limits.request_line:
            raise Refused(414, "request_line", "The request line is too long")
        environ: dict[str, Any] = self._always.copy()
        environ["REQUEST_METHOD"] = scope.method
        environ["PATH_INFO"] = path if path.isascii() else path.encode().decode("latin-1")
        environ["QUERY_STRING"] = query
        environ["REMOTE_ADDR"] = scope.client.rpartition(":")[0].strip("[]")
        environ["SERVER_PROTOCOL"] = "HTTP/1.1" if scope.http_version == "1.1" else "HTTP/1.0"
        fields, many = scope.headers, 0
        for name, value in fields.items():
            many += 1
            key = self._keys[name]
            if len(name) + len(value) + 2 > limits.field_size:
                raise Refused(431, "field_size", "A header is too long")
            environ[key] = self._joined(name, environ[key], value) if key in environ else value
        if many > limits.fields:
            raise Refused(431, "fields", "There are too many headers")
        for name in _READ:
            # The value of the first is told apart from none at all; that of another, behind one in ASCII, is not.
            if fields.get(name) is None and name in fields:
                raise Refused(400, "field_value", "A header holds what is not ASCII")
        self._check_host(environ)
        _check_framing(environ)
        return environ

    @staticmethod
    def _joined(name: str, before: str, value: str) -> str:
        if name in {"host", "content-type"}:
            raise Refused(400, "repeated_field", "A header is repeated that may come once")
        return f"{before}; {value}" if name == "cookie" else f"{before},{value}"  # RFC 9110 section 5.3

    @staticmethod
    def _check_host(environ: dict[str, Any]) -> None:
        """RFC 9112 section 3.2: one, and well-formed. Nothing is answered by it."""
        host = environ.get("HTTP_HOST")
        if host is None:
            if environ["SERVER_PROTOCOL"] == "HTTP/1.1":
                raise Refused(400, "host", "There is no Host")
        elif not _HOST.match(host):
            raise Refused(400, "host", "The Host is malformed")


def _check_framing(environ: dict[str, Any]) -> None:
    """One way to tell where the body ends (RFC 9112 section 6.1).

    Of a length beside chunks nothing is heard, since the parser goes by the chunks and takes the length out: as that
    section has it, the connection is closed behind the answer (stage.py).
    """
    coding = environ.get("HTTP_TRANSFER_ENCODING")
    if coding is not None and coding.lower() != "chunked":
        raise Refused(501, "transfer_coding", "The transfer coding is unknown")
