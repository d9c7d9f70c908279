"""Which credentials of a realm want attention, and why."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from issuer.admin.change import Administration, find_realm
from issuer.admin.clients import last_sign, names_no_audience
from issuer.clients import MARKERS, Client
from issuer.credentials import Credential, PublicKey
from issuer.realms import Realm
from issuer.secrets import Secret
from issuer.storage import clients as client_store
from issuer.storage import scope_marks

AnyCredential = Secret | Credential
OfUse = Callable[[Client], Sequence[AnyCredential]]
"""The credentials of a client that its method has use for."""
DAY = 86400
EXPIRING_SOON = 14 * DAY
UNUSED = 30 * DAY
"""Seconds without use that are worth a word; what is younger has not had the time to be used."""
OLD = 365 * DAY


class Kind(StrEnum):
    """What a finding is about, for scripts."""

    NO_LIVE_SECRET = "no_live_secret"  # noqa: S105 - what there is not
    EXPIRING = "expiring"
    NEVER_USED = "never_used"
    UNUSED = "unused"
    OLD = "old"
    SCOPES_NEVER_REQUESTED = "scopes_never_requested"
    NO_AUDIENCE = "no_audience"


@dataclass(frozen=True)
class Finding:
    """What wants attention; `finding` says it to people. secret_id: of the secret it is about, credential_id: of the
    credential of another kind, if it is about one."""

    client_id: str
    kind: Kind
    finding: str
    secret_id: str | None = None
    credential_id: str | None = None
    scopes: tuple[str, ...] = ()


def of_realm(administration: Administration, realm_path: str, of_use: OfUse) -> list[Finding]:
    """Every finding, by client, the most urgent of each first. Raises RealmNotFound.

    Last use is marked some seconds late, that of a scope value for each day; a process that is killed may lose a mark.
    """
    with administration.database.read() as connection:
        realm = find_realm(connection, realm_path)
        now = administration.database.now(connection)
        found = client_store.every_with_credentials(connection, realm.id)
        requested = scope_marks.of_realm(connection, realm.id)
    return [
        each
        for client in found
        for each in findings(realm, client, of_use(client), requested.get(client.id, set()), now)
    ]


def findings(
    realm: Realm, client: Client, credentials: Sequence[AnyCredential], requested: set[str], now: int
) -> Iterator[Finding]:
    """What there is to say of one client and its credentials. requested: the scope values that it ever got."""
    live = [each for each in credentials if each.live(now)]
    yield from _endings(client, live, now)
    if last_sign(client) <= now - UNUSED:
        if client.last_used_at is None:
            yield Finding(client.client_id, Kind.NEVER_USED, "never used, for 30 days or more")
        else:
            yield Finding(client.client_id, Kind.UNUSED, "not used for 30 days")
    for each in live:
        yield from _of_credential(client, each, now, alone=len(live) == 1)
    never = tuple(sorted(scope for scope in client.scopes - MARKERS - requested if len(scope) <= scope_marks.LONGEST))
    if never and client.last_used_at is not None and client.created_at <= now - UNUSED:
        text = f"scopes never requested: {' '.join(never)}"
        yield Finding(client.client_id, Kind.SCOPES_NEVER_REQUESTED, text, scopes=never)
    if names_no_audience(realm, client):
        yield Finding(client.client_id, Kind.NO_AUDIENCE, "neither it nor its realm names an audience")


def _endings(client: Client, live: list[AnyCredential], now: int) -> Iterator[Finding]:
    """Whether it can authenticate, and goes on to: what ends beside one that stays is a rotation under way."""
    if not live:
        what = "secret" if client.auth_method.startswith("client_secret") else "credential"
        yield Finding(client.client_id, Kind.NO_LIVE_SECRET, f"has no live {what}")
        return
    last = max(live, key=lambda each: (each.expires_at is None, each.expires_at or 0))
    if last.expires_at is not None and last.expires_at < now + EXPIRING_SOON:
        what = "secret" if isinstance(last, Secret) else "credential"
        text = f"its last {what} expires within 14 days"
        yield _about(client, last, Kind.EXPIRING, text)


def _of_credential(client: Client, one: AnyCredential, now: int, *, alone: bool) -> Iterator[Finding]:
    name = f"secret {one.secret_id}" if isinstance(one, Secret) else f"credential {one.credential_id}"
    if not alone and (one.last_used_at or one.created_at) <= now - UNUSED:
        # Of the only one its client says it.
        kind, how = (Kind.NEVER_USED, "never") if one.last_used_at is None else (Kind.UNUSED, "not")
        yield _about(client, one, kind, f"{name} {how} used for 30 days")
    if one.created_at <= now - OLD and (isinstance(one, Secret) or isinstance(one.proof, PublicKey)):
        # Who is trusted, and where keys are, may stay so for years.
        yield _about(client, one, Kind.OLD, f"{name} is over a year old")


def _about(client: Client, one: AnyCredential, kind: Kind, finding: str) -> Finding:
    if isinstance(one, Secret):
        return Finding(client.client_id, kind, finding, secret_id=one.secret_id)
    return Finding(client.client_id, kind, finding, credential_id=one.credential_id)
