"""Settings: frozen, read once from the environment, all faults reported in one message."""

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from keys.policy import RotationPolicy
from keys.sealing import KeyEncryptionKey, SealingError, parse_keks, read_kek_file

PREFIX = "REALMINT_"
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
    "BASE_URL", "DATABASE_URL", "KEK_FILE", "KEK", "ALLOW_HTTP", "AUTH_FAILURES_PER_MINUTE", "TRUSTED_PROXIES",
    "LOG_LEVEL", "LOG_FORMAT", *_POLICY,
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
    base_url: str = "http://127.0.0.1:5000"
    database_url: str | None = field(default=None, repr=False)
    keks: tuple[KeyEncryptionKey, ...] | None = field(default=None, repr=False)
    rotation: RotationPolicy = field(default_factory=RotationPolicy)
    auth_failures_per_minute: int = 60
    trusted_proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
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

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], instance_path: Path) -> "Settings":
        """Settings from `environ`; an empty value counts as absent. Raises SettingsError with every fault."""
        given = {name.removeprefix(PREFIX): value for name, value in environ.items() if name.startswith(PREFIX)}
        faults = [f"{PREFIX}{name} is not a setting" for name in sorted(given.keys() - NAMES)]
        given = {name: value for name, value in given.items() if value}
        reader = _Reader(given, faults)
        policy = RotationPolicy(
            **{
                attribute: reader.read(name, _seconds, getattr(RotationPolicy, attribute))
                for name, attribute in _POLICY.items()
            }
        )
        faults += [f"{PREFIX}{fault}" for fault in policy.faults()]
        database_url = reader.read("DATABASE_URL", _database_url, None)
        settings = cls(
            instance_path=instance_path,
            base_url=reader.read("BASE_URL", _base_url(given.get("ALLOW_HTTP") == "1"), cls.base_url),
            database_url=database_url,
            keks=_keks(given, faults),
            rotation=policy,
            auth_failures_per_minute=reader.read("AUTH_FAILURES_PER_MINUTE", _count, cls.auth_failures_per_minute),
            trusted_proxies=reader.read("TRUSTED_PROXIES", _networks, ()),
            log_level=reader.read("LOG_LEVEL", _one_of(_LOG_LEVELS), cls.log_level),
            log_format=reader.read("LOG_FORMAT", _one_of(_LOG_FORMATS), cls.log_format),
        )
        reader.read("ALLOW_HTTP", _one_of(("0", "1")), "0")
        if database_url is not None and "KEK" not in given and "KEK_FILE" not in given:
            faults.append(f"{PREFIX}DATABASE_URL needs {PREFIX}KEK_FILE (or {PREFIX}KEK) beside it")
        if faults:
            raise SettingsError(faults)
        return settings


class _Reader:
    def __init__(self, given: Mapping[str, str], faults: list[str]) -> None:
        self._given = given
        self._faults = faults

    def read(self, name: str, parse: Callable[[str], Any], default: Any) -> Any:
        if name not in self._given:
            return default
        try:
            return parse(self._given[name])
        except ValueError as error:
            self._faults.append(f"{PREFIX}{name} {error}")
            return default


def _keks(given: Mapping[str, str], faults: list[str]) -> tuple[KeyEncryptionKey, ...] | None:
    keks: list[KeyEncryptionKey] = []
    try:
        if "KEK_FILE" in given:
            keks += read_kek_file(Path(given["KEK_FILE"]))
        if "KEK" in given:
            keks += parse_keks(given["KEK"])
    except SealingError as error:
        faults.append(f"{PREFIX}KEK_FILE or {PREFIX}KEK: {error}")
    return tuple(keks) or None


def _base_url(allow_http: bool) -> Callable[[str], str]:
    def parse(text: str) -> str:
        parts = urlsplit(text)
        _ = parts.port  # a ValueError of its own
        if parts.scheme not in ("http", "https") or not parts.hostname or not text.isascii() or not text.isprintable():
            raise ValueError("must be an http or https URL")
        if parts.query or parts.fragment or parts.username or parts.password or "?" in text or "#" in text:
            raise ValueError("has no query, fragment, user or password")
        if text.endswith("/") or "//" in parts.path or "%" in parts.path or "/." in parts.path:
            raise ValueError("has a plain path and no trailing slash")
        if parts.scheme == "http" and not allow_http and not is_loopback(parts.hostname):
            raise ValueError(f"must be https unless its host is loopback or {PREFIX}ALLOW_HTTP=1")
        return text

    return parse


def is_loopback(host: str) -> bool:
    """Whether a host name is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _database_url(text: str) -> str:
    parts = urlsplit(text)
    _ = parts.port  # a ValueError of its own
    dialect = parts.scheme.removesuffix("+psycopg")
    if dialect == "postgres":
        raise ValueError("says postgres; the name is postgresql")
    if dialect not in ("sqlite", "postgresql"):
        raise ValueError("must be a sqlite or postgresql URL")
    if dialect == "sqlite" and text.rstrip("/").partition(":")[2].strip("/") in ("", ":memory:"):
        raise ValueError("names no file; a database in memory would lose keys")
    return text


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


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return text

    return parse
