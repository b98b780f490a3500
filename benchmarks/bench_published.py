"""The swarm of Dragonfly's README in dfsim, for every number of clients in its graph."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from damselfly.sim.report import percentile
from damselfly.sim.scenario_file import find, load
from damselfly.sim.swarm import Swarm

from .plots import Line, Lines
from .results import Result, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from damselfly.sim.report import Report

_NAME: Final = "dragonfly-readme"
_THEIRS_S: Final = 12.0
"""Their mean, whatever the number of clients."""
_HEAD: Final = (
    "clients",
    "mean s",
    "p50 s",
    "p99 s",
    "max s",
    "bound mean s",
    "bound max s",
    "mean to theirs",
    "origin files",
    "supernode files",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How many clients, and how much they want."""

    clients: tuple[int, ...]
    file_bytes: int


FULL: Final = Plan((200, 300, 600, 1000, 1200, 2000, 3000, 5000, 6000, 7000), 200_000_000)
QUICK: Final = Plan((4, 8), 8_000_000)


def measure(plan: Plan = FULL) -> Result:
    """Run each number of clients once: the outcome is the same every time."""
    scenario = replace(load(find(_NAME)), file_bytes=plan.file_bytes)
    rows: list[tuple[str, ...]] = []
    reports: list[Report] = []
    figures: dict[str, float] = {}
    for clients in plan.clients:
        report = Swarm(replace(scenario, peers=clients), digests=False).run()
        reports.append(report)
        times, (bound_mean_s, bound_max_s) = report.completions_s, report.scenario.bounds
        mean_s = sum(times) / clients
        seconds = (mean_s, percentile(times, 50), percentile(times, 99), times[-1])
        origin_files = report.origin_bytes / plan.file_bytes
        supernode_files = report.supernode_bytes / plan.file_bytes
        rows.append(
            (
                f"{clients}",
                *(f"{s or 0.0:.2f}" for s in (*seconds, bound_mean_s, bound_max_s)),
                *(f"{ratio:.2f}" for ratio in (mean_s / _THEIRS_S, origin_files, supernode_files)),
            )
        )
        figures |= {
            f"{clients} clients: mean s": mean_s,
            f"{clients} clients: to bound": mean_s / bound_mean_s,
            f"{clients} clients: origin files": origin_files,
        }
    summary = (
        f"{rows[-1][0]} clients have the file after {rows[-1][1]} s in the mean, where Dragonfly's"
        f" README says {_THEIRS_S:.0f} s and the bound is {rows[-1][5]} s; the origin gave"
        f" {rows[-1][8]} files."
    )
    return Result("published", summary, Table(_HEAD, tuple(rows)), figures, _plot(plan, reports))


def _plot(plan: Plan, reports: Sequence[Report]) -> Lines:
    return Lines(
        title=f"{plan.file_bytes / 1e6:.0f} MB to clients of 200 Mb/s, simulated",
        x_label="clients",
        y_label="completion, s",
        x=tuple(map(float, plan.clients)),
        lines=(
            Line("mean", tuple(report.mean_s or 0.0 for report in reports)),
            Line("last", tuple(report.max_s or 0.0 for report in reports)),
            Line("Dragonfly's README, mean", (_THEIRS_S,) * len(reports), dashed=True),
            Line("bound on the last", tuple(r.scenario.bounds[1] for r in reports), dashed=True),
        ),
    )


def main() -> None:
    """Measure and print."""
    print(measure())


if __name__ == "__main__":
    main()
