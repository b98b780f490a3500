"""Dragonfly 1.0.6's scheduling, to be compared with (protocol 6.1 and 6.4).

It decides when a peer pulls, for that peer, and lets it wait and ask again when there is nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .bits import draw, each
from .ids import PieceIndex, is_cdn
from .rules import Slots
from .scheduler import Assignment
from .swarm import Swarm

if TYPE_CHECKING:
    from random import Random

    from .ids import PeerId
    from .members import Flight, Member

DRAGONFLY_SLOTS: Final = Slots(up=5, down=4, cdn_up=4)
_FAILURE_COUNT_LIMIT: Final = 5
_CDN_RESET_S: Final = 30.0
"""A load of the supernode that has not changed for so long is forgotten."""


class DragonflyV1:
    """Per pull: pieces with fewest providers first, those next to what is running among equals.

    Any acceptable peer is the parent, else the supernode, which sends as many pieces of a task at
    once as one peer may download.  A piece that the supernode failed to send counts on, until its
    load has not changed for 30 s.
    """

    holds_pulls = False
    bans = False

    def __init__(self, rng: Random) -> None:
        self.swarm = Swarm(DRAGONFLY_SLOTS)
        self._rng = rng
        self._cdn_load, self._cdn_moved_at = 0, 0.0
        self._failures: dict[PeerId, int] = {}  # since the last piece

    def work_for(self, member: Member, now: float) -> Assignment | None:
        """Find one piece for a member that pulls; asked until there is none."""
        swarm = self.swarm
        if member.exchange is None or len(member.fetching) >= DRAGONFLY_SLOTS.down:
            return None
        trusts_peers = self._failures.get(member.peer, 0) <= _FAILURE_COUNT_LIMIT
        free = swarm.uplinks.free & ~(1 << member.index | member.shunned) if trusts_peers else 0
        cdn_is_free = self._cdn_is_free(now)
        for piece in self._sorted(member, swarm.missing(member) & swarm.cdn_holds):
            if holders := swarm.holders[piece] & free:
                return Assignment(member, piece, swarm.find(draw(holders, self._rng)))
            if cdn_is_free:
                self._cdn_load, self._cdn_moved_at = self._cdn_load + 1, now
                return Assignment(member, piece, None)
        return None

    def taker_from(self, parent: Member | None) -> Assignment | None:
        """Nobody is served who has not asked."""

    def continue_run(
        self, member: Member, parent: Member | None, most: int, upstream: Flight | None = None
    ) -> tuple[PieceIndex, ...]:
        """One piece at a time."""
        return ()

    def relay_from(self, parent: Member) -> Assignment | None:
        """Nobody gets what is not there."""

    def last_resort(self, member: Member) -> Assignment | None:
        """Nobody waits long enough for one."""

    def reported(self, member: Member, parent: PeerId, now: float) -> None:
        """Take in that a member got a piece."""
        self._failures.pop(member.peer, None)
        if self._cdn_load and is_cdn(parent):
            self._cdn_load, self._cdn_moved_at = self._cdn_load - 1, now

    def failed(self, member: Member) -> None:
        """Take in that a member did not get a piece."""
        self._failures[member.peer] = self._failures.get(member.peer, 0) + 1

    def left(self, member: Member) -> None:
        """Forget a member."""
        self._failures.pop(member.peer, None)

    def _cdn_is_free(self, now: float) -> bool:
        if now - self._cdn_moved_at >= _CDN_RESET_S:
            self._cdn_load = 0
        return self._cdn_load < DRAGONFLY_SLOTS.cdn_up

    def _sorted(self, member: Member, pieces: int) -> list[PieceIndex]:
        running, holders = member.fetching, self.swarm.holders
        centre = sum(running) / len(running) if running else None
        keys = [
            (
                holders[piece].bit_count(),
                abs(piece - centre) if centre is not None else 0,
                self._rng.random(),
                PieceIndex(piece),
            )
            for piece in each(pieces)
        ]
        return [key[-1] for key in sorted(keys)]
