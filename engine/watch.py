"""Which runs of one task it is time to look at, because they may be late, and which are."""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING, Final

from . import relays

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .members import Flight, Member
    from .swarm import Swarm

_SLOWED: Final = 2.0
"""A child whose pieces take no longer than that many times what its own downlink needs is slow."""


class Watch:
    """Runs under way, in the order in which they began or were looked at."""

    def __init__(self) -> None:
        self.patience_s = inf
        """For so long a run may be under way, or bring nothing, before it is looked at."""
        self._flights: deque[Flight] = deque()

    def add(self, flight: Flight) -> None:
        """Have ``flight`` looked at in time, for the first time or once more."""
        self._flights.append(flight)

    def hurry(self, parent: Member) -> None:
        """Have all that ``parent`` sends looked at now: it turned out to be slow."""
        for flight in [flight for flight in self._flights if flight.parent is parent]:
            self._flights.remove(flight)
            flight.looked_at = flight.quiet_until = -inf
            self._flights.appendleft(flight)

    def may_be_due(self, now: float) -> bool:
        """Tell, at no cost, whether it is worth asking for ``due``."""
        flights = self._flights
        while flights:
            if (first := flights[0]).offers:
                return first.looked_at <= now - self.patience_s
            flights.popleft()
        return False

    def due(self, now: float) -> Iterator[Flight]:
        """Yield runs whose time has come; they are watched no more unless added again."""
        flights, before = self._flights, now - self.patience_s
        for _ in range(len(flights)):
            flight = flights[0]
            if flight.offers and flight.looked_at > before:
                break
            flights.popleft()
            if not flight.offers:
                continue
            if flight.quiet_until > before:
                flight.looked_at = flight.quiet_until
                flights.append(flight)
            else:
                yield flight


def is_held_up(swarm: Swarm, flight: Flight, now: float) -> bool:
    """Tell whether somebody else would help: others hold the piece, and the child is not slow."""
    child, parent, piece = flight.child, flight.parent, flight.next_piece
    if flight.upstream is not None and relays.is_waiting(flight) and not flight.upstream.is_late:
        return False
    others = swarm.holders[piece] & ~(child.shunned | 1 << child.index)
    is_given_up = False
    if parent is not None:
        others = others & ~(1 << parent.index) or swarm.cdn_holds >> piece & 1
        is_given_up = parent.slow_since is not None
    if not others or swarm.layout is None:
        return False
    if is_given_up or not child.down.is_known:
        return True
    own_s = child.down.active * swarm.layout.content_size / child.down.rate_bytes_per_s
    return now - flight.quiet_until > _SLOWED * own_s
