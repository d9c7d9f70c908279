"""Settings: frozen, read once from the environment and a file, all faults reported in one message."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from issuer import slots
from issuer.base_url import parse_base_url
from issuer.certificate import CertificateHeader
from issuer.database_url import parse_database_url
from issuer.realms import Addresses
from issuer.sources import PREFIX, Given, collect
from keys.policy import RotationPolicy
from keys.sealing import KeyEncryptionKey, SealingError, parse_keks, read_kek_file
from realmint.protocol.certificate_headers import FORMATS

DEFAULT_BASE_URL = "http://127.0.0.1:5000"
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_LOG_FORMATS = ("text", "json")
_POLICY = {
    "JWKS_MAX_AGE": "jwks_max_age",
    "VERIFIER_CACHE_MAX": "verifier_cache_max",
    "KEY_ROTATION_INTERVAL": "rotation_interval",
    "CLOCK_ERROR": "clock_error",
    "VERIFIER_LEEWAY": "verifier_leeway",
    "SNAPSHOT_REFRESH": "snapshot_refresh",
}
NAMES = frozenset({
    "BASE_URL", "MTLS_BASE_URL", "DATABASE_URL", "KEK_FILE", "KEK", "ALLOW_HTTP", "AUTH_FAILURES_PER_MINUTE",
    "TRUSTED_PROXIES",
    "CLIENT_CERT_PROXIES", "CLIENT_CERT_HEADER", "CLIENT_CERT_FORMAT", "INTERNAL_HOSTS", "LOG_LEVEL", "LOG_FORMAT",
    *_POLICY,
})  # fmt: skip


class SettingsError(Exception):
    """The settings contradict themselves. The message lists every fault, a line each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(["the settings cannot be used:", *(f"  {fault}" for fault in faults)]))
        self.faults = faults


@dataclass(frozen=True)
class Settings:
    """What the environment says. Durations in seconds; `database_url` None means the embedded database."""

    instance_path: Path
    base_url: str = DEFAULT_BASE_URL
    mtls_base_url: str | None = None
    """Under which the same endpoints ask for certificates (RFC 8705 section 5)."""
    base_url_given: bool = False
    """Whether anybody said the base URL, or it follows from the port that is served."""
    database_url: str | None = field(default=None, repr=False)
    keks: tuple[KeyEncryptionKey, ...] | None = field(default=None, repr=False)
    policy: RotationPolicy = field(default_factory=RotationPolicy)
    auth_failures_per_minute: int = 60
    trusted_proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    client_cert: CertificateHeader | None = None
    """Where proxies hand on the certificates of clients; None where none does."""
    internal_hosts: frozenset[str] = frozenset()
    """Hosts, `name` or `name:port`, whose keys may be fetched though they are in a private network."""
    log_level: str = "INFO"
    log_format: str = "text"

    @property
    def embedded(self) -> bool:
        """Whether the database is the embedded one, which may be created on first use."""
        return self.database_url is None

    @property
    def base_path(self) -> str:
        """The path of the base URL, `` or `/openam`."""
        return urlsplit(self.base_url).path

    @property
    def kek_path(self) -> Path:
        """Where the embedded database's key-encryption key lives."""
        return self.instance_path / "kek"

    def addresses(self, realm_path: str) -> Addresses:
        """Where a realm lives."""
        return Addresses(self.base_url, realm_path, self.mtls_base_url)

    @classmethod
    def from_environ(
        cls, environ: Mapping[str, str], instance_path: Path, served_at: str = DEFAULT_BASE_URL
    ) -> "Settings":
        """Settings from `environ`, over the file that it names or that stands in the instance folder.

        served_at: the base URL where neither says one. An empty value counts as absent. Raises SettingsError with
        every fault.
        """
        given = collect(environ, instance_path, NAMES)
        reader = _Reader(given)
        policy = RotationPolicy(
            **{
                attribute: reader.read(name, _seconds, getattr(RotationPolicy, attribute))
                for name, attribute in _POLICY.items()
            }
        )
        reader.faults += [f"{PREFIX}{fault}" for fault in (*policy.faults(), *slots.faults(policy))]
        allow_http = reader.read("ALLOW_HTTP", _one_of(("0", "1")), "0") == "1"
        base_url = partial(parse_base_url, allow_http=allow_http, allow_http_by=PREFIX + "ALLOW_HTTP")
        settings = cls(
            instance_path=instance_path,
            base_url=reader.read("BASE_URL", base_url, served_at),
            mtls_base_url=reader.read("MTLS_BASE_URL", base_url, None),
            base_url_given="BASE_URL" in given.values,
            database_url=reader.read("DATABASE_URL", parse_database_url, None),
            keks=_keks(reader),
            policy=policy,
            auth_failures_per_minute=reader.read("AUTH_FAILURES_PER_MINUTE", _count, cls.auth_failures_per_minute),
            trusted_proxies=reader.read("TRUSTED_PROXIES", _networks, ()),
            client_cert=_client_cert(reader),
            internal_hosts=reader.read("INTERNAL_HOSTS", _hosts, frozenset()),
            log_level=reader.read("LOG_LEVEL", _one_of(_LOG_LEVELS), cls.log_level),
            log_format=reader.read("LOG_FORMAT", _one_of(_LOG_FORMATS), cls.log_format),
        )
        if "DATABASE_URL" in given.values and not {"KEK", "KEK_FILE"} & given.values.keys():
            reader.faults.append(f"{given.name('DATABASE_URL')} needs {PREFIX}KEK_FILE (or {PREFIX}KEK) beside it")
        if settings.mtls_base_url and urlsplit(settings.mtls_base_url).path != settings.base_path:
            reader.faults.append(f"{given.name('MTLS_BASE_URL')} has to have the path of {PREFIX}BASE_URL")
        if reader.faults:
            raise SettingsError(reader.faults)
        return settings


