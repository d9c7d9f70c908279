"""Which database URLs are taken: all of which SQLAlchemy and libpq make a connection, and no others.

What is refused may be a password in pieces, and the message is logged: it is said in fixed words that quote none.
"""

import re
from urllib.parse import parse_qsl, urlsplit

from sqlalchemy.engine import URL, make_url

TAKEN = frozenset({
    "application_name", "channel_binding", "client_encoding", "connect_timeout", "dbname", "fallback_application_name",
    "gssdelegation", "gssencmode", "gsslib", "host", "hostaddr", "keepalives", "keepalives_count", "keepalives_idle",
    "keepalives_interval", "krbsrvname", "load_balance_hosts", "max_protocol_version", "min_protocol_version",
    "options", "passfile", "port", "require_auth", "requirepeer", "ssl_max_protocol_version",
    "ssl_min_protocol_version", "sslcert", "sslcertmode", "sslcompression", "sslcrl", "sslcrldir", "sslkey", "sslmode",
    "sslnegotiation", "sslrootcert", "sslsni", "target_session_attrs", "tcp_user_timeout", "user",
})  # fmt: skip
"""What may stand in the query: parameters of libpq that hold no secret. SQLAlchemy and the driver take others there,
too, of which one turns transactions off and another names code to load."""
_WHERE = ("host", "port", "user", "dbname")
"""Those of them that say which database it is."""
_UNCLEAR = "is no URL: what is not a letter or digit in its user or password must be percent-encoded"


def parse_database_url(text: str) -> str:
    """The URL as it stands. Raises ValueError for one that is not taken."""
    dialect = text.strip().partition(":")[0]
    if dialect.lower() == "postgres":
        raise ValueError("says postgres; the name is postgresql")
    if dialect.lower() not in ("sqlite", "postgresql", "postgresql+psycopg"):
        raise ValueError("must be a sqlite or postgresql URL")
    if dialect != dialect.lower() or text != text.strip():
        raise ValueError("must begin with sqlite: or postgresql: in small letters, and have no space around it")
    if dialect == "sqlite":
        _check_sqlite(text)
    else:
        _check_postgresql(text)
    return text


def shown(url: URL) -> str:
    """What is said of it: where it is, by which name, and nothing else that may be a secret."""
    where = {name: value for name, value in url.query.items() if name in _WHERE}
    name = url.drivername
    return URL.create(name, url.username, None, url.host, url.port, url.database, where).render_as_string()


def _check_sqlite(text: str) -> None:
    if text.rstrip("/").partition(":")[2].strip("/") in ("", ":memory:"):
        raise ValueError("names no file; a database in memory would lose keys")
    if "?" in text:  # what comes after it is no part of the file's name to SQLAlchemy
        raise ValueError("names a file with a question mark in its path, which a URL cannot")
    if not _connectable(text):
        raise ValueError("must be sqlite:/// and the path of a file")


def _check_postgresql(text: str) -> None:
    try:
        parts = urlsplit(text)
        _ = parts.port
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True) if parts.query else []
    except ValueError:
        raise ValueError(_UNCLEAR) from None
    # A password that holds a delimiter (RFC 3986 section 3.2.1) ends early, and its rest would be a host or a name.
    cut = parts.netloc.count("@") > 1 or "@" in parts.path or re.search(r"[\s#]", text) is not None
    rest = "@" in parts.query and not ("@" in parts.netloc or parts.path)
    others = sorted({name for name, _ in query} - TAKEN)
    if cut or rest or (others and "@" in parts.query):
        raise ValueError(_UNCLEAR)
    if others:
        raise ValueError(f"has {', '.join(others)} in its query, which is not taken there")
    once = [name for name, _ in query if name != "host"]
    if len(set(once)) < len(once) or not _connectable(text):
        raise ValueError(_UNCLEAR)


def _connectable(text: str) -> bool:
    """Whether SQLAlchemy makes something of it, and the arguments of a connection."""
    try:
        url = make_url(text)
        url.get_dialect()().create_connect_args(url)
    except Exception:  # noqa: BLE001 - each of them quotes a piece of it
        return False
    return True
