"""What is wrong with a stored key set: the invariants I1 to I10 of the key lifecycle, looked at one by one. Pure.

I1 what was issued can be verified     I6 the JWKS is never empty and holds nothing private
I2 one active key and one standby      I7 what is stored can be opened
I3 nothing unpublished signs           I8 time moves on
I4 name and signature belong together  I9 one change at a time, each of them in the audit
I5 a name keeps its material           I10 a key outlives the longest token it may sign
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from keys.audit import Entry, broken_at
from keys.jwks import open_signer, vouched
from keys.key import ALGORITHMS, IN_JWKS, Key, State
from keys.plan import Situation, one
from keys.policy import droppable_at, promotable_at
from keys.sealing import Sealer, SealingError
from realmint.protocol import jws
from realmint.protocol.jws import JWSError

_PUBLIC = frozenset({"kty", "kid", "use", "alg", "crv", "x", "y", "n", "e"})


@dataclass(frozen=True)
class Finding:
    """One thing that wants attention. `check` is a short stable name; `kid` is None for the whole key set."""

    check: str
    message: str
    kid: str | None = None


@dataclass(frozen=True)
class History:
    """Everything that ever happened to a realm's keys: each key, dead ones too, and every row of the realm's audit.

    audit: with the hashes that are stored. audit_head: as the key set names it.
    """

    keys: Sequence[Key]
    audit: Sequence[tuple[Entry, str]]
    audit_head: tuple[int, str]

    @cached_property
    def transitions(self) -> list[Entry]:
        """The rows of the audit that tell of keys."""
        return [entry for entry, _ in self.audit if entry.of_key]


def examine(at: Situation, history: History, sealer: Sealer | None) -> list[Finding]:
    """Every finding, as things stand now and after what happened. Without a sealer nothing sealed is looked into."""
    found = [*_key_set(at, history), *_audit(at, history)]
    for alg in at.algs:
        found += _algorithm(at, history, alg)
    states = {entry.kid: entry.to_state for entry in history.transitions}
    rows = {key.kid for key in history.keys}
    found += [Finding("row_missing", "the audit knows it, and it is gone", kid) for kid in states.keys() - rows]
    for key in history.keys:
        for check in _EACH:
            found += check(key, at, history)
        if states.get(key.kid) != str(key.state):
            found.append(Finding("not_audited", f"is {key.state}, which the audit does not know of", key.kid))
        if sealer is not None and key.state in (State.PENDING, *IN_JWKS):
            found += [*_private_half(key, sealer), *_vouched_for(key, sealer)]
    return found


def _key_set(at: Situation, history: History) -> Iterator[Finding]:
    if not at.generation:
        yield Finding("no_key_set", "the realm has no key set")
    if not any(key.state in IN_JWKS for key in history.keys):
        yield Finding("empty_jwks", "there is no key to publish")
    if not any(key.state is State.ACTIVE for key in history.keys):
        yield Finding("no_active", "no key signs; see flask keys rotate")
    if at.reading.behind:
        yield Finding("clock_behind", "the clock is behind what it told before, by more than CLOCK_ERROR")
    if at.reading.ahead:
        yield Finding("clock_ahead", "the clock leapt, or nobody looked after these keys for two intervals")


def _audit(at: Situation, history: History) -> Iterator[Finding]:
    broken = broken_at(history.audit, history.audit_head)
    if broken is not None:
        yield Finding("audit_broken", f"the audit does not hold from row {broken} on")
    if {entry.generation for entry in history.transitions} != set(range(1, at.generation + 1)):
        yield Finding("generation", "the key set is not at the generation that its audit tells of")


def _algorithm(at: Situation, history: History, alg: str) -> Iterator[Finding]:
    active = [key for key in history.keys if key.alg == alg and key.state is State.ACTIVE]
    standby = [key for key in history.keys if key.alg == alg and key.state is State.PUBLISHED]
    if len(active) > 1 or len(standby) > 1:
        yield Finding("several", f"{len(active)} keys are active and {len(standby)} published for {alg}")
    if not standby:
        yield Finding("no_standby", f"no key stands ready for {alg}; see flask keys generate")
    # An algorithm that was added lately has only its standby at first; a day after its gate that is a finding.
    patience = max((promotable_at(key, at.policy) for key in standby), default=0) + 86400
    if not active and at.now > patience and any(key.state is State.ACTIVE for key in history.keys):
        yield Finding("no_active", f"no key signs {alg}; see flask keys rotate --alg {alg}")
    key = one(active, alg, State.ACTIVE)
    if key is not None and at.now > (key.activated_at or 0) + at.policy.rotation_interval * 3 // 2:
        yield Finding("over_age", "has signed for half as long again as KEY_ROTATION_INTERVAL", key.kid)
    if key is not None and key.max_lifetime < at.max_lifetime:
        yield Finding("lifetime", f"may sign tokens of {at.max_lifetime} s and counts on less", key.kid)


def _instants(key: Key, at: Situation, history: History) -> Iterator[Finding]:
    told = [key.created_at, key.published_at, key.activated_at, key.retiring_at]
    order = [instant for instant in told if instant is not None]
    needed = {State.PUBLISHED: key.published_at, State.ACTIVE: key.activated_at, State.RETIRING: key.retiring_at,
              State.RETIRED: key.retired_at, State.REVOKED: key.revoked_at}  # fmt: skip
    if order != sorted(order) or needed.get(key.state, 0) is None:
        yield Finding("instants", "its instants are missing or out of order", key.kid)
    born = next((entry.generation for entry in history.transitions if entry.kid == key.kid), None) or 1
    # Only the keys that a realm is born with were in every JWKS that it ever served.
    absent = key.last_absent_at
    if key.published_at is not None and (born > 1 if absent is None else absent < key.published_at):
        yield Finding("instants", "a JWKS without it was served later than it says", key.kid)
    if max(order) > at.now + at.policy.clock_error and key.state not in (State.RETIRED, State.REVOKED):
        yield Finding("instants", "something happened to it in the future", key.kid)


def _bounds(key: Key, at: Situation, _history: History) -> Iterator[Finding]:
    if key.state is State.RETIRING:
        # The policy may have been longer then, never shorter than none.
        least = (key.retiring_at or 0) + key.max_lifetime
        if key.max_exp_bound is None or key.not_signed_after is None or key.max_exp_bound < least:
            yield Finding("bound", "its last token would outlive it", key.kid)
        elif key.max_exp_bound != key.not_signed_after + key.max_lifetime:
            yield Finding("bound", "its bound is not that of its last signature: it would be pruned late", key.kid)
        elif at.now > droppable_at(key, at.policy) + at.policy.rotation_interval and not key.held:
            yield Finding("prune_overdue", "could have left the JWKS long ago; see flask keys prune", key.kid)
    early = key.state is State.RETIRED and (key.retired_at or 0) < (key.max_exp_bound or 0)
    if early and at.now < droppable_at(key, at.policy):
        yield Finding("orphans", "left the JWKS while its tokens may be alive", key.kid)


def _public_half(key: Key, _at: Situation, _history: History) -> Iterator[Finding]:
    if jws.PRIVATE_MEMBERS & key.public_jwk.keys():
        yield Finding("private_member", "its public half holds a private member", key.kid)
        return
    if key.alg not in ALGORITHMS:
        return  # of a later version
    if key.public_jwk.keys() - _PUBLIC:
        yield Finding("material", "its public half holds members that none of ours has", key.kid)
    try:
        thumbprint = jws.import_public(key.public_jwk).thumbprint()
    except JWSError:
        thumbprint = None
    if thumbprint != key.thumbprint or key.public_jwk.get("kid") != key.kid or key.public_jwk.get("alg") != key.alg:
        yield Finding("material", "its public half is not the one it was named for", key.kid)


def _vouched_for(key: Key, sealer: Sealer) -> Iterator[Finding]:
    if sealer.knows(key.kek_id) and not vouched(key, sealer):
        message = "its public half is not authenticated under the key-encryption key: it is published nowhere"
        yield Finding("not_authenticated", message, key.kid)


def _held(key: Key, _at: Situation, history: History) -> Iterator[Finding]:
    said = [entry.event for entry in history.transitions if entry.kid == key.kid and entry.event in _HOLDS]
    expected = bool(said) and said[-1] == "held"
    if key.held != expected:
        yield Finding("held", f"is {'held' if key.held else 'not held'}, which the audit does not know of", key.kid)


_HOLDS = ("held", "unheld", "revoked")


def _erased(key: Key, _at: Situation, _history: History) -> Iterator[Finding]:
    if key.state in (State.RETIRED, State.REVOKED) and (key.sealed is not None or key.proof is not None):
        yield Finding("not_erased", "its private half is still there", key.kid)


_EACH: tuple[Callable[[Key, Situation, History], Iterator[Finding]], ...] = (
    _instants, _bounds, _public_half, _erased, _held,
)  # fmt: skip


def _private_half(key: Key, sealer: Sealer) -> Iterator[Finding]:
    """A canary: what the stored private half signs must verify under the published one (I3, I4, I7)."""
    if key.alg not in ALGORITHMS:
        return
    try:
        signed = jws.sign({"canary": True}, open_signer(key, sealer), "canary")
    except SealingError as error:
        yield Finding("cannot_open", f"{error}", key.kid)
        return
    except ValueError:
        yield Finding("cannot_open", "what was sealed is no private key of its algorithm", key.kid)
        return
    try:
        jws.verify(jws.peek(signed), jws.verification_key(dict(key.public_jwk)))
    except JWSError:
        yield Finding("canary", "what it signs does not verify under what it publishes", key.kid)
