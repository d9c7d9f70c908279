"""What an administrator does to the keys of a realm. Each change is audited, recorded and, after its commit, logged.

All of them take the administration, the realm's path and the actor, and have in common what they raise:
RealmNotFound, RotationRefused, NoSuchKey, LostRace when another process was first, SealingError and STORE_ERRORS. With
`rehearse` everything is checked and nothing stays. `kid` may be the start of a key's name, as keys/names.py has it.
"""

from sqlalchemy import Connection

from issuer import log
from issuer.admin.change import Administration, find_realm
from issuer.realms import Realm
from issuer.storage.changes import record_change
from keys import change, rotation, store
from keys.audit import Actor
from keys.change import Ask, Decide, Fresh, Outcome, Owner
from keys.names import Names
from keys.plan import NOTHING, GateNotMet, Plan, RotationRefused, Situation, utc


def owner_of(realm: Realm) -> Owner:
    """What the keys of a realm need to know of it."""
    return Owner(realm.id, realm.path, realm.signing_algs, realm.rsa_bits, realm.max_access_token_lifetime)


def look(connection: Connection, administration: Administration, realm: Realm) -> Situation:
    """The keys of a realm as they stand in a transaction, and the time."""
    return change.look(connection, owner_of(realm), administration.policy, administration.database.now(connection))


def generate(
    administration: Administration, path: str, actor: Actor, *,
    alg: str | None = None, pending: bool = False, rehearse: bool = False,
) -> Outcome:  # fmt: skip
    """A standby where there is none, of `alg` or each algorithm; with `pending`, one more key that nobody is shown."""

    def decide(at: Situation, names: Names, fresh: Fresh) -> Plan:
        plan = NOTHING
        for name in _algs(at, names, alg):
            plan += rotation.generate(at, name, fresh, pending=pending)
        return plan

    return carry_out(administration, path, decide, actor, Ask(), rehearse=rehearse)


def publish(
    administration: Administration, path: str, actor: Actor, kid: str, *,
    replace: bool = False, rehearse: bool = False,
) -> Outcome:  # fmt: skip
    """A pending key becomes the standby, with `replace` in the place of the present one."""

    def decide(at: Situation, names: Names, _: Fresh) -> Plan:
        return rotation.publish(at, names.find(kid), event="published", replace=replace)

    return carry_out(administration, path, decide, actor, Ask(), rehearse=rehearse)


def rotate(
    administration: Administration, path: str, actor: Actor, *,
    alg: str | None = None, if_due: bool = False, force: bool = False, expect_generation: int | None = None,
    rehearse: bool = False,
) -> Outcome:  # fmt: skip
    """Promotes the standby of `alg` or of each algorithm, demotes the active key, publishes the next standby.

    if_due: only where the active key has signed for the rotation interval; then it is a routine, which gives way to
    other processes and does not believe a clock that leapt. A standby that may not sign yet is GateNotMet when nothing
    else is to do, and a note otherwise.
    """

    def decide(at: Situation, names: Names, fresh: Fresh) -> Plan:
        plan, early = NOTHING, list[GateNotMet]()
        for name in _algs(at, names, alg):
            if if_due and not rotation.due(at, name):
                continue
            try:
                plan += rotation.rotate(at, name, fresh, force=force)
            except GateNotMet as error:
                early.append(error)
        if early and not plan.steps:
            raise early[0]
        for young in early:  # a standby of one algorithm that may not sign yet holds no other up
            plan += Plan(note=f"{young}; from {utc(young.retry_at or 0)} on")
        return plan

    ask = Ask(force=force, automatic=if_due, routine=if_due, expect_generation=expect_generation)
    return carry_out(administration, path, decide, actor, ask, rehearse=rehearse)


def activate(
    administration: Administration, path: str, actor: Actor, kid: str, *,
    force: bool = False, rehearse: bool = False,
) -> Outcome:  # fmt: skip
    """The standby or a retiring key signs from now on."""

    def decide(at: Situation, names: Names, fresh: Fresh) -> Plan:
        return rotation.activate(at, names.find(kid), fresh, force=force)

    return carry_out(administration, path, decide, actor, Ask(force=force), rehearse=rehearse)


def retire(
    administration: Administration, path: str, actor: Actor, kid: str, *,
    force: bool = False, rehearse: bool = False,
) -> Outcome:  # fmt: skip
    """One step towards a key's end."""

    def decide(at: Situation, names: Names, _: Fresh) -> Plan:
        return rotation.retire(at, names.find(kid), force=force)

    ask = Ask(force=force, automatic=True)
    return carry_out(administration, path, decide, actor, ask, rehearse=rehearse)


