"""One file to 8 shaped hosts: damselfly, BitTorrent, a server without limits, and the simulator."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Final

from damselfly.sim.scenario import Scenario
from damselfly.sim.swarm import Swarm

from . import swarms
from .hosts import hosts
from .machine import Missing, settle
from .results import Result, Spread, Table
from .servers import fill

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .hosts import TestHost
    from .swarms import Run

_HEAD: Final = (
    "what",
    "mean s",
    "last s",
    "mean to bound",
    "last to bound",
    "server sent, files",
    "origin, files",
    "hosts' CPU s/GB",
    "server's CPU s/GB",
)
_UNSHAPED_BYTES_PER_S: Final = 5e9
_PROGRAMS: Final[dict[str, Callable[[Sequence[TestHost], Path, Path], Run]]] = {
    "damselfly": swarms.damselfly,
    "BitTorrent (libtorrent)": swarms.bittorrent,
    "curl from an unlimited nginx, sha256sum": swarms.curl,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """How many hosts of what rate (0: not shaped) get how large a file, how often."""

    hosts: int
    rate_bytes_per_s: float
    file_bytes: int
    runs: int


FULL: Final = Plan(8, 25e6, 200_000_000, 5)
UNSHAPED: Final = Plan(4, 0.0, 256_000_000, 5)
QUICK: Final = Plan(2, 25e6, 4_000_000, 1)


def measure(plan: Plan = FULL, name: str = "hosts") -> Result:
    """Run each program in turn, so often; raises ``Missing`` where hosts cannot be made."""
    series = _series(plan)
    bound_s = plan.file_bytes / plan.rate_bytes_per_s if plan.rate_bytes_per_s else None
    rows = [_row(what, found, plan, bound_s) for what, found in series.items()]
    figures: dict[str, float] = {}
    for what, found in series.items():
        figures |= found.figures(what, plan.file_bytes)
    ours = series["damselfly"]
    summary = f"{_title(plan)}, {len(ours.runs)} runs of each in turn: "
    if bound_s is not None:
        predicted = _predicted(plan)
        rows.insert(1, ("dfsim, the same", *_cells(predicted, bound_s)))
        ratio = ours.means.median / predicted[0]
        figures |= {"predicted mean s": predicted[0], "real to predicted": ratio}
        summary += (
            f"mean {ours.means.median / bound_s:.2f} of the bound of {bound_s:.2f} s, last"
            f" {ours.lasts.median / bound_s:.2f}; dfsim says {predicted[0]:.2f} s, the hosts take"
            f" {ratio:.2f} of that."
        )
    else:
        summary += f"mean {ours.means.text(2)} s"
        if (other := series.get("BitTorrent (libtorrent)")) is not None:
            ratio = ours.lasts.median / other.lasts.median
            figures["last to BitTorrent's"] = ratio
            summary += f", last {ratio:.2f} of BitTorrent's"
        summary += "."
    return Result(name, summary, Table(_HEAD, tuple(rows)), figures)


@dataclass(slots=True)
class _Series:
    runs: list[Run] = field(default_factory=list["Run"])

    @property
    def means(self) -> Spread:
        return Spread(tuple(fmean(run.seconds) for run in self.runs))

    @property
    def lasts(self) -> Spread:
        return Spread(tuple(max(run.seconds) for run in self.runs))

    def median_of(self, of: Callable[[Run], float]) -> float:
        return Spread(tuple(of(run) for run in self.runs)).median

    def figures(self, what: str, file_bytes: int) -> dict[str, float]:
        return {
            f"{what}: mean s": self.means.median,
            f"{what}: last s": self.lasts.median,
            f"{what}: server files": self.median_of(lambda run: run.server_bytes / file_bytes),
            f"{what}: hosts' CPU s": self.median_of(lambda run: run.host_cpu_s),
            f"{what}: server's CPU s": self.median_of(lambda run: run.server_cpu_s),
        }


def _series(plan: Plan) -> dict[str, _Series]:
    series: dict[str, _Series] = {}
    rate = f"{plan.rate_bytes_per_s * 8 / 1e6:.0f}mbit" if plan.rate_bytes_per_s else None
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name, hosts(plan.hosts, rate) as made:
        folder = Path(name)
        (folder / "origin").mkdir()
        file = folder / "origin" / "file"
        with file.open("wb") as out:
            fill(out, plan.file_bytes)
        programs = dict(_PROGRAMS)
        for number in range(plan.runs):
            for what in list(programs):
                place = folder / f"run-{number}"
                place.mkdir()
                try:
                    run = programs[what](made, file, place)
                except Missing as missing:
                    print(f"hosts: without {what}: {missing}", flush=True)
                    del programs[what]
                else:
                    series.setdefault(what, _Series()).runs.append(run)
                shutil.rmtree(place)
    return series


def _predicted(plan: Plan) -> tuple[float, float, float, float]:
    """Return mean and last completion, and what supernode and origin send in files."""
    report = Swarm(
        Scenario(
            peers=plan.hosts,
            file_bytes=plan.file_bytes,
            peer_up_bytes_per_s=plan.rate_bytes_per_s,
            peer_down_bytes_per_s=plan.rate_bytes_per_s,
            supernode_bytes_per_s=_UNSHAPED_BYTES_PER_S,
        )
    ).run()
    times, size = report.completions_s, plan.file_bytes
    return fmean(times), times[-1], report.supernode_bytes / size, report.origin_bytes / size


def _cells(found: tuple[float, float, float, float], bound_s: float) -> tuple[str, ...]:
    mean_s, last_s, server, origin = found
    ratios = (f"{mean_s / bound_s:.2f}", f"{last_s / bound_s:.2f}")
    return (f"{mean_s:.2f}", f"{last_s:.2f}", *ratios, f"{server:.2f}", f"{origin:.2f}", "", "")


def _row(what: str, found: _Series, plan: Plan, bound_s: float | None) -> tuple[str, ...]:
    gigabytes = plan.file_bytes * plan.hosts / 1e9
    ratios = ("", "")
    if bound_s is not None:
        ratios = (f"{found.means.median / bound_s:.2f}", f"{found.lasts.median / bound_s:.2f}")
    return (
        what,
        found.means.text(2),
        found.lasts.text(2),
        *ratios,
        f"{found.median_of(lambda run: run.server_bytes) / plan.file_bytes:.2f}",
        f"{found.median_of(lambda run: run.origin_bytes) / plan.file_bytes:.2f}",
        f"{found.median_of(lambda run: run.host_cpu_s) / gigabytes:.2f}",
        f"{found.median_of(lambda run: run.server_cpu_s) / gigabytes:.2f}",
    )


def _title(plan: Plan) -> str:
    rate = f"{plan.rate_bytes_per_s * 8 / 1e6:.0f} Mb/s" if plan.rate_bytes_per_s else "no limit"
    return f"{plan.hosts} hosts of {rate}, {plan.file_bytes / 1e6:.0f} MB, cold supernode"


def main() -> None:
    """Measure and print."""
    settle()
    print(measure(FULL))
    print(measure(UNSHAPED, "hosts-unshaped"))


if __name__ == "__main__":
    main()
