"""Decides about tokens of requests that say what their senders prove (RFC 8705 section 3, RFC 9449 section 7)."""

import hmac
from functools import partial

from realmint.access_token import AccessToken
from realmint.bearer import InvalidProof, InvalidToken, NonceNeeded, Unavailable
from realmint.confirmation import check_shown
from realmint.dpop_policy import MAX_SECONDS, DPoPPolicy
from realmint.engine import Engine
from realmint.presented import Presented
from realmint.protocol import Clock, Monotonic
from realmint.protocol.dpop import Proof, ProofError, check_proof, replay_key
from realmint.replays import ReplaysFull
from realmint.single_flight import Listener, tell

_STEP = 30
"""Seconds that the wall clock may run ahead of the steady one before marks are kept for longer."""
_LONGEST = 3 * MAX_SECONDS
"""No mark counts for more seconds than this."""


class _Believed:
    """The time, for stores of marks alone: a wall clock that leapt ahead is believed when it stays there.

    Else what counts again once it is set right would have been forgotten meanwhile.
    """

    def __init__(self, clock: Clock, monotonic: Monotonic) -> None:
        self._clock, self._monotonic = clock, monotonic
        self._ahead = clock() - monotonic()
        self._leapt: float | None = None

    def __call__(self) -> int:
        now, steady = self._clock(), self._monotonic()
        leapt = self._leapt
        if now - steady <= self._ahead + _STEP or (leapt is not None and steady - leapt > _LONGEST):
            self._ahead, self._leapt = now - steady, None
            return now
        if leapt is None:
            self._leapt = steady
        return int(self._ahead + steady)


class Proofs:
    """Beside an engine. policy: how DPoP proofs are taken; None for not at all. Safe as the policy's store is.

    The token is decided first, and so only who holds a good one, and the key that it is bound to, makes a mark.
    """

    def __init__(
        self, engine: Engine, policy: DPoPPolicy | None, clock: Clock, monotonic: Monotonic, listener: Listener
    ) -> None:
        self._engine, self._policy, self._clock, self._listener = engine, policy, clock, listener
        self._believed = _Believed(clock, monotonic)
        self._nonces = policy.nonces() if policy is not None else None
        self._required = policy is not None and policy.required

    def decide(self, token: str, presented: Presented, *, live: bool) -> AccessToken:
        """The accepted token. Raises InvalidToken, InvalidProof, Unavailable."""
        shown = partial(check_shown, presented=presented, dpop=self._policy is not None, required=self._required)
        accepted = self._at_hand(token, live=live)
        if accepted is None:
            accepted = self._engine.decide(token, live=live, fits=shown)
        proof = self._proof(shown(accepted.claims), token, presented)
        if proof is not None:
            self._once(self._marked(proof), presented, token, proof)
        return accepted

    async def adecide(self, token: str, presented: Presented, *, live: bool) -> AccessToken:
        """As decide(), on an event loop, which goes on while a store that may wait is asked in a thread."""
        shown = partial(check_shown, presented=presented, dpop=self._policy is not None, required=self._required)
        accepted = self._at_hand(token, live=live)
        if accepted is None:
            accepted = await self._engine.adecide(token, live=live, fits=shown)
        proof = self._proof(shown(accepted.claims), token, presented)
        if proof is not None:
            self._once(await self._amarked(proof), presented, token, proof)
        return accepted

    def _at_hand(self, token: str, *, live: bool) -> AccessToken | None:
        """One that was accepted before, whatever it is bound to."""
        return None if live else self._engine.at_hand(token) or self._engine.at_hand(token, bound=True)

    def _proof(self, jkt: str | None, token: str, presented: Presented) -> Proof | None:
        """The proof that is to be used up; None where none is needed, or it was for this request. Raises TokenError.

        jkt: of the key that it has to be of, if any.
        """
        if jkt is None or presented.proven == (self, token, jkt):
            return None
        policy = self._policy
        assert policy is not None  # else no key would have been enough
        now, nonces = self._clock(), self._nonces
        try:
            proof = check_proof(
                presented.dpop, presented.method, presented.url, now, algorithms=policy.algorithms, access_token=token,
                accepts_nonce=partial(nonces.accepts, now=now) if nonces is not None else None,
                max_age=policy.max_age, leeway=policy.leeway,
            )  # fmt: skip
        except ProofError as refused:
            if refused.reason == "nonce" and nonces is not None:
                raise NonceNeeded(nonces.issue(now)) from None
            raise InvalidProof(f"proof_{refused.reason}") from None
        if not hmac.compare_digest(proof.jkt, jkt):
            raise InvalidToken("cnf")
        return proof

    def _marked(self, proof: Proof) -> bool:
        """Whether it is used for the first time. Raises Unavailable."""
        assert self._policy is not None
        try:
            return self._policy.replay.first(*self._mark(proof))
        except Exception as fault:  # a store may be anybody's
            raise self._failed(fault) from fault

    async def _amarked(self, proof: Proof) -> bool:
        assert self._policy is not None
        store = self._policy.replay
        if not getattr(store, "blocks", True):
            return self._marked(proof)
        import asyncio  # as in single_flight

        return await asyncio.to_thread(self._marked, proof)

    def _mark(self, proof: Proof) -> tuple[bytes, int, int]:
        assert self._policy is not None
        # Longer than it counts: a clock that is set back, or apart between processes, revives none.
        return replay_key(proof), proof.until + self._policy.leeway, self._believed()

    def _once(self, first: bool, presented: Presented, token: str, proof: Proof) -> None:
        if not first:
            raise InvalidProof("proof_replayed")
        presented.proven = (self, token, proof.jkt)

    def _failed(self, fault: Exception) -> Unavailable:
        reason = "replays_full" if isinstance(fault, ReplaysFull) else "replays_failed"
        tell(self._listener, "replays.failed", {"reason": reason, "cause": type(fault).__name__})
        return Unavailable(reason)