class _Reader:
    """Reads one setting after the other and collects what is wrong with them."""

    def __init__(self, given: Given) -> None:
        self._given = given
        self.faults = list(given.faults)

    def read(self, name: str, parse: Callable[[str], Any], default: Any) -> Any:
        if name not in self._given.values:
            return default
        try:
            return parse(self._given.values[name])
        except (ValueError, SealingError) as error:
            self.faults += [f"{self._given.name(name)} {fault}" for fault in error.args]
            return default

    def go_together(self, *names: str) -> None:
        """Notes a fault where some of these are given and others are not."""
        said = [self._given.name(name) for name in names if name in self._given.values]
        missing = [PREFIX + name for name in names if name not in self._given.values]
        if said and missing:
            self.faults.append(f"{' and '.join(said)} also needs {' and '.join(missing)}")


def _keks(reader: _Reader) -> tuple[KeyEncryptionKey, ...] | None:
    """Those of the file first: either may be faulty, and both faults are said."""
    from_file = reader.read("KEK_FILE", lambda text: tuple(read_kek_file(Path(text))), ())
    return (*from_file, *reader.read("KEK", lambda text: tuple(parse_keks(text)), ())) or None


def _client_cert(reader: _Reader) -> CertificateHeader | None:
    """All three or none: which proxies, in which header, and how they write it."""
    parsers = {
        "CLIENT_CERT_PROXIES": _few_networks,
        "CLIENT_CERT_HEADER": _header_name,
        "CLIENT_CERT_FORMAT": _one_of(tuple(FORMATS)),
    }
    proxies, name, form = (reader.read(setting, parse, None) for setting, parse in parsers.items())
    reader.go_together(*parsers)
    return CertificateHeader(proxies, name, form) if proxies and name and form else None


def _seconds(text: str) -> int:
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 12 else 0
    if value <= 0:
        raise ValueError("must be a whole number of seconds above 0")
    return value


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise ValueError("must be a whole number, 0 for off")
    return int(text)


def _networks(text: str) -> tuple[Any, ...]:
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(","))


def _few_networks(text: str) -> tuple[Any, ...]:
    networks = _networks(text)
    if not all(network.prefixlen for network in networks):
        raise ValueError("must name the proxies' networks, not every address")
    return networks


def _header_name(text: str) -> str:
    if not _HEADER.fullmatch(text):
        raise ValueError("must be the name of a header: letters, digits and hyphens")
    if text.lower() in _HEADERS_OF_OTHERS:
        raise ValueError("must be a header that nothing else comes in")
    return text


def _hosts(text: str) -> frozenset[str]:
    hosts = [part.strip().lower() for part in text.split(",")]
    if not all(_HOST.fullmatch(host) for host in hosts):
        raise ValueError("must be host names or addresses, each with a port or without, separated by commas")
    return frozenset(hosts)


# Servers drop or refuse other characters, and of an underscore nobody could tell it from a hyphen.
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_HEADERS_OF_OTHERS = frozenset({
    "authorization", "connection", "content-length", "content-type", "cookie", "dpop", "expect", "forwarded", "host",
    "transfer-encoding", "upgrade", "x-forwarded-for",
})  # fmt: skip
_HOST = re.compile(r"(?:[a-z0-9][a-z0-9._-]*|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return text

    return parse
