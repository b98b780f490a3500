"""How long runs are, and whether one that is under way goes on."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from .bits import turn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from .cdn import CdnCopy
    from .config import SupernodeConfig
    from .members import Flight, Member
    from .swarm import Swarm

_UNKNOWN: Final = 4
"""Parents that have not shown what they can are given so many times shorter runs."""
_LONGEST: Final = 8
"""Fast parents are given runs of so many times what is usual at most."""
_MAX_TRIES: Final = 8
"""Members looked at before a run goes on."""
_BEHIND: Final = 8
"""Behind is who has less by so large a part of all that another has in flight."""


class Runs:
    """Rules for one swarm; decides nothing about pieces."""

    def __init__(self, swarm: Swarm, copy: CdnCopy, config: SupernodeConfig, rng: Random) -> None:
        self._swarm, self._copy, self._config, self._rng = swarm, copy, config, rng

    def length(self, member: Member, parent: Member | None) -> int:
        """Return how many pieces to have ordered from one parent; ``None``: the supernode's copy.

        Ever fewer towards the end, so that nobody waits for one parent's long last run; few from a
        parent that may be slow; and from the supernode one, as long as somebody has nothing yet.
        """
        swarm, config = self._swarm, self._config
        missing = swarm.missing(member)
        if parent is None:
            if swarm.waiting[0] or swarm.waiting[1]:
                return 1
            missing &= swarm.cdn_holds & swarm.picker.at_most(config.rare_copies)
            share = missing.bit_count() // (config.run_share * swarm.slots.cdn_up)
            most = config.run_bytes
        else:
            share = missing.bit_count() // (config.run_share * swarm.speeds.down_slots)
            most = self._most_bytes(parent)
        return max(1, min(share, most // self._copy.piece_size))

    def goes_on(self, flight: Flight, length: int) -> bool:
        """Tell whether a run that has brought something may be made as long as that again.

        Not if somebody who waits has less in flight, or is behind, and could have its uplink.
        """
        child, parent, swarm = flight.child, flight.parent, self._swarm
        if flight.is_late:
            return False
        both = 1 << child.index
        if parent is None:
            gives = swarm.cdn_holds
        else:
            is_full = parent.up.active > parent.up_slots
            if not parent.serves or is_full or child.shunned >> parent.index & 1:
                return False
            gives = parent.holds
            if flight.upstream is not None:
                gives |= parent.in_flight
            both |= 1 << parent.index
        return not any(
            swarm.missing(other) & gives
            and (parent is None or not other.shunned >> parent.index & 1)
            for other in islice(self._with_more_right(flight, length, both), _MAX_TRIES)
        )

    def _with_more_right(self, flight: Flight, length: int, both: int) -> Iterator[Member]:
        """Yield members that wait and are worse off than the child, the most deprived first."""
        child, swarm = flight.child, self._swarm
        running = child.down.active - child.late
        most = (child.has | child.in_flight).bit_count() - length * running // _BEHIND
        own = 2 * (running + swarm.leads(child))
        for level, waiting in enumerate(swarm.waiting[: own + 2]):
            for index in turn(waiting & ~both, self._rng):
                other = swarm.find(index)
                is_behind = (other.has | other.in_flight).bit_count() <= most
                if level < own or is_behind:
                    yield other

    def _most_bytes(self, parent: Member) -> int:
        usual, up = self._config.run_bytes, parent.up
        if not self._swarm.rules.rates:
            return usual
        if not up.is_known:
            return usual // _UNKNOWN
        each_bytes_per_s = up.rate_bytes_per_s / parent.up_slots
        return min(int(each_bytes_per_s * self._config.run_s), _LONGEST * usual)
