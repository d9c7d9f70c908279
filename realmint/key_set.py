"""One good answer about an issuer's keys (RFC 7517), and what came and went since the one before. Pure.

A set takes the place of the one before as a whole: no key outlives the first good answer without it. What stayed as it
was stays the same object, by which others know that what they concluded from it still holds.
"""

from collections.abc import Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Any, NamedTuple

from realmint.fetching import Answer, Event, Fetch, FetchError, Flight
from realmint.issuer_clock import dated
from realmint.key_policy import KeyPolicy
from realmint.messages import TransportError
from realmint.protocol.jws import MAX_KID, JWSError, VerificationKey, parse_object, verification_key

TOMBSTONES = 64
TOMBSTONE_LIFE = 86400.0
"""Seconds for which the name of a key that went is remembered, where the issuer does not publish it again."""

TOLD_APART = 1.0
"""Least seconds between two fetches because the issuer told of other keys."""
ALL_HEARD = 10.0
"""Seconds until every process of an issuer, and every cache before it, has heard of a change of its keys."""

Keys = Mapping[str, VerificationKey | None]
"""Keys by name. A name that came twice maps to None: it is refused, the rest is kept."""
_NONE_GONE: Mapping[str, float] = MappingProxyType({})


class Document(NamedTuple):
    """What a JWKS says. names: of all that it publishes. left_out: how many of them cannot be used."""

    keys: Keys
    names: frozenset[str]
    left_out: int


class HeldKeys(NamedTuple):
    """One good answer, confirmed at `confirmed_at` by `flight` and fresh for `ttl` seconds from then.

    dated: when the issuer wrote the answer, by its own clock, in seconds since the epoch; None where that is not known.
    gone: names of keys that were removed, and when.
    """

    document: Document
    address: str
    etag: str | None
    confirmed_at: float
    ttl: float
    flight: Flight
    dated: int | None = None
    gone: Mapping[str, float] = _NONE_GONE

    @property
    def by_kid(self) -> Keys:
        return self.document.keys

    def is_gone(self, kid: str, now: float) -> bool:
        """Whether the key of this name was published once and is no more."""
        return now - self.gone.get(kid, float("-inf")) < TOMBSTONE_LIFE

    def is_younger(self, issued_at: float | None, leeway: float) -> bool:
        """Whether the set is from after a token: the token's key would be in it, had it been published first."""
        return issued_at is not None and self.dated is not None and issued_at < self.dated - leeway


class Told(NamedTuple):
    """The names of its keys as the issuer told them elsewhere, when to ask, and how many flights there were before."""

    kids: frozenset[str]
    at: float
    flights: int

    def due_at(self, held: HeldKeys) -> float:
        """When to fetch because other keys than those held were told of."""
        if self.kids == held.document.names:
            return float("inf")
        if held.flight.number < self.flights:  # asked for before
            return self.at
        # It may have come from a process that had not heard.
        return self.at + ALL_HEARD if held.confirmed_at < self.at + ALL_HEARD else float("inf")


class Changes(NamedTuple):
    """What a set has that the one before had not, and the other way round. A key that changed is in both."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    replaced: bool
    """Whether nothing stayed of what there was."""

    def __bool__(self) -> bool:
        return bool(self.added or self.removed)

    def events(self, issuer: str, document: Document, source: int) -> tuple[Event, ...]:
        """What watchers hear; `source`: the status of the answer."""
        fields: dict[str, Any] = {
            "issuer": issuer, "hash": digest(document.keys), "added": list(self.added), "removed": list(self.removed),
            "left_out": document.left_out, "from": source,
        }  # fmt: skip
        removed = [Event("key.removed", {"issuer": issuer, "kid": kid}) for kid in self.removed]
        replaced = [Event("keys.replaced", {"issuer": issuer, "hash": fields["hash"]})] if self.replaced else []
        return (Event("keys.refreshed", fields), *removed, *replaced)


def received(
    before: HeldKeys | None, fetch: Fetch, answer: Answer, now: float, policy: KeyPolicy
) -> tuple[HeldKeys, Changes, int]:
    """The set after an answer, what changed, and the answer's status. Raises FetchError for an answer of no use."""
    if isinstance(answer, TransportError):
        raise FetchError(str(answer))
    if answer.status == 304 and before is not None and "If-None-Match" in fetch.request.headers:
        document, etag = before.document, before.etag
    elif answer.status == 200:
        document, etag = read_keys(answer.body), answer.etag
    else:
        raise FetchError(f"status {answer.status}")
    document, changes = compared(before.by_kid if before is not None else {}, document)
    gone = buried(before.gone if before is not None else {}, document, changes, now)
    ttl = policy.lifetime(answer.headers)
    return (
        HeldKeys(document, fetch.request.url, etag, now, ttl, fetch.flight, dated(answer), gone),
        changes,
        answer.status,
    )


def compared(before: Keys, document: Document) -> tuple[Document, Changes]:
    """The document with the very keys of `before` where they are the same (RFC 7638), and what changed."""
    kept = {kid: before.get(kid) if before.get(kid) == key else key for kid, key in document.keys.items()}
    added = sorted(kid for kid, key in kept.items() if kid not in before or before[kid] is not key)
    removed = sorted(kid for kid, key in before.items() if key is not None and kept.get(kid) is not key)
    stayed = any(key is not None and kept.get(kid) is key for kid, key in before.items())
    changes = Changes(tuple(added), tuple(removed), bool(before) and not stayed)
    return Document(kept, document.names, document.left_out), changes


def buried(gone: Mapping[str, float], document: Document, changes: Changes, now: float) -> Mapping[str, float]:
    """The names to remember: the newest that went. What is published again is the issuer's own word for it."""
    names = {**gone, **dict.fromkeys(changes.removed, now)}
    left = {kid: at for kid, at in names.items() if kid not in document.keys and now - at < TOMBSTONE_LIFE}
    return dict(sorted(left.items(), key=lambda item: item[1])[-TOMBSTONES:])


def read_keys(body: bytes) -> Document:
    """A JWKS (RFC 7517 section 5); keys that cannot be used are left out. Raises FetchError."""
    try:
        entries = parse_object(body).get("keys")
    except JWSError:
        raise FetchError("JWKS is not JSON") from None
    if not isinstance(entries, list):
        raise FetchError("JWKS has no keys")
    keys: dict[str, VerificationKey | None] = {}
    names: set[str] = set()
    left_out = 0
    for entry in entries:
        kid = entry.get("kid") if isinstance(entry, dict) else None
        if isinstance(kid, str) and len(kid) <= MAX_KID:
            names.add(kid)
        try:
            key = verification_key(entry)
        except JWSError:
            left_out += 1
            continue
        keys[key.kid] = None if key.kid in keys else key
    if not keys:
        raise FetchError("JWKS has no usable key")
    return Document(keys, frozenset(names), left_out)


def digest(keys: Keys) -> str:
    """A short text that is another for another set."""
    texts = sorted(f"{kid} {key.thumbprint if key is not None else ''}" for kid, key in keys.items())
    return sha256("\n".join(texts).encode("utf-8", "backslashreplace")).hexdigest()[:16]
