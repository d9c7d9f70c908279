"""One status list that a process holds, and what becomes of it: bits that are set, a change, a signature. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from issuer.registry.signed_list import Published, SignedList, current, quantum_of, sign
from issuer.registry.status_bits import set_bits
from issuer.slots import position_of
from issuer.storage.revoked import RevokedIndex
from realmint.protocol import status_list
from realmint.protocol.jws import Signer

PENDING = 10_000
"""Bits that wait for a list to be asked for; with more of them it is read anew."""
FAST, BEST = 1, status_list.BEST
"""Levels of compression: of a list that changes now, and of one that goes on as it is."""


@dataclass(frozen=True)
class HeldList:
    """A list: `lst`, compressed at `level`, and the positions that are set besides.

    read_at: the generation that it was read at. seq: one as of which it is known to be so. stale: read it again first.
    """

    read_at: int
    seq: int
    level: int
    lst: str = field(repr=False)
    pending: tuple[int, ...] = field(repr=False, default=())
    stale: bool = False
    signed: SignedList | None = field(repr=False, default=None)

    def no_more(self) -> "HeldList":
        """After a change that may have touched it in any way."""
        return replace(self, pending=(), stale=True)

    def with_bits(self, revoked: Sequence[RevokedIndex]) -> "HeldList":
        """After tokens of it were revoked."""
        later = [each for each in revoked if each.generation > self.read_at]
        if self.stale or not later:
            return self
        pending = (*self.pending, *(position_of(each.index) for each in later))
        if len(pending) > PENDING:
            return self.no_more()
        return replace(self, pending=pending, seq=max(self.seq, *(each.generation for each in later)))


def as_read(held: HeldList | None, bits: bytes, read_at: int) -> HeldList:
    """The list after it was read at a generation; one that is as it was keeps its text and its number."""
    if held is None:
        return HeldList(read_at, read_at, BEST, status_list.pack(bits, BEST))
    if status_list.unpack(held.lst) == bits:
        return replace(held, read_at=read_at, stale=False)
    return HeldList(read_at, read_at, FAST, status_list.pack(bits, FAST))


@dataclass(frozen=True)
class Signing:
    """How a list is signed now."""

    uri: str
    signer: Signer
    kids: Sequence[str]
    looked_at: int

    def ready(self, held: HeldList) -> SignedList | None:
        """What was signed before, if it may be served as it is."""
        signed = held.signed
        if signed is None or held.stale or held.pending:
            return None
        return signed if current(signed, held.seq, self.signer, self.kids, self.looked_at) else None

    def signed(self, held: HeldList, heard: int) -> tuple[HeldList, SignedList]:
        """A list that is not stale, and what is served of it. heard: a generation up to which it is known to be so."""
        if held.pending:
            bits = bytearray(status_list.unpack(held.lst))
            set_bits(bits, held.pending)
            held = replace(held, pending=(), level=FAST, lst=status_list.pack(bytes(bits), FAST))
        elif ready := self.ready(held):
            return held, ready
        elif held.signed is not None and held.signed.issued_at != quantum_of(self.looked_at):
            held = _unchanged(held, heard)
        published = Published(self.uri, held.seq, held.lst)
        signed = sign(published, self.signer, self.kids, self.looked_at, level=held.level)
        return replace(held, signed=signed), signed


def _unchanged(held: HeldList, heard: int) -> HeldList:
    """A list to which nothing happened until its quantum turned.

    It takes the number of what was heard of last: who reads it from several processes, and takes none of a lower
    number, must never be left with one process that can offer nothing else.
    """
    if held.level != BEST:
        held = replace(held, level=BEST, lst=status_list.pack(status_list.unpack(held.lst), BEST))
    return replace(held, seq=max(held.seq, heard))
