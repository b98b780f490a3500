"""How fast a swarm can possibly be: lower bounds that no scheduler beats.

A piece is stored and forwarded (a peer serves it only once it is complete) and single-source (one
uploader sends it).  Seeds hold everything at time 0.  Sizes are bytes, rates bytes per second,
results seconds.  Sources: Mundinger, Weber and Weiss (arXiv cs/0606110) for equal peers, Kumar and
Ross (HotWeb 2006) for the fluid bounds; the others follow from counting receipts (performance
2.1).  A short last piece counts as a full one, so the bounds hold for whole numbers of pieces.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from heapq import heappop, heappush
from math import ceil, floor, fsum, log2
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROUNDING = 1e-9


def mww(file_bytes: float, piece_bytes: float, rate: float, peers: int) -> float:
    """Return the exact optimum for ``peers`` equal peers and one seed, all with uplink ``rate``."""
    return (ceil(file_bytes / piece_bytes) + floor(log2(peers))) * piece_bytes / rate


def fluid_max(
    file_bytes: float, seed_rate: float, ups: Sequence[float], downs: Sequence[float]
) -> float:
    """Return a bound on the last completion for infinitesimal pieces."""
    everything = len(ups) * file_bytes
    return max(file_bytes / seed_rate, file_bytes / min(downs), everything / (seed_rate + sum(ups)))


def fluid_mean(
    file_bytes: float, seed_rate: float, ups: Sequence[float], downs: Sequence[float]
) -> float:
    """Return a bound on the mean completion for infinitesimal pieces."""
    capacity = seed_rate + sum(ups)
    fastest_first = sorted(downs, reverse=True)
    return fsum(
        max(file_bytes / seed_rate, file_bytes / down, nth * file_bytes / capacity)
        for nth, down in enumerate(fastest_first, start=1)
    ) / len(fastest_first)


@dataclass(frozen=True)
class Swarm:
    """What the piece-wise bounds need to know; ``latency_s`` delays the first byte of a hop."""

    file_bytes: float
    piece_bytes: float
    seeds: Sequence[float]
    ups: Sequence[float]
    downs: Sequence[float]
    latency_s: float = 0.0

    @property
    def pieces(self) -> int:
        """Number of pieces of the file."""
        return ceil(self.file_bytes / self.piece_bytes)

    @cached_property
    def ramp(self) -> Ramp:
        """The fastest possible growth from the seeds alone."""
        return Ramp(self.piece_bytes, self.seeds, self.ups, self.latency_s, max(self.downs))


def lb_max(swarm: Swarm) -> float:
    """Return a bound on the last completion."""
    s = swarm
    volume = s.ramp.time_of(len(s.ups) * s.pieces)
    own = s.file_bytes / min(s.downs) + s.latency_s
    # The last piece to leave the seeds does so late, and must then still reach all but one peer.
    best = sorted(s.ups, reverse=True)
    rest = Ramp(s.piece_bytes, [*s.seeds, best[0]], best[1:], s.latency_s, max(s.downs))
    leaves = max(
        s.pieces * s.piece_bytes / sum(s.seeds),
        s.piece_bytes / min(max(s.seeds), max(s.downs)),
    )
    return max(volume, own, s.latency_s + leaves + rest.spread_s)


def lb_mean(swarm: Swarm) -> float:
    """Return a bound on the mean completion."""
    # The k-th to finish needs k files' worth of receipts in the swarm, and its own download.
    s = swarm
    receipts = s.ramp.receipts(len(s.ups) * s.pieces)
    fastest_first = sorted(s.downs, reverse=True)
    return fsum(
        max(s.latency_s + s.file_bytes / down, receipts[nth * s.pieces - 1])
        for nth, down in enumerate(fastest_first, start=1)
    ) / len(fastest_first)


class Ramp:
    """The most pieces that a swarm can have received by a time.

    An uploader active since ``a`` has completed at most ``(t - a - latency) * up / piece`` pieces,
    and none before ``a + latency + piece / min(up, fastest downlink)``.  Each completion makes at
    most one more peer active; making the fastest uplink active first is best.
    """

    def __init__(
        self,
        piece_bytes: float,
        seeds: Sequence[float],
        ups: Sequence[float],
        latency_s: float,
        fastest_down: float,
    ) -> None:
        self._piece = piece_bytes
        self._latency = latency_s
        self._down = fastest_down
        self._sources: list[tuple[float, float]] = []
        """When each source became active, and its uplink."""
        self.spread_s = 0.0
        """When the last peer can have got its first piece."""
        self._grow(seeds, sorted(ups, reverse=True))

    def received(self, t: float) -> int:
        """Return the most receipts that can be complete at ``t``."""
        return sum(
            int((t - active - self._latency) * up / self._piece + _ROUNDING)
            for active, up in self._sources
            if t >= self._receipt(active, up, 1) * (1 - _ROUNDING)
        )

    def time_of(self, count: int) -> float:
        """Return the earliest time at which ``count`` receipts can be complete."""
        low = 0.0
        last = max(active for active, _ in self._sources) + self._latency
        capacity = sum(up for _, up in self._sources)
        high = last + (count + len(self._sources) + 1) * self._piece / capacity
        while self.received(high) < count:
            high *= 1.5
        while high - low > _ROUNDING * high:
            middle = (low + high) / 2
            low, high = (low, middle) if self.received(middle) >= count else (middle, high)
        return high

    def receipts(self, count: int) -> list[float]:
        """Return the earliest times of the first ``count`` receipts, in order."""
        end = self.time_of(count) * (1 + _ROUNDING)
        times: list[float] = []
        for active, up in self._sources:
            if end < self._receipt(active, up, 1):
                continue
            most = int((end - active - self._latency) * up / self._piece + _ROUNDING)
            times += [self._receipt(active, up, nth) for nth in range(1, most + 1)]
        times.sort()
        return times[:count]

    def _grow(self, seeds: Sequence[float], ups: Sequence[float]) -> None:
        # Each source's next completion: when, tie-break, active since, uplink, how manieth.
        coming: list[tuple[float, int, float, float, int]] = []

        def add(active: float, up: float) -> None:
            if up > 0:
                self._sources.append((active, up))
                first = self._receipt(active, up, 1)
                heappush(coming, (first, len(self._sources), active, up, 1))

        for up in seeds:
            add(0.0, up)
        for up in ups:
            self.spread_s, number, active, source_up, nth = heappop(coming)
            following = self._receipt(active, source_up, nth + 1)
            heappush(coming, (following, number, active, source_up, nth + 1))
            add(self.spread_s, up)

    def _receipt(self, active: float, up: float, nth: int) -> float:
        alone = self._piece / min(up, self._down)
        return active + self._latency + max(alone, nth * self._piece / up)
