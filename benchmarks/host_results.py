"""What programs took that gave one file to many hosts: beside the bound, and the simulator."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import TYPE_CHECKING, Final, NamedTuple

from damselfly.engine.piece import MIB
from damselfly.sim.scenario_file import find, load
from damselfly.sim.swarm import Swarm

from .plots import Bar, Bars
from .results import Result, Spread, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .racing import Run

OURS: Final = "damselfly"
_BITTORRENT: Final = "BitTorrent"
_UNSHAPED_BYTES_PER_S: Final = 5e9
_GOODPUT: Final = 1448 / 1514
"""What is left of a link's rate when each packet has its heads."""
_ALL_OF_IT: Final = 0.9
"""A machine that is busy for such a share of the time has no more to give."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How many hosts of what rate (0: not shaped) get how large a file, how often, by whom."""

    hosts: int
    rate_bytes_per_s: float
    file_bytes: int
    runs: int
    programs: tuple[str, ...]

    @property
    def rate(self) -> str | None:
        """The rate as ``tc`` writes it."""
        return f"{self.rate_bytes_per_s * 8 / 1e6:.0f}mbit" if self.rate_bytes_per_s else None

    @property
    def bound_s(self) -> float | None:
        """What no program can be faster than, because of the links; ``None``: they are no limit."""
        return self.file_bytes / self.rate_bytes_per_s if self.rate_bytes_per_s else None

    @property
    def delivered_gb(self) -> float:
        """What all hosts get, in GB."""
        return self.file_bytes * self.hosts / 1e9

    def __str__(self) -> str:
        several = "host" if self.hosts == 1 else "hosts"
        rate = f"of {self.rate_bytes_per_s * 8 / 1e6:.0f} Mb/s" if self.rate else "without limit"
        return f"{self.hosts} {several} {rate}, {self.file_bytes // MIB} MiB, cold supernode"


@dataclass(slots=True)
class Series:
    """The runs of one program."""

    runs: list[Run] = field(default_factory=list["Run"])

    @property
    def means(self) -> Spread:
        """The mean completion of each run, in seconds."""
        return Spread(tuple(fmean(run.seconds) for run in self.runs))

    @property
    def lasts(self) -> Spread:
        """The last completion of each run, in seconds."""
        return Spread(tuple(max(run.seconds) for run in self.runs))

    def median_of(self, of: Callable[[Run], float]) -> float:
        """Return the median over the runs."""
        return Spread(tuple(of(run) for run in self.runs)).median


def result_of(name: str, plan: Plan, starts: Series, series: Mapping[str, Series]) -> Result:
    """Return tables, figures and plot; ``starts`` are runs of ours for next to no bytes."""
    ours, start_s = series[OURS], starts.means.median
    beside = _beside(plan, series)
    rows = [_row(what, found, plan, beside) for what, found in series.items()]
    bars = [found.means.bar(what) for what, found in series.items()]
    figures = {"start s": start_s}
    for what, found in series.items():
        figures |= _figures(what, found, plan)
    summary = f"{plan}, {len(ours.runs)} runs of each in turn: "
    if plan.bound_s is None:
        summary += _unbounded(ours, start_s, beside, figures)
    else:
        predicted = _predicted(plan, start_s)
        what = f"dfsim, {start_s:.2f} s later"
        rows.insert(1, (what, *_cells(predicted, plan.bound_s)))
        bars.insert(1, Bar(what, predicted.mean_s))
        ratio = ours.means.median / predicted.mean_s
        figures |= {"predicted mean s": predicted.mean_s, "real to predicted": ratio}
        summary += (
            f"mean {ours.means.median / plan.bound_s:.2f} of the bound of {plan.bound_s:.2f} s,"
            f" last {ours.lasts.median / plan.bound_s:.2f}; the heads of packets alone make it"
            f" {1 / _GOODPUT:.3f}. Of that, starting the programs is"
            f" {start_s:.2f} s; with it dfsim says {predicted.mean_s:.2f} s, and the hosts take"
            f" {ratio:.2f} of that."
        )
    summary += f" {_who_limits(ours, plan)} {_costs(ours, starts, plan)}"
    plot = Bars(f"{plan}: mean completion", "seconds", tuple(bars), bound=plan.bound_s)
    return Result(name, summary, Table(_head(beside), tuple(rows)), figures, plot)


class _Beside(NamedTuple):
    """What times are compared with."""

    whose: str
    mean_s: float
    last_s: float


def _beside(plan: Plan, series: Mapping[str, Series]) -> _Beside | None:
    if plan.bound_s is not None:
        return _Beside("bound", plan.bound_s, plan.bound_s)
    for what, found in series.items():
        if what.startswith(_BITTORRENT):
            return _Beside(f"{_BITTORRENT}'s", found.means.median, found.lasts.median)
    return None


def _unbounded(
    ours: Series, start_s: float, beside: _Beside | None, figures: dict[str, float]
) -> str:
    text = f"mean {ours.means.text(2)} s, of which starting the programs is {start_s:.2f} s."
    if beside is not None:
        whole = ours.lasts.median / beside.last_s
        started = (ours.lasts.median - start_s) / beside.last_s
        figures["last to BitTorrent's"] = whole
        text += (
            f" The last host takes {whole:.2f} of {beside.whose} time, {started:.2f} without that"
            " start."
        )
    return text


