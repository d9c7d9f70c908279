"""What processes answer, held against the model of tests/support/slots_model.py: at introspection, in lists, in bits."""

import base64
import zlib
from collections.abc import Collection
from functools import partial

from sqlalchemy import Connection, select

from issuer import opaque
from issuer.opaque import OpaqueToken
from issuer.slots import address_of, list_of, position_of
from issuer.storage import opaque as opaque_store
from issuer.storage import ranges, revoked
from issuer.storage import realms as realm_store
from issuer.storage.tables import restore_pending
from issuer.tokens import read
from tests.support.issuer import BASE_URL, Caller, claims
from tests.support.slots_model import LEEWAY, Token, Wrong
from tests.support.slots_nodes import Backup, Node, State
from tests.support.slots_world import AUDITOR, SlotsWorld


def check(world: SlotsWorld, process: Node, token: Token) -> None:
    """What a process answers of a token is what the model says; one that has not heard of a key may say no."""
    active = _active(world, process, token)
    if active is None:
        return
    if active and world.model.must_be_dead(token, world.clock.now):
        raise Wrong(f"a token of {token.secret} lives")
    heard = process.polled_at >= world.model.remade[token.realm.path]
    if not active and heard and world.model.must_live(token, world.clock.now):
        raise Wrong(f"a token of {token.secret} is dead")


def _active(world: SlotsWorld, process: Node, token: Token) -> bool | None:
    if world.rules.state is not None and not process.stopped:
        return _active_by(world.rules.state, process, token)
    realm = world.model.realms.get(token.realm.path)
    if realm is None:
        return None
    response = process.issuer.introspect(Caller(AUDITOR, realm.auditor, realm.path), token.text)
    if response.status_code != 200:
        assert process.stopped or process.polled_at < world.model.remade[realm.path], response.text
        return None
    return bool(response.json["active"])


def _active_by(state: State, process: Node, token: Token) -> bool | None:
    """The same by another rule than the issuer's."""
    view = process.issuer.runtime.registry.realm(token.realm.path)
    if view is None:
        return None
    with process.issuer.runtime.database.read() as connection:
        find = partial(_stored, connection, view.realm.id)
        now = process.issuer.clock.now
        try:
            verified = read.verify(token.text, view.keys.published, view.addresses.issuer, now, LEEWAY, find)
            jti, index, client_id = verified.token_id, verified.index, verified.client_id
            read.live(verified, state(connection, view.realm.id, jti, index, verified.kid, client_id))
        except read.NotActive:
            return False
    return True


def _stored(connection: Connection, realm_id: int, digest: bytes) -> OpaqueToken | None:
    return opaque_store.find(connection, realm_id, digest)


