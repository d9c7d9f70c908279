"""The state machine of keys: for each thing that may happen to a key set, a plan. Pure.

States and gates: keys/__init__.py and keys/policy.py.
"""

from collections.abc import Sequence

from keys.key import Key, Material, State
from keys.plan import (
    NOTHING,
    Fresh,
    GateNotMet,
    Plan,
    RotationRefused,
    Situation,
    born,
    born_pair,
    born_standby,
    changed,
    demoted,
    ended,
    one,
    promoted,
    revoked,
)
from keys.policy import Reading, absent_until, droppable_at, promotable_at


def due(at: Situation, alg: str) -> bool:
    """Whether the active key of `alg` has signed for the rotation interval, and its successor may sign by now.

    Without an active key the standby's gate alone counts. A standby that is missing is due to be missed.
    """
    active, standby = at.one(alg, State.ACTIVE), at.one(alg, State.PUBLISHED)
    waited = active is None or at.now >= (active.activated_at or 0) + at.policy.rotation_interval
    return waited and (standby is None or at.now >= promotable_at(standby, at.policy))


def check_clock(reading: Reading, *, automatic: bool, force: bool) -> None:
    """Raises GateNotMet when the clock may not be believed for what is to happen.

    A clock that fell back dates ends too early, whoever asks; one that leapt is a person's to judge.
    """
    if reading.behind and not force:
        raise GateNotMet(
            "clock_behind",
            "the clock is behind what it told before, by more than CLOCK_ERROR",
            reading.told,
            reading.now,
        )
    if reading.ahead and automatic and not force:
        raise GateNotMet(
            "clock_ahead",
            "the clock is more than two rotation intervals ahead of when these keys were last looked after; if it is "
            "right, say so once with flask keys prune --all --force --reason TEXT",
            reading.told,
        )


def initial(pairs: Sequence[tuple[Material, Material]], now: int, max_lifetime: int) -> Plan:
    """The key set of a new realm: for each algorithm an active key and its standby, born together.

    No JWKS without them was ever served, so the first rotation needs no waiting.
    """
    steps = []
    for active, standby in pairs:
        signing = {"activated_at": now, "max_lifetime": max_lifetime}
        steps.append(born(active, "generated", State.ACTIVE, now, None, **signing))
        steps.append(born(standby, "generated", State.PUBLISHED, now, None))
    return Plan(tuple(steps))


def generate(at: Situation, alg: str, fresh: Fresh, *, pending: bool) -> Plan:
    """A standby where there is none; in a realm where nothing signs at all, an active key with it. Else nothing to do.

    The first key of one more algorithm is published first and signs after its gate. With `pending`, one more key that
    nobody is shown yet.
    """
    if pending:
        return Plan((born(fresh(alg), "generated", State.PENDING, at.now, None),))
    if at.one(alg, State.PUBLISHED) is not None:
        return NOTHING
    if any(key.state is State.ACTIVE or (key.state is State.RETIRING and key.alg == alg) for key in at.keys):
        return Plan((born_standby(fresh(alg), at.policy, at.now),))
    return Plan(born_pair(at, alg, fresh))


def publish(at: Situation, newcomer: Key | Material, *, event: str, replace: bool) -> Plan:
    """A pending or imported key becomes the standby, with `replace` in the place of the present one."""
    if isinstance(newcomer, Key):
        _expect(newcomer, "publish", State.PENDING)
    standby = at.one(newcomer.alg, State.PUBLISHED)
    if standby is not None and not replace:
        raise RotationRefused(
            "standby_exists", f"{standby.kid} is the {newcomer.alg} standby; --replace puts this one in its place"
        )
    if standby is not None and standby.held:
        raise RotationRefused("held", f"the standby {standby.kid} is held; see flask keys unhold")
    gone = (ended(standby, "discarded", at.now),) if standby else ()
    absent = {"published_at": at.now, "last_absent_at": absent_until(at.now, at.policy)}
    if isinstance(newcomer, Material):
        return Plan((*gone, born(newcomer, event, State.PUBLISHED, at.now, absent["last_absent_at"])))
    return Plan((*gone, changed(newcomer, event, State.PUBLISHED, absent)))


