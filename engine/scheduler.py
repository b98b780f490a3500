"""Which piece from whom, by events: somebody begins to wait, or an uplink comes free.

Policy (performance 2.3 and the rules closing 6): a freed uplink serves first whoever owns
nothing, then whoever has least in flight; the parent that would send fastest; the supernode's own
copy only for pieces that few peers have.  In which order pieces go is for a ``PieceOrder`` to say;
but a member that reads the file in order has one of its next pieces in flight beside that.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from . import relays
from .bits import each, lowest, turn
from .ids import PieceIndex

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from .ids import PeerId
    from .members import Flight, Member
    from .orders import PieceOrder
    from .swarm import Swarm

_MAX_TRIES: Final = 48
"""Members or pieces looked at for one decision; more finds little and costs a large swarm much."""
_FEW_UPLINKS: Final = 12
"""Up to so many free uplinks it is cheaper to ask each what it has than to try pieces."""
_SOON: Final = 8
"""So many pieces ahead of where it is a member that reads in order is helped along."""
_MAX_RELAYS: Final = 8
"""Members looked at for one decision about what still arrives."""
_FEW_RUNS: Final = 2
"""Who has so many runs on their way is not in need of one that may be slow."""


@dataclass(slots=True)
class Assignment:
    """``member`` should take ``piece`` from ``parent``; ``None`` is the supernode's own copy.

    ``upstream``: the parent does not have it yet, but this run on its way to it will bring it.
    """

    member: Member
    piece: PieceIndex
    parent: Member | None
    upstream: Flight | None = None


class Scheduler:
    """Decides over one swarm by events.  It is asked; whoever asks marks what is decided."""

    holds_pulls = True
    bans = True

    def __init__(self, swarm: Swarm, order: PieceOrder, rare_copies: int, rng: Random) -> None:
        self.swarm, self._order = swarm, order
        self._rare_copies, self._rng = rare_copies, rng

    def work_for(self, member: Member, now: float) -> Assignment | None:
        """Find a piece and a parent for a member that waits."""
        if member.level < 0 or not (missing := self.swarm.missing(member)):
            return None
        return self._held_for(member, missing) or self._relay_to(member, missing)

    def taker_from(self, parent: Member | None) -> Assignment | None:
        """Find the most deprived waiting member for whom a free uplink has something."""
        swarm = self.swarm
        if parent is not None:
            itself = 1 << parent.index
            if parent.rank < 0 or not swarm.queued & ~itself:
                return None
            found = self._taker(parent, parent.holds, itself, swarm.queued)
            return found or self.relay_from(parent)
        if not swarm.queued or not swarm.cdn_is_free:
            return None
        gives = self._given()
        if not gives:
            return None
        if not swarm.rules.servers:
            return self._taker(None, gives, 0, swarm.queued)
        # What goes to those who pass nothing on has to be sent once more.
        found = self._taker(None, gives, 0, swarm.servers)
        return found or self._taker(None, gives, 0, ~swarm.servers)

    def relay_from(self, parent: Member) -> Assignment | None:
        """Find the most deprived member that has nothing better than what still arrives."""
        swarm, tries = self.swarm, _MAX_RELAYS
        if not parent.relays or not (flights := [*relays.arriving(parent)]):
            return None
        among = swarm.queued & swarm.natives & ~(1 << parent.index)
        for level in swarm.waiting:
            for index in turn(level & among, self._rng):
                member = swarm.find(index)
                if found := self._following(member, swarm.missing(member), parent, flights):
                    return found
                tries -= 1
                if not tries:
                    return None
        return None

    def continue_run(
        self, member: Member, parent: Member | None, most: int, upstream: Flight | None = None
    ) -> Iterable[PieceIndex]:
        """Return further pieces that a member should take from the same parent."""
        if most < 1:
            return ()
        missing = self.swarm.missing(member)
        if upstream is not None and upstream.offers:
            return [*islice((piece for piece in upstream.offers if missing >> piece & 1), most)]
        wanted = self._from_cdn(member, missing) if parent is None else missing & parent.holds
        if not wanted:
            return ()
        if not (urgent := self._urgent(member, wanted)):
            return [*islice(self._order.each(wanted), most)]
        soon = islice(map(PieceIndex, each(urgent)), most)
        rest = max(0, most - urgent.bit_count())
        return [*soon, *islice(self._order.each(wanted & ~urgent), rest)]

    def last_resort(self, member: Member) -> Assignment | None:
        """Find a piece for a member that has long had nothing to do, from the supernode.

        Copies in flight count as copies, so a piece on its way to peers that have died looks
        common although nobody holds it.
        """
        swarm = self.swarm
        if member.fetching or not swarm.cdn_is_free:
            return None
        orphans = 0
        for piece in each(swarm.missing(member) & swarm.cdn_holds):
            orphans |= (not swarm.holders[piece]) << piece
        if not orphans:
            return None
        return Assignment(member, self._order.first(orphans), None)

    def reported(self, member: Member, parent: PeerId, now: float) -> None:
        """Nothing here depends on it: the swarm knows."""

    def failed(self, member: Member) -> None:
        """Nothing here depends on it."""

    def left(self, member: Member) -> None:
        """Nothing here depends on it."""

    def _held_for(self, member: Member, missing: int) -> Assignment | None:
        swarm = self.swarm
        free = swarm.uplinks.free & ~(1 << member.index | member.shunned)
        from_cdn = self._from_cdn(member, missing) if swarm.cdn_is_free else 0
        if free.bit_count() > _FEW_UPLINKS:
            return self._by_piece(member, missing, free, from_cdn)
        on_offer = swarm.held_by(free) & missing | from_cdn
        if not on_offer:
            return None
        piece = self._choose(member, on_offer)
        return Assignment(member, piece, self._parent(piece, free))

    def _relay_to(self, member: Member, missing: int) -> Assignment | None:
        """Find a run on its way to somebody with a free uplink for ``member`` to follow."""
        swarm = self.swarm
        among = swarm.relayers & swarm.uplinks.free & ~(1 << member.index | member.shunned)
        if not among or member.orders is None:
            return None
        for index in islice(turn(among, self._rng), _MAX_RELAYS):
            parent = swarm.find(index)
            if found := self._following(member, missing, parent, relays.arriving(parent)):
                return found
        return None

    def _following(
        self, member: Member, missing: int, parent: Member, flights: Iterable[Flight]
    ) -> Assignment | None:
        """Return the first of some runs on their way to ``parent`` that helps ``member``."""
        is_shunned = member.shunned >> parent.index & 1
        if is_shunned or member.down.active - member.late >= _FEW_RUNS:
            return None
        for flight in flights:
            piece = flight.next_piece
            if missing >> piece & 1 and relays.can_follow(member, flight):
                return Assignment(member, piece, parent, flight)
        return None

    def _taker(
        self, parent: Member | None, gives: int, itself: int, among: int
    ) -> Assignment | None:
        swarm, tries = self.swarm, _MAX_TRIES
        if not gives:
            return None
        among &= swarm.queued & ~itself
        for level in swarm.waiting:
            if not (here := level & among):
                continue
            for index in turn(here, self._rng):
                member = swarm.find(index)
                wanted = swarm.missing(member) & gives
                if wanted and not member.shunned & itself:
                    return Assignment(member, self._choose(member, wanted), parent)
                tries -= 1
                if not tries:
                    return None
        return None

    def _by_piece(
        self, member: Member, missing: int, free: int, from_cdn: int
    ) -> Assignment | None:
        tries, holders = _MAX_TRIES, self.swarm.holders
        known = missing & ((1 << len(holders)) - 1)  # of the others nobody has a copy yet
        pieces = self._order.each(known)
        if member.wanted is not None:
            pieces = chain(map(PieceIndex, each(self._urgent(member, known))), pieces)
        for piece in pieces:
            if holders[piece] & free:
                return Assignment(member, piece, self._parent(piece, free))
            if from_cdn >> piece & 1:
                return Assignment(member, piece, None)
            tries -= 1
            if not tries:
                break
        return None

    def _choose(self, member: Member, among: int) -> PieceIndex:
        """Return the piece of a set that is not empty that a member should take."""
        if member.wanted is not None and (urgent := self._urgent(member, among)):
            return PieceIndex(lowest(urgent))
        return self._order.first(among)

    def _urgent(self, member: Member, among: int) -> int:
        """Return what of a set a member that reads in order needs soon.

        Nothing if some of that is on its way and others are fetching, too: if all of them did so
        in order alone, they would have the same pieces, and nothing to give each other.
        """
        swarm = self.swarm
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
        first = islice(self.swarm.by_peer.values(), _MAX_TRIES)
        return any(other is not member and not self.swarm.is_complete(other) for other in first)

    def _parent(self, piece: PieceIndex, free: int) -> Member | None:
        """Return the holder that would send fastest, or none: the supernode gives it."""
        swarm = self.swarm
        holders = swarm.holders[piece] & free
        return swarm.find(swarm.uplinks.best(holders, self._rng)) if holders else None

    def _given(self) -> int:
        """Return what the supernode gives: pieces that few have, or none if it gave enough."""
        swarm = self.swarm
        rare_copies = 0 if swarm.cdn_has_given_enough else self._rare_copies
        return swarm.cdn_holds & swarm.picker.at_most(rare_copies)

    def _from_cdn(self, member: Member, missing: int) -> int:
        """Pieces the supernode may give: rare ones, and those this member can get nowhere else."""
        swarm = self.swarm
        if swarm.rules.servers and not member.serves and swarm.queued & swarm.servers:
            return 0  # those who wait and pass on what they get go first
        held = missing & swarm.cdn_holds
        allowed = held & self._given()
        if member.shunned:
            for piece in each(held & ~allowed):
                holders = swarm.holders[piece]
                if not holders & ~member.shunned:
                    on_their_way = swarm.picker.copies(PieceIndex(piece)) - holders.bit_count()
                    allowed |= (on_their_way == 0) << piece
        return allowed
