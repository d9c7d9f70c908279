"""Which proxy an address is asked through: the one that was named, or those that the environment names. Pure.

The variables are those of curl and Go: HTTPS_PROXY, HTTP_PROXY and NO_PROXY, lower case before upper.
"""

import ipaddress
from base64 import b64encode
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from realmint.protocol.addresses import is_loopback, is_url


class Proxy(NamedTuple):
    """One proxy: its address without credentials, and those, which no repr shows, as Proxy-Authorization has them."""

    url: str
    credentials: str | None = None

    def __repr__(self) -> str:
        return f"Proxy(url={self.url!r})"

    @property
    def headers(self) -> Mapping[str, str]:
        """What only it gets."""
        return {} if self.credentials is None else {"Proxy-Authorization": self.credentials}


class Proxies(NamedTuple):
    """Which proxy is for what. direct: hosts that are asked without one, as NO_PROXY lists them.

    This machine is always asked without one.
    """

    https: Proxy | None = None
    http: Proxy | None = None
    direct: tuple[str, ...] = ()

    def of(self, url: str) -> Proxy | None:
        """The proxy for a URL that may be asked; None where it is asked directly."""
        parts = urlsplit(url)
        proxy = self.https if parts.scheme == "https" else self.http
        host = (parts.hostname or "").rstrip(".")
        if proxy is None or is_loopback(host):
            return None
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return None if any(_covers(entry, host, port) for entry in self.direct) else proxy


def only(proxy: str) -> Proxies:
    """The one proxy for whatever leaves this machine; empty text for none. Raises ValueError."""
    named = _proxy(proxy, "proxy") if proxy else None
    return Proxies(named, named)


def from_environment(environ: Mapping[str, str]) -> Proxies:
    """What the environment says. Raises ValueError, which names the variable and not its value."""

    def read(name: str) -> str:
        return (environ.get(name) or environ.get(name.upper()) or "").strip()

    https, http = read("https_proxy"), read("http_proxy")
    if "REQUEST_METHOD" in environ and not environ.get("http_proxy"):
        http = ""  # in a CGI program that one is a header which anybody may send
    direct = tuple(entry.strip().lower() for entry in read("no_proxy").split(",") if entry.strip())
    return Proxies(
        _proxy(https, "HTTPS_PROXY") if https else None, _proxy(http, "HTTP_PROXY") if http else None, direct
    )


def _proxy(text: str, name: str) -> Proxy:
    url = text if "://" in text else f"http://{text}"
    parts = urlsplit(url) if is_url(url) else None
    if parts is None or parts.scheme != "http" or parts.path.strip("/") or parts.query or parts.fragment:
        # The text is not quoted: there may be a password in it.
        raise ValueError(f"{name} must be http://host:port, with user:password@ where the proxy wants that")
    user, _, host = parts.netloc.rpartition("@")
    if not user:
        return Proxy(f"http://{host}")
    pair = ":".join(unquote(part) for part in (user if ":" in user else f"{user}:").split(":", 1))
    return Proxy(f"http://{host}", "Basic " + b64encode(pair.encode()).decode())


def _covers(entry: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY means this host: `*`, a name and what is below it, an address or a network."""
    if entry == "*":
        return True
    name, _, last = entry.rpartition(":")
    if last.isdigit() and (name.startswith("[") or ":" not in name):
        if int(last) != port:
            return False
        entry = name
    entry = entry.strip("[]")
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        name = entry.removeprefix("*").lstrip(".").rstrip(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))
