"""What is wrong with a stored key set: the invariants I1 to I10 of the key lifecycle, looked at one by one. Pure.

I1 what was issued can be verified     I6 the JWKS is never empty and holds nothing private
I2 one active key and one standby      I7 what is stored can be opened
I3 nothing unpublished signs           I8 time moves on
I4 name and signature belong together  I9 one change at a time, each of them in the audit
I5 a name keeps its material           I10 a key outlives the longest token it may sign
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from keys.audit import Entry, broken_at
from keys.jwks import open_signer, vouched
from keys.key import ALGORITHMS, IN_JWKS, Key, State
from keys.plan import one
from keys.policy import Reading, RotationPolicy, droppable_at, promotable_at
from keys.sealing import Sealer, SealingError
from realmint.protocol import jws
from realmint.protocol.jws import JWSError

_PUBLIC = frozenset({"kty", "kid", "use", "alg", "crv", "x", "y", "n", "e"})
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


@dataclass(frozen=True)
class Finding:
    """One thing that wants attention. `check` is a short stable name; `kid` is None for the whole key set."""

    check: str
    message: str
    kid: str | None = None


@dataclass(frozen=True)
class Patient:
    """A realm's key set with everything that ever happened to it. `max_lifetime` in seconds, as the realm has it."""

    algs: tuple[str, ...]
    max_lifetime: int
    keys: Sequence[Key]
    audit: Sequence[tuple[Entry, str]]
    audit_head: tuple[int, str]
    generation: int
    exists: bool


def examine(patient: Patient, sealer: Sealer | None, policy: RotationPolicy, reading: Reading) -> list[Finding]:
    """Every finding. Without a sealer nothing sealed is looked into."""
    found = [*_key_set(patient, reading), *_audit(patient)]
    for alg in patient.algs:
        found += _algorithm(patient, alg, policy, reading)
    states = {entry.kid: entry.to_state for entry, _ in patient.audit}
    rows = {key.kid for key in patient.keys}
    found += [Finding("row_missing", "the audit knows it, and it is gone", kid) for kid in states.keys() - rows]
    for key in patient.keys:
        for check in _EACH:
            found += check(key, patient, policy, reading)
        if states.get(key.kid) != str(key.state):
            found.append(Finding("not_audited", f"is {key.state}, which the audit does not know of", key.kid))
        if sealer is not None and key.state in (State.PENDING, *IN_JWKS):
            found += [*_private_half(key, sealer), *_vouched_for(key, sealer)]
    return found


def _key_set(patient: Patient, reading: Reading) -> Iterator[Finding]:
    if not patient.exists:
        yield Finding("no_key_set", "the realm has no key set")
    if not any(key.state in IN_JWKS for key in patient.keys):
        yield Finding("empty_jwks", "there is no key to publish")
    if not any(key.state is State.ACTIVE for key in patient.keys):
        yield Finding("no_active", "no key signs; see flask keys rotate")
    if reading.behind:
        yield Finding("clock_behind", "the clock is behind what it told before, by more than CLOCK_ERROR")
    if reading.ahead:
        yield Finding("clock_ahead", "the clock leapt, or nobody looked after these keys for two intervals")


def _audit(patient: Patient) -> Iterator[Finding]:
    broken = broken_at(patient.audit, patient.audit_head)
    if broken is not None:
        yield Finding("audit_broken", f"the audit does not hold from row {broken} on")
    if {entry.generation for entry, _ in patient.audit} != set(range(1, patient.generation + 1)):
        yield Finding("generation", "the key set is not at the generation that its audit tells of")


