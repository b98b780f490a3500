"""Where machines stand: racks in sites, the uplinks they share, and how far it is between them.

Peers fill the racks in the order of their numbers, one rack after the other, all about equally
full.  Supernodes stand at the sites in turn, in no rack; the origin is outside all sites.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..engine.errors import ConfigError
from .limits import at_least, positive
from .links import Link


@dataclass(frozen=True, slots=True)
class Topology:
    """Sites of so many ``racks`` each.

    Rates are those of each direction of the uplink that a rack, or a site, shares; ``None``: it is
    never in the way.  ``rack_latency_s`` is one way within a rack, ``site_latency_s`` within a
    site; ``latencies_s`` has a row for each site and in it one way to each.  What is not given is
    the scenario's ``latency_s``, which is also that to the origin.
    """

    sites: int = 1
    racks: int = 1
    rack_bytes_per_s: float | None = None
    site_bytes_per_s: float | None = None
    rack_latency_s: float | None = None
    site_latency_s: float | None = None
    latencies_s: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        for name in ("sites", "racks"):
            at_least(f"topology.{name}", getattr(self, name), 1)
        for name in ("rack_bytes_per_s", "site_bytes_per_s"):
            if getattr(self, name) is not None:
                positive(f"topology.{name}", getattr(self, name))
        for name in ("rack_latency_s", "site_latency_s"):
            if getattr(self, name) is not None:
                at_least(f"topology.{name}", getattr(self, name), 0)
        rows = self.latencies_s
        if rows and (len(rows) != self.sites or any(len(row) != self.sites for row in rows)):
            raise ConfigError(
                f"topology.latencies_s has {len(rows)} rows of {[len(row) for row in rows]}:"
                f" expected {self.sites} rows of {self.sites}, one for each site"
            )
        for row in rows:
            for latency_s in row:
                at_least("topology.latencies_s", latency_s, 0)

    def rack_of(self, peer: int, peers: int) -> int:
        """Return the number of the rack, among all, of a peer."""
        return peer * self.sites * self.racks // peers

    def site_of(self, peer: int, peers: int) -> int:
        """Return the number of the site of a peer."""
        return self.rack_of(peer, peers) // self.racks


NOWHERE: Final = -1
"""The rack of what stands in none."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one machine stands."""

    site: int
    rack: int = NOWHERE


class Map:
    """The shared uplinks, and the way from place to place."""

    def __init__(self, topology: Topology, latency_s: float) -> None:
        self._topology, self._latency_s = topology, latency_s
        racks = range(topology.sites * topology.racks)
        sites = range(topology.sites)
        self._racks = _pairs(len(racks), topology.rack_bytes_per_s)
        self._sites = _pairs(len(sites), topology.site_bytes_per_s)
        self._near = _given(topology.rack_latency_s, topology.site_latency_s, latency_s)
        self._at_site = _given(topology.site_latency_s, latency_s)

    def latency_s(self, one: Place, other: Place) -> float:
        """Return how long a message takes from one place to another."""
        if one.site == other.site:
            return self._near if one.rack == other.rack != NOWHERE else self._at_site
        rows = self._topology.latencies_s
        return rows[one.site][other.site] if rows else self._latency_s

    def between(self, sender: Place, receiver: Place) -> tuple[Link, ...]:
        """Return the shared links that bytes cross."""
        if sender.site == receiver.site:
            if sender.rack == receiver.rack:
                return ()
            return (*self._out(self._racks, sender.rack), *self._in(self._racks, receiver.rack))
        return (
            *self._out(self._racks, sender.rack),
            *self._out(self._sites, sender.site),
            *self._in(self._sites, receiver.site),
            *self._in(self._racks, receiver.rack),
        )

    def from_outside(self, receiver: Place) -> tuple[Link, ...]:
        """Return the shared links that bytes of the origin cross."""
        return (*self._in(self._sites, receiver.site), *self._in(self._racks, receiver.rack))

    @staticmethod
    def _out(pairs: list[tuple[Link, Link]], number: int) -> tuple[Link, ...]:
        return (pairs[number][0],) if pairs and number != NOWHERE else ()

    @staticmethod
    def _in(pairs: list[tuple[Link, Link]], number: int) -> tuple[Link, ...]:
        return (pairs[number][1],) if pairs and number != NOWHERE else ()


def _pairs(count: int, rate: float | None) -> list[tuple[Link, Link]]:
    return [] if rate is None else [(Link(rate), Link(rate)) for _ in range(count)]


def _given(*values: float | None) -> float:
    return next(value for value in values if value is not None)
