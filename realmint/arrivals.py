"""What a request brings, as servers hand it over: read when it is asked for, and believed of nobody but the server."""

import ssl
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import quote

# As PATH_INFO has it, decoded: what a path may hold besides these is escaped again (RFC 3986 section 3.3).
_PATH_CHARACTERS = "/:@!$&'()*+,;=~"


class Arrival(Protocol):
    """One request. Nothing that it returns was checked."""

    def method(self) -> str: ...

    def path(self) -> str:
        """The whole path as it was sent, percent-encoded, where the application is mounted included; no query."""
        ...

    def header(self, name: str) -> list[str]:
        """Each value under a name; where WSGI joined several by commas, that."""
        ...

    def peer(self) -> str | None:
        """The address of who connected; None where there is none, as behind a socket of this machine."""
        ...

    def certificate(self) -> str | bytes | None:
        """What the client showed when it connected, DER or PEM; None where it showed none, or to somebody else."""
        ...

    def among_processes(self) -> bool:
        """Whether the server says that other processes answer beside this one."""
        ...


class OfEnviron:
    """A request in WSGI (PEP 3333). No header of a caller gets a name without HTTP_, or with a dot."""

    __slots__ = ("_encoding", "_environ")

    def __init__(self, environ: Mapping[str, Any], encoding: str = "latin-1") -> None:
        """encoding: by which the texts of its paths become what was sent."""
        self._environ = environ
        self._encoding = encoding

    def method(self) -> str:
        return str(self._environ["REQUEST_METHOD"])

    def path(self) -> str:
        target = target_of(self._environ)
        if target is None:
            told = str(self._environ.get("SCRIPT_NAME", "")) + str(self._environ.get("PATH_INFO", ""))
            return quote(told.encode(self._encoding, "replace"), _PATH_CHARACTERS)
        if not target.startswith("/") and "://" in target:  # absolute-form (RFC 9112 section 3.2.2)
            target = "/" + target.partition("://")[2].partition("/")[2]
        return target.partition("?")[0]

    def header(self, name: str) -> list[str]:
        value = self._environ.get("HTTP_" + name.upper().replace("-", "_"))
        return [value] if value is not None else []

    def peer(self) -> str | None:
        # ProxyFix of Werkzeug puts who is behind a proxy in its place.
        original = self._environ.get("werkzeug.proxy_fix.orig") or self._environ
        return original.get("REMOTE_ADDR") or None

    def certificate(self) -> str | bytes | None:
        """Of a server that ends TLS itself: Realmint's own, mod_wsgi and Werkzeug's, gunicorn."""
        environ = self._environ
        ours = environ.get("realmint.client_certificate")  # which says beside it who checked it
        shown = getattr(ours, "der", ours) or environ.get("SSL_CLIENT_CERT")
        if shown is None and isinstance(environ.get("gunicorn.socket"), ssl.SSLSocket):
            shown = environ["gunicorn.socket"].getpeercert(binary_form=True)
        return shown or None

    def among_processes(self) -> bool:
        return bool(self._environ.get("wsgi.multiprocess"))


class OfScope:
    """A request in ASGI, http or websocket."""

    __slots__ = ("_scope",)

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self._scope = scope

    def method(self) -> str:
        return str(self._scope.get("method", "GET"))  # by which a websocket is opened (RFC 6455 section 4.1)

    def path(self) -> str:
        raw = self._scope.get("raw_path")
        if isinstance(raw, bytes):
            return raw.decode("latin-1").partition("?")[0]
        return quote(str(self._scope["path"]), _PATH_CHARACTERS)

    def header(self, name: str) -> list[str]:
        wanted = name.lower().encode("latin-1")
        return [value.decode("latin-1") for key, value in self._scope["headers"] if key.lower() == wanted]

    def peer(self) -> str | None:
        client = self._scope.get("client")
        return client[0] if client else None

    def certificate(self) -> str | bytes | None:
        """As the TLS extension of ASGI says; None where the server says that it was not right."""
        tls = (self._scope.get("extensions") or {}).get("tls") or {}
        chain = list(tls.get("client_cert_chain") or ())
        return chain[0] if chain and not tls.get("client_cert_error") else None

    def among_processes(self) -> bool:
        return False  # ASGI has no word for it


def target_of(environ: Mapping[str, Any]) -> str | None:
    """The path as it was sent, where a WSGI server says so."""
    target: str | None = environ.get("REQUEST_URI", environ.get("RAW_URI"))
    return target
