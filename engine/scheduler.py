"""Which piece from whom, by events: somebody begins to wait, or an uplink comes free.

Policy (performance 2.3 and the rules closing 6): a freed uplink serves first whoever owns
nothing, then whoever has least in flight; pieces rarest first; the least loaded parent; the
supernode's own copy only for pieces that few peers have.  A member that reads the file in order
has one of its next pieces in flight, and whatever is rarest beside it.
"""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, Final, NamedTuple

from .bits import draw, each, lowest
from .ids import PieceIndex

if TYPE_CHECKING:
    from random import Random

    from .swarm import Member, Swarm

_MAX_TRIES: Final = 48
"""Members or pieces looked at for one decision; more finds little and costs a large swarm much."""
_FEW_UPLINKS: Final = 12
"""Up to so many free uplinks it is cheaper to ask each what it has than to try pieces."""

_SOON: Final = 8
"""So many pieces ahead of where it is a member that reads in order is helped along."""


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
        piece = self._choose(member, on_offer)
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
                    return Assignment(member, self._choose(member, wanted), parent)
        return None

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
        soon = map(PieceIndex, each(self._urgent(member, missing)))
        for piece in chain(soon, self._swarm.picker.by_rarity(missing, self._rng)):
            if self._swarm.holders[piece] & free:
                return Assignment(member, piece, self._parent(piece, free))
            if from_cdn >> piece & 1:
                return Assignment(member, piece, None)
            tries -= 1
            if not tries:
                break
        return None

    def _choose(self, member: Member, among: int) -> PieceIndex:
        """Return the piece of a set that is not empty that a member should take."""
        if urgent := self._urgent(member, among):
            return PieceIndex(lowest(urgent))
        return self._swarm.picker.rarest(among, self._rng)

    def _urgent(self, member: Member, among: int) -> int:
        """Return what of a set a member that reads in order needs soon.

        Nothing if some of that is on its way and others are fetching, too: if all of them did so
        in order alone, they would have the same pieces, and nothing to give each other.
        """
        swarm = self._swarm
        if member.wanted is None:
            return 0
        known = swarm.cdn_holds if swarm.all_pieces is None else swarm.all_pieces
        if not (ahead := (known & ~member.has) >> member.wanted):
            return 0
        window = ((1 << _SOON) - 1) << member.wanted + lowest(ahead)
        if member.in_flight & window and self._has_company(member):
            return 0
        return among & window

    def _has_company(self, member: Member) -> bool:
        """Tell whether others, too, are fetching, judging by those who came first."""
        first = islice(self._swarm.by_peer.values(), _MAX_TRIES)
        return any(other is not member and not self._swarm.is_complete(other) for other in first)

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
