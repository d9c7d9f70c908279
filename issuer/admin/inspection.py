"""What an administrator can see of a token: what it says, who signed it, its status, and why it does not count."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any

from sqlalchemy import Connection

from issuer import opaque, slots
from issuer.admin.change import Administration
from issuer.admin.refused import RealmNotFound
from issuer.realms import Addresses, Realm, RealmPathError, path_of_address
from issuer.slots import RangeState
from issuer.storage import opaque as opaque_store
from issuer.storage import ranges as range_store
from issuer.storage import realms as realm_store
from issuer.storage import revoked as revoked_store
from issuer.storage import tokens as token_store
from issuer.tokens import read
from issuer.tokens.read import NotActive
from keys import store as key_store
from keys.jwks import snapshot_of
from keys.key import Key, State
from realmint.protocol import jws
from realmint.protocol.jws import JWSError, Unverified


class Place(StrEnum):
    """What the range is that an index lies in."""

    OPEN = "open"
    DRAINED = "drained"
    ENDED = "ended"
    BELOW_FLOOR = "below the floor"
    NEVER_ALLOTTED = "never allotted"


_PLACES = {RangeState.OPEN: Place.OPEN, RangeState.DRAINED: Place.DRAINED, RangeState.ENDED: Place.ENDED}


@dataclass(frozen=True)
class Slot:
    """The bit of a status list that tells of a token: `position` in list number `list_number`.

    revoked: whether exactly this token was; is_set: whether the bit is, for this or any other reason.
    """

    list_number: int
    position: int
    place: Place
    revoked: bool
    is_set: bool


@dataclass(frozen=True)
class SigningKey:
    """The key that a token names. verified: whether it made the signature, in whatever state it is now."""

    kid: str
    state: State
    verified: bool


@dataclass(frozen=True)
class Inspection:
    """What was found at `now`; the text of the token is not kept.

    header, claims: None where they cannot be read, and not to be believed unless `key` verified them. realm_path: the
    realm it was held against, None where it names none here. fails: the first rule it fails, None while it is active.
    """

    now: int
    fails: str | None
    header: Mapping[str, Any] | None = None
    claims: Mapping[str, Any] | None = None
    realm_path: str | None = None
    key: SigningKey | None = None
    slot: Slot | None = None

    @property
    def authentic(self) -> bool:
        """Whether a key of the realm signed it, or it is stored here."""
        return self.header is None and self.claims is not None if self.key is None else self.key.verified


def inspect(administration: Administration, base_url: str, text: str, realm_path: str | None = None) -> Inspection:
    """A token, of whatever age and origin, held against the realm that it names, or against `realm_path`.

    By the code that introspection uses, but for what decides who may see it. Raises RealmNotFound where there is no
    `realm_path`, one of STORE_ERRORS, and SealingError.
    """
    database = administration.database
    with database.read() as connection:
        now = database.now(connection)
        if realm_path is not None and realm_store.find(connection, realm_path) is None:
            raise RealmNotFound(realm_path)
        said = _stored(connection, text, realm_path or "/", now) if opaque.is_opaque(text) else read_only(text, now)
        if said.claims is None:
            return said
        path = said.realm_path or realm_path or _named_realm(base_url, said.claims.get("iss"))
        if path is None:
            return replace(said, fails="other_issuer")
        said = replace(said, realm_path=path)
        realm = realm_store.find(connection, path)
        if realm is None:
            return replace(said, fails="realm_ended")
        known = {key.kid: key for key in key_store.history(connection, realm.id)}
        slot = _slot(connection, realm, (said.claims or {}).get("jti"))
        key = _key(known, jws.peek(text)) if said.header is not None else None
        said = replace(said, key=key, slot=slot)
        issuer = Addresses(base_url, path).issuer
        return replace(said, fails=_fails(connection, administration, realm, text, issuer, now))


def read_only(text: str, now: int) -> Inspection:
    """What a token says, held against nothing: it fails for not having been looked up."""
    try:
        token = jws.peek(text)
    except JWSError as error:
        return Inspection(now, error.reason)
    return Inspection(now, "not_looked_up", token.header, token.claims)


def _stored(connection: Connection, text: str, realm_path: str, now: int) -> Inspection:
    """What the row of an opaque token says; its text names no realm, so one has to be said."""
    realm = realm_store.find(connection, realm_path)
    row = opaque_store.find(connection, realm.id, opaque.digest(text)) if realm is not None else None
    if row is None:
        return Inspection(now, "unknown_opaque_token", realm_path=realm_path)
    try:
        return Inspection(now, None, None, jws.parse_object(row.claims.encode()), realm_path)
    except JWSError as error:
        return Inspection(now, error.reason, realm_path=realm_path)


def _named_realm(base_url: str, issuer: object) -> str | None:
    """The realm whose issuer identifier this is, if it could be one of ours."""
    root = f"{base_url}/oauth2/"
    try:
        path = path_of_address(issuer.removeprefix(root)) if isinstance(issuer, str) else None
    except RealmPathError:
        return None
    return path if path is not None and Addresses(base_url, path).issuer == issuer else None


def _key(known: Mapping[str, Key], token: Unverified) -> SigningKey | None:
    key = known.get(token.kid or "")
    if key is None:
        return None
    try:
        jws.verify(token, jws.verification_key(dict(key.public_jwk)))
    except JWSError:
        return SigningKey(key.kid, key.state, verified=False)
    return SigningKey(key.kid, key.state, verified=True)


def _slot(connection: Connection, realm: Realm, jti: object) -> Slot | None:
    """Where the token's bit is; None for a token that has none."""
    try:
        index = slots.index_of(jti if isinstance(jti, str) else "")
    except slots.NotATokenId:
        return None
    found = range_store.find(connection, realm, index)
    below = index < realm.status_floor
    place = Place.BELOW_FLOOR if below else Place.NEVER_ALLOTTED if found is None else _PLACES[found.state]
    return Slot(
        slots.list_of(index),
        slots.position_of(index),
        place,
        revoked=revoked_store.is_revoked(connection, realm.id, str(jti)),
        is_set=not realm.enabled
        or place in (Place.BELOW_FLOOR, Place.ENDED)
        or revoked_store.is_set(connection, realm.id, index),
    )


def _fails(
    connection: Connection, administration: Administration, realm: Realm, text: str, issuer: str, now: int
) -> str | None:
    """The reason that introspection would write to its log."""
    stored = key_store.load(connection, realm.id)
    published = snapshot_of(stored.keys, stored.generation, administration.sealer()).published
    try:
        find = partial(opaque_store.find, connection, realm.id)
        verified = read.verify(text, published, issuer, now, administration.policy.clock_error, find)
        state = token_store.state(connection, realm.id, verified.token_id, verified.index, verified.kid)
        read.live(verified, state)
    except NotActive as answer:
        return answer.reason
    return None
