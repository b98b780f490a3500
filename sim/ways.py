"""From machine to machine: how long it takes, which shared links it crosses, and who is cut off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .misfortunes import Cut
from .topology import Map

if TYPE_CHECKING:
    from .host import Host
    from .links import Link
    from .scenario import Scenario


class Ways:
    """What lies between hosts.

    A partition in force is a bit: whoever has it in ``Host.side`` is on one side, all others, the
    origin among them, are on the other.
    """

    def __init__(self, scenario: Scenario) -> None:
        topology = scenario.topology
        self._latency_s = scenario.latency_s
        self._map = None if topology is None else Map(topology, scenario.latency_s)
        self._out = self._in = 0
        self.are_alike = topology is None and not scenario.partitions
        """Everybody reaches everybody, at all times, in the scenario's ``latency_s``."""

    def latency_s(self, one: Host, other: Host) -> float:
        """Return how long a message takes from one host to another."""
        if self._map is None:
            return self._latency_s
        return self._map.latency_s(one.place, other.place)

    def between(self, sender: Host, receiver: Host) -> tuple[Link, ...]:
        """Return the shared links that bytes cross."""
        return () if self._map is None else self._map.between(sender.place, receiver.place)

    def from_origin(self, receiver: Host) -> tuple[Link, ...]:
        """Return the shared links that bytes from the origin cross."""
        return () if self._map is None else self._map.from_outside(receiver.place)

    def cut(self, bit: int, cut: Cut) -> None:
        """Let nothing pass any more between the two sides that ``bit`` tells apart."""
        if cut is not Cut.IN:
            self._out |= bit
        if cut is not Cut.OUT:
            self._in |= bit

    def heal(self, bit: int) -> None:
        """Let everything pass again."""
        self._out &= ~bit
        self._in &= ~bit

    def carry_data(self, side: int, other: int) -> bool:
        """Tell whether a connection between two sides can carry data: both directions are open."""
        return not (side ^ other) & (self._out | self._in)

    def carry_message(self, sender: Host, receiver: Host) -> bool:
        """Tell whether what one host says reaches the other."""
        leaves, enters = sender.side & ~receiver.side, receiver.side & ~sender.side
        return not (leaves & self._out or enters & self._in)


def ramp_s(size: int, window_bytes: int, round_trip_s: float, rate_bytes_per_s: float) -> float:
    """Return what slow start costs: the time until ``size`` is through, less that at full rate.

    A connection sends ``window_bytes`` in its first round trip and doubles that each time, until
    the way is full or all is sent.
    """
    waited_s = sent = 0.0
    window = float(window_bytes)
    while window < rate_bytes_per_s * round_trip_s and sent + window < size:
        sent += window
        waited_s += round_trip_s
        window *= 2
    return max(0.0, waited_s - sent / rate_bytes_per_s)
