"""The snapshot a process signs with and publishes from: immutable, replaced as a whole.

One object holds the signers and the document, so that no token can be signed with a key that the same
process does not publish.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from keys import key as key_module
from keys.key import IN_JWKS, Key, LocalSigner, State
from keys.sealing import Sealer, SealingError
from realmint.protocol.jws import JWSError, Signer, VerificationKey, verification_key


@dataclass(frozen=True)
class Snapshot:
    """The keys of one realm at one generation. `document` is the JWKS as served."""

    generation: int
    signers: Mapping[str, Signer]
    published: Mapping[str, VerificationKey]
    document: bytes
    etag: str
    unsealed: bool = True
    keys: Sequence[Key] = field(default=(), repr=False)
    foreign: tuple[str, ...] = ()
    """Names of keys that stand among the published ones and that nobody of ours vouched for: they are not shown."""

    def signing_key(self, alg: str) -> Signer | None:
        """What signs `alg`, or None."""
        return self.signers.get(alg)


def snapshot_of(keys: Sequence[Key], generation: int, sealer: Sealer, previous: Snapshot | None = None) -> Snapshot:
    """The snapshot over `keys`, of which only those in the JWKS count.

    A key whose public half is not authenticated under a key-encryption key is left out: whoever can write the database
    could have planted it. One that `previous` shows just so was authenticated then, and stays. An active key that
    cannot be opened keeps the signer of `previous`, when that had it, else there is none for its algorithm; either way
    the snapshot is not `unsealed`, and readiness fails.
    """
    published = sorted((key for key in keys if key.state in IN_JWKS), key=_order)
    known = {(key.kid, key.alg, key.public_text) for key in (previous.keys if previous else ())}
    shown = [key for key in published if (key.kid, key.alg, key.public_text) in known or vouched(key, sealer)]
    signers: dict[str, Signer] = {}
    unsealed = True
    for key in shown:
        if key.state is State.ACTIVE and key.alg in key_module.ALGORITHMS:
            try:
                signers[key.alg] = open_signer(key, sealer)
            except SealingError:
                unsealed = False
                kept = previous.signers.get(key.alg) if previous else None
                if kept is not None and kept.kid == key.kid:
                    signers[key.alg] = kept
    document = '{"keys":[' + ",".join(key.public_text for key in shown) + "]}"
    raw = document.encode()
    return Snapshot(
        generation=generation,
        signers=signers,
        published={key.kid: readable for key in shown if (readable := _readable(key))},
        document=raw,
        etag=hashlib.sha256(raw).hexdigest()[:32],
        unsealed=unsealed,
        keys=tuple(shown),
        foreign=tuple(key.kid for key in published if key not in shown),
    )


def vouched(key: Key, sealer: Sealer) -> bool:
    """Whether we stored this public half under this name, for this realm and algorithm."""
    return sealer.vouches(key.proof, key.kek_id, key.public_text, key.realm_id, key.kid, key.alg)


def _readable(key: Key) -> VerificationKey | None:
    """A key of an algorithm that only a later version knows is published all the same (#199)."""
    try:
        return verification_key(dict(key.public_jwk))
    except JWSError:
        return None


def open_signer(key: Key, sealer: Sealer) -> LocalSigner:
    """The signer of `key`. Raises SealingError."""
    if key.sealed is None:
        raise SealingError(f"key {key.kid} has no private half")
    pkcs8 = sealer.open(key.sealed, key.kek_id, key.realm_id, key.kid, key.alg)
    return key_module.signer(key.kid, key.alg, pkcs8)


def _order(key: Key) -> tuple[int, int, str]:
    # Active first: naive verifiers take element 0. Retiring keys newest first.
    return IN_JWKS.index(key.state), -(key.retiring_at or 0), key.kid
