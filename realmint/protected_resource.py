"""An API's own identifier and where its metadata is (RFC 9728)."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

METADATA_PATH = "/.well-known/oauth-protected-resource"


@dataclass(frozen=True)
class Resource:
    """An absolute http or https URL without a fragment, and its parts; `path` is empty for `/`."""

    text: str
    origin: str
    path: str


def resource_of(audience: Sequence[str], said: str | None) -> Resource | None:
    """What `said` names, else the first audience that is a URL, else None.

    Raises ValueError when `said` is no absolute http or https URL without query and fragment.
    """
    if said is not None:
        found = _parse(said)
        if found is None:
            raise ValueError("resource must be an http or https URL without query and fragment")
        return found
    return next((found for value in audience if (found := _parse(value))), None)


def metadata_url(resource: Resource) -> str:
    """Its metadata: the well-known part goes between host and path (RFC 9728 section 3.1)."""
    return resource.origin + METADATA_PATH + resource.path


def _parse(text: str) -> Resource | None:
    try:
        parts = urlsplit(text)
        _ = parts.port  # a ValueError of its own
    except ValueError:
        return None
    plain = text.isascii() and text.isprintable() and not {" ", '"', "\\", "<", ">"} & set(text)
    if not plain or parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        return None
    if "?" in text or "#" in text:
        return None
    return Resource(text, f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/"))