def check_lists(world: SlotsWorld, process: Node) -> None:
    """What a process serves tells of every token that was killed before it polled, and of nobody else.

    Of one that had expired, and a late clock's leeway besides, nobody asks any more.
    """
    arrays: dict[tuple[str, int], bytes | None] = {}
    for token in world.model.tokens if not process.stopped else ():
        where = (token.realm.path, list_of(token.index))
        if where not in arrays:
            arrays[where] = _served(process, *where)
        array, wanted = arrays[where], world.model.latest < token.exp + LEEWAY
        position = position_of(token.index)
        if array == _UNAVAILABLE:
            continue
        if array is None:
            if wanted and token.listed:
                raise Wrong(f"the list of {token.secret} is gone before its last token")
        elif array[position // 8] >> position % 8 & 1:
            _may_be_set(world, token)
        elif wanted and world.model.killed(token, by=process.polled_at):
            raise Wrong(f"a list tells not that a token of {token.secret} is dead")
    if process.has_looked:  # for a list of which it had not heard
        process.poll(world)


_UNAVAILABLE = b""
"""In the place of a list: a process has just found that history went back, and it is to be seen to."""


def _may_be_set(world: SlotsWorld, token: Token) -> None:
    """For a token that nobody killed, only where one of its credential that was killed has the same index."""
    model = world.model
    if not model.perhaps_killed(token):
        shared = [other for other in model.tokens if other.index == token.index and other.secret is token.secret]
        if not any(model.perhaps_killed(other) for other in shared):
            raise Wrong(f"a list tells that a token of {token.secret} is dead")


def check_bits(world: SlotsWorld) -> None:
    """The same of what is stored."""
    with world.operator.runtime.database.read() as connection:
        for token in world.model.tokens:
            is_set = _bit(connection, token.realm.path, token.index)
            if world.model.killed(token) and not is_set and world.model.latest < token.exp + LEEWAY:
                raise Wrong(f"no list tells that a token of {token.secret} is dead")
            if is_set and token.realm.enabled and world.model.latest < token.exp:
                _may_be_set(world, token)


def _served(process: Node, path: str, number: int) -> bytes | None:
    """The bits of a list, as a process serves it now; None for 404."""
    issuer = process.issuer
    uri = address_of(BASE_URL + issuer.address("", path), number)
    response = issuer.http.get(uri.removeprefix(BASE_URL))
    if response.status_code == 404:
        return None
    if response.status_code == 503 and process.issuer.runtime.registry.measures().restore_pending:
        return _UNAVAILABLE
    assert response.status_code == 200, response.text
    said = claims(response.text)
    assert said["sub"] == uri
    packed = said["status_list"]["lst"]
    return zlib.decompress(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))


def _bit(connection: Connection, path: str, index: int) -> bool:
    """As a list would tell it, from the statements that lists are made of."""
    realm = realm_store.find(connection, path)
    if realm is None or not realm.enabled or index < realm.status_floor:
        return True
    number = list_of(index)
    within = [
        each
        for each in ranges.in_list(connection, realm, number)
        if realm.status_floor + each.offset <= index < realm.status_floor + each.offset + each.length
    ]
    if not within or within[0].ended_at is not None:
        return True
    return index in {each.index for each in revoked.in_list(connection, realm.id, number)}


def older_backup(world: SlotsWorld, backup: Backup, looking: Collection[int]) -> None:
    """An older backup takes the place of the database; some processes look, the rest go on; then it is seen to.

    Who looks and had heard of what is lost now issues nothing, introspects nothing and serves no list, and so does who
    looks after it. What the rest issue meanwhile is dead once somebody has seen to it.
    """
    known = [*world.secrets()]
    world.put_back(backup)
    known += world.secrets()
    noticed = False
    for number, process in enumerate(world.processes):
        if number in looking:
            noticed = noticed or process.generation > backup.generation
            if process.look() is noticed:
                raise Wrong(
                    f"a process {'goes on' if noticed else 'stops'} though what it knew is {'' if noticed else 'not '}lost"
                )
    _nothing_from(world, [process for process in world.processes if process.stopped])
    for number, process in enumerate(world.processes):
        if not process.stopped:
            # It may hold what it reads of the backup, or read it again. What it held before it holds, unless it looked.
            read = {(secret.client.realm.path, secret.client.name) for secret in known} - process.read_at.keys()
            process.unsure |= read | (process.read_at.keys() if number in looking else set())
            for secret in known[number::3]:
                world.issue(process, secret)
    world.after_restore()
    with world.operator.runtime.database.read() as connection:
        assert connection.execute(select(restore_pending)).first() is None


def _nothing_from(world: SlotsWorld, stopped: Collection[Node]) -> None:
    for process in stopped:
        for realm in world.model.realms.values():
            caller = Caller(AUDITOR, realm.auditor, realm.path)
            answers = [process.issuer.token_response(caller), process.issuer.introspect(caller, opaque.generate())]
            lists = process.issuer.http.get(process.issuer.address("/status", realm.path))
            # It may hold that this realm was deleted.
            if {answer.status_code for answer in answers} != {503} or lists.status_code not in {503, 404}:
                raise Wrong("a process that knows that history went back answers")
