"""What a run came to: for people, and as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from .scenario import Scenario

_MB: Final = 1e6


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of one run.

    ``completions_s`` are the seconds that each peer took which has the file, ascending.
    ``spreads`` are how much longer the last of a peer's downloads took than the first, ascending.
    ``unfinished`` peers live and do not have it: they failed, or the run ended too early.  Those
    ``without_room`` on their disks cannot have it.  A report that ``is_partial`` was made before
    the run was over.  ``trace_digest`` is empty where nobody asked for it.
    """

    scenario: Scenario
    completions_s: tuple[float, ...]
    spreads: tuple[float, ...]
    unfinished: int
    crashed: int
    without_room: int
    origin_bytes: int
    supernode_bytes: int
    peer_bytes: int
    transfers: int
    engine_calls: int
    simulated_s: float
    wall_s: float
    trace_digest: str
    is_partial: bool = False

    @property
    def mean_s(self) -> float | None:
        """Mean completion of the peers that have the file."""
        times = self.completions_s
        return sum(times) / len(times) if times else None

    @property
    def max_s(self) -> float | None:
        """Completion of the last of them."""
        return self.completions_s[-1] if self.completions_s else None

    @property
    def ratio_mean(self) -> float | None:
        """Mean completion over its lower bound."""
        return _ratio(self.mean_s, self.scenario.bounds[0])

    @property
    def ratio_max(self) -> float | None:
        """Last completion over its lower bound."""
        return _ratio(self.max_s, self.scenario.bounds[1])

    @property
    def spread_mean(self) -> float | None:
        """Mean of ``spreads``."""
        return sum(self.spreads) / len(self.spreads) if self.spreads else None

    def json(self) -> str:
        """Return the figures that other programs read, as one JSON object."""
        bound_mean_s, bound_max_s = self.scenario.bounds
        figures = {
            "peers": self.scenario.peers,
            "file_bytes": self.scenario.file_bytes,
            "mean_s": self.mean_s,
            "p50_s": percentile(self.completions_s, 50),
            "p99_s": percentile(self.completions_s, 99),
            "max_s": self.max_s,
            "bound_mean_s": bound_mean_s,
            "bound_max_s": bound_max_s,
            "ratio_mean": self.ratio_mean,
            "ratio_max": self.ratio_max,
            "spread_mean": self.spread_mean,
            "spread_max": self.spreads[-1] if self.spreads else None,
            "origin_bytes": self.origin_bytes,
            "supernode_bytes": self.supernode_bytes,
            "peer_bytes": self.peer_bytes,
            "wall_s": self.wall_s,
            "transfers_per_s": self.transfers / self.wall_s,
            "trace_digest": self.trace_digest,
            "seed": self.scenario.seed,
            "partial": self.is_partial,
        }
        return json.dumps(figures, indent=2)

    def text(self) -> str:
        """Return the summary for a terminal."""
        bound_mean_s, bound_max_s = self.scenario.bounds
        layout = self.scenario.layout
        times = self.completions_s
        fate = f"PARTIAL, up to {self.simulated_s:.3f} s: " if self.is_partial else ""
        fate += f"{len(times)} of {self.scenario.peers} peers have the file"
        if self.crashed:
            fate += f", {self.crashed} crashed"
        if self.without_room:
            fate += f", {self.without_room} have no room for it"
        if self.unfinished:
            fate += f", {self.unfinished} DO NOT"
        lines = [
            f"{fate}; {layout.count} pieces of {layout.piece_size} bytes",
            f"completion   mean {_s(self.mean_s)}  p50 {_s(percentile(times, 50))}"
            f"  p99 {_s(percentile(times, 99))}  max {_s(self.max_s)}",
            f"lower bound  mean {_s(bound_mean_s)}  max {_s(bound_max_s)}",
            f"ratio        mean {_x(self.ratio_mean)}  max {_x(self.ratio_max)}",
            *self._fairness(),
            self._source("origin", self.origin_bytes),
            self._source("supernode", self.supernode_bytes),
            self._source("peers", self.peer_bytes),
            f"simulated    {self.simulated_s:.3f} s in {self.wall_s:.2f} s:"
            f" {self.transfers / self.wall_s:,.0f} transfers/s,"
            f" {self.engine_calls / self.wall_s:,.0f} engine calls/s",
        ]
        if self.trace_digest:
            lines.append(f"trace        {self.trace_digest}")
        return "\n".join(lines)

    def _fairness(self) -> tuple[str, ...]:
        """Tell of the files of one machine, if there are several."""
        if self.scenario.files == 1 or not self.spreads:
            return ()
        ratios = f"mean {_x(self.spread_mean)}  max {_x(self.spreads[-1])}"
        return (f"last/first   {ratios}  of a machine's files",)

    def _source(self, name: str, sent: int) -> str:
        files = sent / max(1, self.scenario.file_bytes)
        return f"from {name:<9}{sent / _MB:>14,.1f} MB  {files:,.2f} files"


def spread(seconds: Collection[float]) -> float:
    """Return the longest time over the shortest; 1 where all are alike, or nothing took any."""
    least = min(seconds, default=0.0)
    return max(seconds) / least if least > 0 else 1.0


def percentile(ascending: Sequence[float], percent: float) -> float | None:
    """Return the smallest value that at least ``percent`` per cent of all do not exceed."""
    if not ascending:
        return None
    return ascending[max(0, ceil(len(ascending) * percent / 100) - 1)]


def _ratio(value: float | None, bound: float) -> float | None:
    return value / bound if value is not None and bound > 0 else None


def _s(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.3f} s"


def _x(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.3f}"
