"""Which paths need no token where everything else does. Pure."""

from collections.abc import Iterable

_PLAIN = ("%", "\\", "//", "?", "#", "\ufffd")
"""What no open path holds: it may mean another path to whoever reads it next. A path is decoded; a `%` in it was sent
as %25, and U+FFFD stands for what was no UTF-8."""

_ENCODED = ("%2f", "%5c", "%2e", "%25", "%00")


class OpenPaths:
    """Paths as the application routes them, decoded and below where it is mounted, compared exactly.

    `/healthz` is that path alone: not `/healthz/`, `//healthz` or `/Healthz`. `/static/*` is whatever is below
    `/static/`, unless it could mean something that is not. Raises TypeError for a string in place of a list, and
    ValueError for what is no such path, and for `/*`, which would open everything.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        if isinstance(patterns, str | bytes):
            raise TypeError("open_paths is a list of paths")
        exact: set[str] = set()
        below: set[str] = set()
        for pattern in patterns:
            path = pattern.removesuffix("*")
            if not _is_plain(path) or "*" in path or pattern == "/*" or (path != pattern and not path.endswith("/")):
                raise ValueError(f"{pattern!r} is no path like '/healthz', nor like '/static/*' for what is below one")
            (exact if path == pattern else below).add(path)
        self._exact = frozenset(exact)
        self._below = tuple(sorted(below))

    def is_open(self, path: str, target: str | None = None) -> bool:
        """Whether `path` needs no token. target: the path as it was sent, where the server says so."""
        if target is not None:
            sent = target.partition("?")[0].lower()
            if any(sign in sent for sign in _ENCODED):
                return False
        if path in self._exact:
            return True
        return path.startswith(self._below) and path not in self._below and _is_plain(path)


def _is_plain(path: str) -> bool:
    """Whether it is a path that nobody would read as another one."""
    if not path.startswith("/") or not path.isprintable() or any(sign in path for sign in _PLAIN):
        return False
    return not any(segment.partition(";")[0] in {".", ".."} for segment in path.split("/"))