def hold(
    administration: Administration, path: str, actor: Actor, kid: str, *,
    held: bool, rehearse: bool = False,
) -> Outcome:  # fmt: skip
    """Pins a key against prune and retire, or lets it go."""

    def decide(_at: Situation, names: Names, _: Fresh) -> Plan:
        return rotation.hold(names.find(kid), held=held)

    return carry_out(administration, path, decide, actor, Ask(clock_matters=False), rehearse=rehearse)


def prune(
    administration: Administration, path: str, actor: Actor, *,
    older_than: int = 0, believe: bool = False, rehearse: bool = False,
) -> Outcome:  # fmt: skip
    """Retiring keys whose last token has died, for `older_than` seconds at least, leave the JWKS.

    believe: the clock is right, though it leapt or fell back; the actor says why.
    """

    def decide(at: Situation, _names: Names, _: Fresh) -> Plan:
        return rotation.prune(at, older_than)

    ask = Ask(force=believe, automatic=True, believe=believe, routine=True)
    return carry_out(administration, path, decide, actor, ask, rehearse=rehearse)


def revoke(
    administration: Administration, path: str, actor: Actor, kid: str, *,
    standby: bool = False, rehearse: bool = False,
) -> Outcome:  # fmt: skip
    """A key leaves the JWKS at once, its private half erased, its name blocked; the actor says why.

    standby: that one signs in its place, even if not every verifier holds it yet.
    """
    reason = _reason(actor)

    def decide(at: Situation, names: Names, fresh: Fresh) -> Plan:
        return rotation.revoke(at, names.find(kid), fresh, reason, standby=standby)

    return carry_out(administration, path, decide, actor, Ask(clock_matters=False), rehearse=rehearse)


def revoke_all(administration: Administration, path: str, actor: Actor, *, rehearse: bool = False) -> Outcome:
    """Every key of the realm goes so, when the store itself leaked, and new ones sign at once; the actor says why."""
    reason = _reason(actor)

    def decide(at: Situation, _names: Names, fresh: Fresh) -> Plan:
        return rotation.revoke_all(at, fresh, reason)

    return carry_out(administration, path, decide, actor, Ask(clock_matters=False), rehearse=rehearse)


def _reason(actor: Actor) -> str:
    if not actor.reason:
        raise RotationRefused("reason_missing", "revoking a key needs a reason, for the audit")
    return actor.reason


def observe(administration: Administration) -> None:
    """Leaves a mark of the time at which a routine ran, by which a clock that leaps or falls back is noticed."""
    database = administration.database
    with database.change() as connection:
        store.observe(connection, database.now(connection), 2 * administration.policy.rotation_interval)


def carry_out(
    administration: Administration, path: str, decide: Decide, actor: Actor, ask: Ask, *,
    rehearse: bool,
) -> Outcome:  # fmt: skip
    """One change of the keys of the realm at `path`: told to every process in its transaction, and to the log after."""

    def find(connection: Connection) -> Owner:
        return owner_of(find_realm(connection, path))

    outcome = change.carry_out(
        administration.database, administration.sealer(), administration.policy, find, decide, actor, ask,
        lambda connection, owner: record_change(connection, owner.id), rehearse=rehearse,
    )  # fmt: skip
    if not rehearse:
        _log(outcome, actor, believed=ask.believe)
    return outcome


def _log(outcome: Outcome, actor: Actor, *, believed: bool) -> None:
    path = outcome.owner.path
    if believed:
        log.event("clock_believed", realm=path, actor=actor.name, reason=actor.reason)
    forced = True if outcome.plan.forced else None
    for step in outcome.plan.steps:
        named = {"kid": step.kid, "alg": step.alg}
        log.event(f"key_{step.event}", realm=path, **named, actor=actor.name, reason=actor.reason, forced=forced)


def _algs(at: Situation, names: Names, alg: str | None) -> tuple[str, ...]:
    """The algorithms a change is about. Raises RotationRefused for one that the realm does not sign with."""
    if alg is not None and alg not in at.algs:
        raise RotationRefused("alg_not_used", not_signed_with(names.realm_path, alg))
    return (alg,) if alg else tuple(at.algs)


def not_signed_with(path: str, alg: str) -> str:
    """What is said of an algorithm that a realm does not sign with."""
    return f"{path} does not sign with {alg}; see flask realms update --alg"
