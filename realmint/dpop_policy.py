"""How an API takes DPoP proofs (RFC 9449 section 7): the settings."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from realmint.protocol.dpop import LEEWAY, MAX_AGE, Nonces
from realmint.protocol.names import SIGNING_ALGORITHMS
from realmint.replays import MemoryReplays, ReplayStore

ALGORITHMS = ("ES256", "EdDSA", "ES384", "PS256")
MAX_SECONDS = 300


@dataclass(frozen=True)
class DPoPPolicy:
    """algorithms: of proofs, the best first. max_age: of a proof, in seconds. leeway: of clocks either way, in seconds.

    required: nothing but tokens that are bound to a key, with a proof. nonce: 32 secret random bytes or more, which the
    processes of an API share; proofs then need a nonce of it, which a refusal brings, and which is issued for
    nonce_lifetime seconds and taken for up to twice as long. replay: what keeps proofs from being used twice; the
    default's memory is one process's alone, so processes of one API share SQLiteReplays(path), or a store of your own.

    Raises ValueError for what would skip a check.
    """

    algorithms: Sequence[str] = ALGORITHMS
    max_age: int = MAX_AGE
    leeway: int = LEEWAY
    required: bool = False
    nonce: bytes | None = field(default=None, repr=False)
    nonce_lifetime: int = 300
    replay: ReplayStore = field(default_factory=MemoryReplays)

    def __post_init__(self) -> None:
        named = () if isinstance(self.algorithms, str) else tuple(self.algorithms)
        if not named or not set(named) <= set(SIGNING_ALGORITHMS):
            raise ValueError(f"DPoPPolicy: algorithms must be some of {', '.join(SIGNING_ALGORITHMS)}")
        for name, least in (("max_age", 1), ("leeway", 0)):
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= MAX_SECONDS:
                raise ValueError(f"DPoPPolicy: {name} must be {least} to {MAX_SECONDS} whole seconds, not {value!r}")
        if not callable(getattr(self.replay, "first", None)):
            raise ValueError("DPoPPolicy: replay must be a store such as SQLiteReplays(path)")  # noqa: TRY004 - as every other
        try:
            self.nonces()
        except ValueError as fault:
            raise ValueError(f"DPoPPolicy: {fault}") from None

    def nonces(self) -> Nonces | None:
        """What issues nonces, where proofs need one."""
        return None if self.nonce is None else Nonces(self.nonce, self.nonce_lifetime)
