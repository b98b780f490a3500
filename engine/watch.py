"""Which runs of one task it is time to look at, because they may be late."""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .members import Flight


class Watch:
    """Runs under way, in the order in which they began or were looked at."""

    def __init__(self) -> None:
        self.patience_s = inf
        """For so long a run may be under way, or bring nothing, before it is looked at."""
        self._flights: deque[Flight] = deque()

    def add(self, flight: Flight) -> None:
        """Have ``flight`` looked at in time, for the first time or once more."""
        self._flights.append(flight)

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
