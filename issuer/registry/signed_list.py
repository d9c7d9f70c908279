"""A status list as it is served: what it says, when it is signed anew, and its tag. Pure, and told the time."""

import gzip
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from issuer.slots import LIST_LIFETIME, LIST_QUANTUM, LIST_TTL
from realmint.protocol import jws
from realmint.protocol.jws import Signer
from realmint.protocol.names import STATUS_LIST_TYP


@dataclass(frozen=True)
class Published:
    """A list as the store has it: `lst` of its bits, and `seq`, a generation of the change log.

    Of two with one address, the one with the higher `seq` is the later; with the same, they say the same.
    """

    uri: str
    seq: int
    lst: str = field(repr=False)


@dataclass(frozen=True)
class SignedList:
    """A list that was signed. `kids`: the keys that were published then, as its claim tells."""

    token: bytes = field(repr=False)
    gzipped: bytes = field(repr=False)
    etag: str
    seq: int
    issued_at: int
    kid: str
    kids: Sequence[str]


def quantum_of(looked_at: int) -> int:
    """The instant from which the claims of a list count, for a process that last knew how things stand at `looked_at`.

    Every process has the same, so that equal tags mean an equal `exp`.
    """
    return looked_at - looked_at % LIST_QUANTUM


def current(signed: SignedList | None, seq: int, signer: Signer, kids: Sequence[str], looked_at: int) -> bool:
    """Whether a list that was signed may be served as it is."""
    return (
        signed is not None
        and signed.seq == seq
        and signed.issued_at == quantum_of(looked_at)
        and (signed.kid, signed.kids) == (signer.kid, kids)
    )


def sign(published: Published, signer: Signer, kids: Sequence[str], looked_at: int, *, level: int) -> SignedList:
    """The list, signed (Token Status List, draft 21, section 5.1). level: of compression, for those who ask for it.

    `iat`, and `exp` with it, count from no later than the last good look at the store: whoever is cut off from it
    cannot make what is known last longer. `seq` and `kids` are ours.
    """
    issued_at = quantum_of(looked_at)
    claims = {
        "sub": published.uri,
        "iat": issued_at,
        "exp": issued_at + LIST_LIFETIME,
        "ttl": LIST_TTL,
        "status_list": {"bits": 1, "lst": published.lst},
        "seq": published.seq,
        "kids": list(kids),
    }
    token = jws.sign(claims, signer, STATUS_LIST_TYP).encode("ascii")
    digest = hashlib.sha256(" ".join(kids).encode()).hexdigest()[:16]
    etag = f"{published.uri.rpartition('/')[2]}-{published.seq}-{digest}-{issued_at // LIST_QUANTUM}"
    gzipped = gzip.compress(token, level, mtime=0)
    return SignedList(token, gzipped, etag, published.seq, issued_at, signer.kid, tuple(kids))