def stage(at: Situation, newcomer: Material, *, event: str) -> Plan:
    """A key that is stored and not yet shown to anybody."""
    return Plan((born(newcomer, event, State.PENDING, at.now, None),))


def rotate(at: Situation, alg: str, fresh: Fresh, *, force: bool) -> Plan:
    """Promotes the standby of `alg`, demotes its active key, publishes the next standby.

    Raises RotationRefused without a standby, and GateNotMet when it is too early and `force` is false.
    """
    standby = at.one(alg, State.PUBLISHED)
    if standby is None:
        raise RotationRefused("no_standby", f"there is no published {alg} key to promote; see flask keys generate")
    return activate(at, standby, fresh, force=force)


def activate(at: Situation, key: Key, fresh: Fresh, *, force: bool) -> Plan:
    """`key` signs from now on: the standby, or a retiring key, which is still published (a way back).

    The active key is demoted, and a standby stands ready again. Raises as rotate does.
    """
    if key.state is State.ACTIVE:
        return NOTHING
    _expect(key, "activate", State.PUBLISHED, State.RETIRING)
    gate = promotable_at(key, at.policy)
    if at.now < gate and not force:
        what = "standby" if key.state is State.PUBLISHED else "key"
        raise GateNotMet(
            "gate_not_met",
            f"the {key.alg} {what} may not sign yet: a verifier may not have fetched it",
            at.now,
            gate,
        )
    active = at.one(key.alg, State.ACTIVE)
    steps = [demoted(active, at.policy, at.now)] if active else []
    steps.append(promoted(key, at.now, at.max_lifetime))
    if key.state is State.PUBLISHED or at.one(key.alg, State.PUBLISHED) is None:
        steps.append(born_standby(fresh(key.alg), at.policy, at.now))
    return Plan(tuple(steps), {"promotable_at": gate}, forced=at.now < gate)


def retire(at: Situation, key: Key, *, force: bool) -> Plan:
    """One step towards a key's end: an active key of an algorithm no longer in use stops signing, a retiring one
    leaves the JWKS (gate G2), one that never signed is discarded.

    Raises RotationRefused for a key that the realm signs with or needs next, and for a held one.
    """
    if key.held:
        raise RotationRefused("held", f"key {key.kid} is held; see flask keys unhold")
    if key.state is State.PENDING:
        return Plan((ended(key, "discarded", at.now),))
    if key.state is State.ACTIVE and _needed(at, key):
        raise RotationRefused("in_use", f"the realm signs with {key.alg}; flask keys rotate puts another key there")
    if key.state is State.PUBLISHED and _needed(at, key):
        raise RotationRefused(
            "in_use", f"this is the {key.alg} standby, which must stand ready; flask keys revoke puts another there"
        )
    if key.state is State.PUBLISHED:
        return Plan((ended(key, "discarded", at.now),))
    if key.state is State.ACTIVE:
        return Plan((demoted(key, at.policy, at.now),))
    _expect(key, "retire", State.RETIRING)
    gate = droppable_at(key, at.policy)
    if at.now < gate and not force:
        raise GateNotMet("gate_not_met", f"tokens of key {key.kid} may still be alive", at.now, gate)
    return Plan((ended(key, "retired", at.now),), {"droppable_at": gate}, forced=at.now < gate)


def prune(at: Situation, older_than: int = 0) -> Plan:
    """Every retiring key whose last token has died (gate G2), for at least `older_than` seconds, leaves the JWKS.

    A held key never does, whatever else is said.
    """
    gone = [
        key
        for key in at.keys
        if key.state is State.RETIRING and not key.held and at.now >= droppable_at(key, at.policy) + older_than
    ]
    gates = {"droppable_at": max(droppable_at(key, at.policy) for key in gone)} if gone else {}
    return Plan(tuple(ended(key, "retired", at.now) for key in gone), gates)


