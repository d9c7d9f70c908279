"""Which addresses may be asked: https, and http where it does not leave this machine (RFC 6749 section 3.2)."""

import ipaddress
import re
from urllib.parse import urlsplit

# What a URL is written with (RFC 3986 section 2). Anything else is read differently from one parser to the next.
_URL = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")


def is_loopback(host: str) -> bool:
    """Whether the host of a URL, in brackets or without, is this machine. No name is looked up."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def is_url(url: str) -> bool:
    """Whether `url` is an absolute http or https URL. Nothing is raised for what is not."""
    return _scheme_and_host(url) is not None


def is_secure(url: str) -> bool:
    """Whether `url` is https, or http to this machine. Text that is no URL is not; nothing is raised for it."""
    found = _scheme_and_host(url)
    return found is not None and (found[0] == "https" or is_loopback(found[1]))


def _scheme_and_host(url: str) -> tuple[str, str] | None:
    if not _URL.fullmatch(url):
        return None
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        parts.port  # noqa: B018 - raises for a port that is none
    except ValueError:
        return None
    return (parts.scheme, host) if host and parts.scheme in ("http", "https") else None