def _who_limits(ours: Series, plan: Plan) -> str:
    busy = ours.median_of(_machine_share)
    limit = "the CPU is the limit" if busy >= _ALL_OF_IT else "the CPU is not the limit"
    return (
        f"Meanwhile our programs use {ours.median_of(_programs_share):.0%} of the cores' time, and"
        f" with the kernel's work the machine is busy for {busy:.0%}: {limit}."
    )


def _costs(ours: Series, starts: Series, plan: Plan) -> str:
    receiving_s = ours.median_of(lambda run: run.host_cpu_s - (run.giving_cpu_s or 0.0))
    sending_s = ours.median_of(lambda run: run.server_cpu_s + (run.giving_cpu_s or 0.0))
    start_cpu_s = starts.median_of(lambda run: run.host_cpu_s)
    return (
        f"A GB delivered costs {receiving_s / plan.delivered_gb:.2f} CPU s where it is received"
        f" and {sending_s / plan.delivered_gb:.2f} where it is sent, of both together"
        f" {start_cpu_s / plan.delivered_gb:.2f} for the start of the hosts' programs."
    )


class _Predicted(NamedTuple):
    """Completion, and what supernode and origin send in files."""

    mean_s: float
    last_s: float
    supernode_files: float
    origin_files: float


def _predicted(plan: Plan, start_s: float) -> _Predicted:
    """Ask the simulator.

    The hosts share the cores of one machine, which makes work so much dearer; programs that
    start are no part of the model.
    """
    calibrated = load(find("calibrated"))
    sharing = max(1.0, plan.hosts / _cores())
    rate = plan.rate_bytes_per_s * _GOODPUT
    report = Swarm(
        replace(
            calibrated,
            peers=plan.hosts,
            file_bytes=plan.file_bytes,
            peer_up_bytes_per_s=rate,
            peer_down_bytes_per_s=rate,
            supernode_bytes_per_s=_UNSHAPED_BYTES_PER_S,
            piece_cpu_s=calibrated.piece_cpu_s * sharing,
            message_cpu_s=calibrated.message_cpu_s * sharing,
        )
    ).run()
    times, size = [start_s + time_s for time_s in report.completions_s], plan.file_bytes
    supernode_files, origin_files = report.supernode_bytes / size, report.origin_bytes / size
    return _Predicted(fmean(times), times[-1], supernode_files, origin_files)


def _head(beside: _Beside | None) -> tuple[str, ...]:
    whose = beside.whose if beside is not None else f"{_BITTORRENT}'s"
    times = ("mean s", "last s", f"mean to {whose}", f"last to {whose}")
    files = ("server sent, files", "origin, files")
    cpu = ("hosts' CPU s/GB", "of it giving", "servers' CPU s/GB", "programs", "machine")
    return ("what", *times, *files, *cpu)


def _cells(found: _Predicted, bound_s: float) -> tuple[str, ...]:
    times = (found.mean_s, found.last_s, found.mean_s / bound_s, found.last_s / bound_s)
    files = (found.supernode_files, found.origin_files)
    return (*(f"{value:.2f}" for value in (*times, *files)), "", "", "", "", "")


def _row(what: str, found: Series, plan: Plan, beside: _Beside | None) -> tuple[str, ...]:
    ratios = ("", "")
    if beside is not None:
        mean, last = found.means.median / beside.mean_s, found.lasts.median / beside.last_s
        ratios = (f"{mean:.2f}", f"{last:.2f}")
    giving_s = [run.giving_cpu_s for run in found.runs if run.giving_cpu_s is not None]
    giving = f"{Spread(tuple(giving_s)).median / plan.delivered_gb:.2f}" if giving_s else ""
    return (
        what,
        found.means.text(2),
        found.lasts.text(2),
        *ratios,
        f"{found.median_of(lambda run: run.server_bytes) / plan.file_bytes:.2f}",
        f"{found.median_of(lambda run: run.origin_bytes) / plan.file_bytes:.2f}",
        f"{found.median_of(lambda run: run.host_cpu_s) / plan.delivered_gb:.2f}",
        giving,
        f"{found.median_of(lambda run: run.server_cpu_s) / plan.delivered_gb:.2f}",
        f"{found.median_of(_programs_share):.0%}",
        f"{found.median_of(_machine_share):.0%}",
    )


def _figures(what: str, found: Series, plan: Plan) -> dict[str, float]:
    return {
        f"{what}: mean s": found.means.median,
        f"{what}: last s": found.lasts.median,
        f"{what}: server files": found.median_of(lambda run: run.server_bytes / plan.file_bytes),
        f"{what}: hosts' CPU s": found.median_of(lambda run: run.host_cpu_s),
        f"{what}: servers' CPU s": found.median_of(lambda run: run.server_cpu_s),
        f"{what}: programs' share of the cores": found.median_of(_programs_share),
        f"{what}: machine busy": found.median_of(_machine_share),
    }


def _programs_share(run: Run) -> float:
    return (run.host_cpu_s + run.server_cpu_s) / max(run.seconds) / _cores()


def _machine_share(run: Run) -> float:
    return run.machine_cpu_s / max(run.seconds) / (os.cpu_count() or 1)


def _cores() -> int:
    return len(os.sched_getaffinity(0))