def hold(key: Key, *, held: bool) -> Plan:
    """Pins a key against prune and retire, or lets it go."""
    if key.held == held:
        return NOTHING
    if key.state in (State.RETIRED, State.REVOKED):
        raise RotationRefused("wrong_state", f"key {key.kid} is {key.state}; there is nothing left to hold")
    return Plan((changed(key, "held" if held else "unheld", key.state, {"held": held}),))


def revoke(at: Situation, key: Key, fresh: Fresh, reason: str, *, standby: bool = False) -> Plan:
    """The emergency path: `key` leaves the JWKS at once, its private half is erased, its kid never returns.

    In the place of an active key the standby signs if every verifier has it by now (gate G1), else the newest
    retiring key, which everybody holds, unless `standby` says so or there is none. A standby stands ready again.
    """
    if key.state is State.REVOKED:
        return NOTHING
    gone = revoked(key, at.now, reason)
    if key.state not in (State.ACTIVE, State.PUBLISHED) or not _needed(at, key):
        return Plan((gone,))
    if key.state is State.PUBLISHED:
        return Plan((gone, born_standby(fresh(key.alg), at.policy, at.now)))
    others = [other for other in at.keys if other.kid != key.kid and other.alg == key.alg]
    successor, note = _successor(at, others, standby)
    if successor is None:
        return Plan((gone, *born_pair(at, key.alg, fresh)), forced=True, note=_NEW_KEYS_SIGN)
    gate = promotable_at(successor, at.policy)
    steps = [gone, promoted(successor, at.now, at.max_lifetime)]
    if one([other for other in others if other is not successor], key.alg, State.PUBLISHED) is None:
        steps.append(born_standby(fresh(key.alg), at.policy, at.now))
    return Plan(tuple(steps), {"promotable_at": gate}, forced=at.now < gate, note=note)


def revoke_all(at: Situation, fresh: Fresh, reason: str) -> Plan:
    """When the store itself leaked: every key goes, the standby too, and new ones sign at once.

    Verifiers that hold an older JWKS refuse new tokens until they fetch again, knowingly.
    """
    gone = (revoked(key, at.now, reason) for key in at.keys)
    born = (step for alg in at.algs for step in born_pair(at, alg, fresh))
    return Plan((*gone, *born), forced=True, note=_NEW_KEYS_SIGN)


_NEW_KEYS_SIGN = "new keys sign at once; a verifier that does not refetch refuses new tokens until its cache runs out"


def _successor(at: Situation, others: Sequence[Key], standby: bool) -> tuple[Key | None, str | None]:
    """Which key signs instead of a revoked one, and what the operator must know of the choice."""
    ready = one(others, others[0].alg, State.PUBLISHED) if others else None
    retiring = sorted((key for key in others if key.state is State.RETIRING), key=lambda key: -(key.retiring_at or 0))
    known = next((key for key in retiring if promotable_at(key, at.policy) <= at.now), None)
    if ready is not None and (standby or promotable_at(ready, at.policy) <= at.now or known is None):
        early = promotable_at(ready, at.policy) > at.now
        return ready, "the standby is young: a verifier may refuse new tokens until it refetches" if early else None
    return known, "the standby is young, so the newest retiring key signs again" if known else None


def _needed(at: Situation, key: Key) -> bool:
    """Whether the realm signs with the algorithm of `key`, or has to as long as no key of its own may sign yet."""
    return key.alg in at.algs or not any(at.one(alg, State.ACTIVE) for alg in at.algs)


def _expect(key: Key, verb: str, *states: State) -> None:
    if key.state not in states:
        wanted = " or ".join(states)
        raise RotationRefused("wrong_state", f"key {key.kid} is {key.state}; {verb} takes a key that is {wanted}")
