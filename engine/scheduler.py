"""Which piece from whom, by events: somebody begins to wait, or an uplink comes free.

Policy (performance 2.3 and the rules closing 6): a freed uplink serves first whoever owns
nothing, then whoever has least in flight; pieces rarest first; the least loaded parent; the
supernode's own copy only for pieces that few peers have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from .bits import draw, each
from .ids import PieceIndex

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from .swarm import Member, Swarm

_MAX_TRIES: Final = 48
"""Members or pieces looked at for one decision; more finds little and costs a large swarm much."""
_FEW_UPLINKS: Final = 12
"""Up to so many free uplinks it is cheaper to ask each what it has than to try pieces."""


class Assignment(NamedTuple):
    """``member`` should take ``piece`` from ``parent``; ``None`` is the supernode's own copy."""

    member: Member
    piece: PieceIndex
    parent: Member | None


class Scheduler:
    """The default policy over one swarm.  It is asked; whoever asks marks what is decided."""

    def __init__(self, swarm: Swarm, rare_copies: int, rng: Random) -> None:
        self._swarm, self._rare_copies, self._rng = swarm, rare_copies, rng

    def work_for(self, member: Member) -> Assignment | None:
        """Find a piece and a parent for a member that waits."""
        swarm = self._swarm
        if member.level < 0 or not (missing := swarm.missing(member)):
            return None
        free = 0
        for members in swarm.by_uploads:
            free |= members
        free &= ~(1 << member.index | member.shunned)
        from_cdn = self._from_cdn(member, missing) if swarm.cdn_is_free else 0
        if free.bit_count() > _FEW_UPLINKS:
            return self._by_piece(member, missing, free, from_cdn)
        on_offer = 0
        for index in each(free):
            on_offer |= swarm.find(index).holds
        on_offer = on_offer & missing | from_cdn
        if not on_offer:
            return None
        piece = swarm.picker.rarest(on_offer, self._rng)
        return Assignment(member, piece, self._parent(piece, free))

    def taker_from(self, parent: Member | None) -> Assignment | None:
        """Find the most deprived waiting member for whom a free uplink has something."""
        swarm = self._swarm
        if parent is None:
            if not swarm.cdn_is_free:
                return None
            gives, itself = swarm.cdn_holds & swarm.picker.at_most(self._rare_copies), 0
        else:
            if not parent.holds or not swarm.is_free(parent):
                return None
            gives, itself = parent.holds, 1 << parent.index
        tries = _MAX_TRIES
        for level in swarm.waiting:
            candidates = level & ~itself
            while candidates and tries:
                index = draw(candidates, self._rng)
                candidates &= ~(1 << index)
                tries -= 1
                member = swarm.find(index)
                wanted = swarm.missing(member) & gives
                if wanted and not member.shunned & itself:
                    return Assignment(member, swarm.picker.rarest(wanted, self._rng), parent)
        return None

    def continue_run(self, begun: Assignment, most: int) -> Iterator[PieceIndex]:
        """Yield further pieces to take from the same parent, as they are asked for."""
        member, _, parent = begun
        swarm = self._swarm
        for _ in range(most):
            gives = swarm.cdn_holds & swarm.picker.at_most(self._rare_copies)
            wanted = swarm.missing(member) & (gives if parent is None else parent.holds)
            if not wanted:
                return
            yield swarm.picker.rarest(wanted, self._rng)

    def last_resort(self, member: Member) -> Assignment | None:
        """Find a piece for a member that has long had nothing to do, from the supernode.

        Copies in flight count as copies, so a piece on its way to peers that have died looks
        common although nobody holds it.
        """
        swarm = self._swarm
        if member.fetching or not swarm.cdn_is_free:
            return None
        orphans = 0
        for piece in each(swarm.missing(member) & swarm.cdn_holds):
            orphans |= (not swarm.holders[piece]) << piece
        if not orphans:
            return None
        return Assignment(member, swarm.picker.rarest(orphans, self._rng), None)

    def _by_piece(
        self, member: Member, missing: int, free: int, from_cdn: int
    ) -> Assignment | None:
        tries = _MAX_TRIES
        for piece in self._swarm.picker.by_rarity(missing, self._rng):
            if self._swarm.holders[piece] & free:
                return Assignment(member, piece, self._parent(piece, free))
            if from_cdn >> piece & 1:
                return Assignment(member, piece, None)
            tries -= 1
            if not tries:
                break
        return None

    def _parent(self, piece: PieceIndex, free: int) -> Member | None:
        """Return the holder with the fewest uploads, or none: the supernode gives it."""
        holders = self._swarm.holders[piece] & free
        if not holders:
            return None
        for members in self._swarm.by_uploads:
            if here := members & holders:
                return self._swarm.find(draw(here, self._rng))
        raise AssertionError("a free uplink that is in no queue")

    def _from_cdn(self, member: Member, missing: int) -> int:
        """Pieces the supernode may give: rare ones, and those this member can get nowhere else."""
        swarm = self._swarm
        held = missing & swarm.cdn_holds
        allowed = held & swarm.picker.at_most(self._rare_copies)
        if member.shunned:
            for piece in each(held & ~allowed):
                holders = swarm.holders[piece]
                if not holders & ~member.shunned:
                    on_their_way = swarm.picker.copies(PieceIndex(piece)) - holders.bit_count()
                    allowed |= (on_their_way == 0) << piece
        return allowed
