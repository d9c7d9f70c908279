"""When two URLs are the same one, however they are spelled (RFC 3986 section 6.2). Nothing is looked up."""

import re
from ipaddress import IPv6Address

# The characters of a URL and no others (RFC 3986 section 2); an authority without a user, whose host is a name, an
# IPv4 address or an IPv6 address in brackets.
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9._~!$&'()*+,;=-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{0,5}))?"
    r"(?P<path>/(?:[a-z0-9._~!$&'()*+,;=:@/-]|%[0-9a-f]{2})*+)?(?:\?[^#]*+)?(?:#.*)?",
    re.IGNORECASE | re.ASCII | re.DOTALL,
)
_ESCAPED = re.compile(r"%[0-9A-Fa-f]{2}")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def normalised(url: object) -> str | None:
    """An http or https URL without query and fragment, in the one form that all its spellings have; None for any other.

    Scheme and host in lower case, no default port, unreserved characters not escaped, escapes in upper case, no dot
    segments, the empty path as `/` (RFC 9449 section 4.3 step 9, RFC 3986 sections 6.2.2 and 6.2.3).
    """
    found = _URL.fullmatch(url) if isinstance(url, str) else None
    if found is None:
        return None
    scheme, host = found["scheme"].lower(), found["host"].lower()
    port = int(found["port"] or _DEFAULT_PORTS[scheme])
    if not 0 < port < 65536:
        return None
    if host.startswith("["):
        try:
            host = f"[{IPv6Address(host[1:-1])}]"
        except ValueError:
            return None
    beside = "" if port == _DEFAULT_PORTS[scheme] else f":{port}"
    return f"{scheme}://{host}{beside}{_path(found['path'] or '/')}"


def _path(path: str) -> str:
    """Without escapes that are not needed, and then without dot segments (RFC 3986 section 5.2.4)."""
    kept: list[str] = []
    segments = _ESCAPED.sub(_unescaped, path).split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _unescaped(found: re.Match[str]) -> str:
    char = chr(int(found[0][1:], 16))
    return char if char in _UNRESERVED else found[0].upper()
