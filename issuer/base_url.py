"""The base URL: one text for one place, since issuers are compared byte for byte (RFC 8414 section 3.3)."""

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from realmint.protocol.addresses import is_loopback

__all__ = ["is_loopback", "parse_base_url"]

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9-]{1,63}(?<!-))*\.?")


def parse_base_url(text: str, *, allow_http: bool, allow_http_by: str) -> str:
    """`text`, which must be a base URL in its one canonical form. Raises ValueError with every fault as an argument.

    Canonical: lower-case scheme and host, no default port, no user, no white space, a plain path without a trailing
    slash. allow_http: plain http may lead elsewhere than to this machine, which `allow_http_by` would say.
    """
    try:
        parts = urlsplit(text.strip())
        port = parts.port
        host = _canonical_host(parts.hostname or "")
    except ValueError:
        raise ValueError("must be an http or https URL") from None
    if parts.scheme not in _DEFAULT_PORTS or not host:
        raise ValueError("must be an http or https URL")
    faults = []
    if parts.query or parts.fragment or "?" in text or "#" in text:
        faults.append("has no query and no fragment")
    if "%" in parts.path or "/." in parts.path or not parts.path.isascii() or not parts.path.isprintable():
        faults.append("has a plain path: no dot segment, nothing percent-encoded")
    if parts.scheme == "http" and not allow_http and not is_loopback(host):
        faults.append(f"must be https unless its host is loopback or {allow_http_by}=1")
    canonical = _canonical(parts, host, port)
    if canonical != text:
        faults.append(f"must be written {canonical}")
    if faults:
        raise ValueError(*faults)
    return text


def _canonical(parts: SplitResult, host: str, port: int | None) -> str:
    shown = "" if port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{port}"
    path = re.sub("//+", "/", parts.path).rstrip("/")
    return f"{parts.scheme}://{host}{shown}{path}"


def _canonical_host(host: str) -> str:
    """A host in lower case, an address in its shortest form; "" for what is neither. Raises ValueError."""
    if ":" in host:
        return f"[{ipaddress.IPv6Address(host).compressed}]"
    name = host if host.isascii() else host.encode("idna").decode()
    return name.lower() if _HOST.fullmatch(name.lower()) else ""