def _algorithm(patient: Patient, alg: str, policy: RotationPolicy, reading: Reading) -> Iterator[Finding]:
    active = [key for key in patient.keys if key.alg == alg and key.state is State.ACTIVE]
    standby = [key for key in patient.keys if key.alg == alg and key.state is State.PUBLISHED]
    if len(active) > 1 or len(standby) > 1:
        yield Finding("several", f"{len(active)} keys are active and {len(standby)} published for {alg}")
    if not standby:
        yield Finding("no_standby", f"no key stands ready for {alg}; see flask keys generate")
    # An algorithm that was added lately has only its standby at first; a day after its gate that is a finding.
    patience = max((promotable_at(key, policy) for key in standby), default=0) + 86400
    if not active and reading.now > patience and any(key.state is State.ACTIVE for key in patient.keys):
        yield Finding("no_active", f"no key signs {alg}; see flask keys rotate --alg {alg}")
    key = one(active, alg, State.ACTIVE)
    if key is not None and reading.now > (key.activated_at or 0) + policy.rotation_interval * 3 // 2:
        yield Finding("over_age", "has signed for half as long again as KEY_ROTATION_INTERVAL", key.kid)
    if key is not None and key.max_lifetime < patient.max_lifetime:
        yield Finding("lifetime", f"may sign tokens of {patient.max_lifetime} s and counts on less", key.kid)


def _instants(key: Key, patient: Patient, policy: RotationPolicy, reading: Reading) -> Iterator[Finding]:
    told = [key.created_at, key.published_at, key.activated_at, key.retiring_at]
    order = [instant for instant in told if instant is not None]
    needed = {State.PUBLISHED: key.published_at, State.ACTIVE: key.activated_at, State.RETIRING: key.retiring_at,
              State.RETIRED: key.retired_at, State.REVOKED: key.revoked_at}  # fmt: skip
    if order != sorted(order) or needed.get(key.state, 0) is None:
        yield Finding("instants", "its instants are missing or out of order", key.kid)
    born = next((entry.generation for entry, _ in patient.audit if entry.kid == key.kid), 1)
    # Only the keys that a realm is born with were in every JWKS that it ever served.
    absent = key.last_absent_at
    if key.published_at is not None and (born > 1 if absent is None else absent < key.published_at):
        yield Finding("instants", "a JWKS without it was served later than it says", key.kid)
    if max(order) > reading.now + policy.clock_error and key.state not in (State.RETIRED, State.REVOKED):
        yield Finding("instants", "something happened to it in the future", key.kid)


def _bounds(key: Key, _patient: Patient, policy: RotationPolicy, reading: Reading) -> Iterator[Finding]:
    if key.state is State.RETIRING:
        # The policy may have been longer then, never shorter than none.
        least = (key.retiring_at or 0) + key.max_lifetime
        if key.max_exp_bound is None or key.not_signed_after is None or key.max_exp_bound < least:
            yield Finding("bound", "its last token would outlive it", key.kid)
        elif key.max_exp_bound != key.not_signed_after + key.max_lifetime:
            yield Finding("bound", "its bound is not that of its last signature: it would be pruned late", key.kid)
        elif reading.now > droppable_at(key, policy) + policy.rotation_interval and not key.held:
            yield Finding("prune_overdue", "could have left the JWKS long ago; see flask keys prune", key.kid)
    early = key.state is State.RETIRED and (key.retired_at or 0) < (key.max_exp_bound or 0)
    if early and reading.now < droppable_at(key, policy):
        yield Finding("orphans", "left the JWKS while its tokens may be alive", key.kid)


def _public_half(key: Key, _patient: Patient, _policy: RotationPolicy, _reading: Reading) -> Iterator[Finding]:
    if _PRIVATE & key.public_jwk.keys():
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


def _held(key: Key, patient: Patient, _policy: RotationPolicy, _reading: Reading) -> Iterator[Finding]:
    said = [entry.event for entry, _ in patient.audit if entry.kid == key.kid and entry.event in _HOLDS]
    expected = bool(said) and said[-1] == "held"
    if key.held != expected:
        yield Finding("held", f"is {'held' if key.held else 'not held'}, which the audit does not know of", key.kid)


_HOLDS = ("held", "unheld", "revoked")


def _erased(key: Key, _patient: Patient, _policy: RotationPolicy, _reading: Reading) -> Iterator[Finding]:
    if key.state in (State.RETIRED, State.REVOKED) and (key.sealed is not None or key.proof is not None):
        yield Finding("not_erased", "its private half is still there", key.kid)


_EACH: tuple[Callable[[Key, Patient, RotationPolicy, Reading], Iterator[Finding]], ...] = (
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
