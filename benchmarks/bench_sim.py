"""How fast does dfsim simulate, and how near to the bound does the swarm of the day come?"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import simpy

from damselfly.engine.piece import MIB, PieceSizePolicy
from damselfly.sim.scenario import Scenario
from damselfly.sim.swarm import Swarm

from .results import Result, Table

if TYPE_CHECKING:
    from collections.abc import Generator

    from damselfly.sim.report import Report


_HEAD: Final = (
    "what",
    "last peer",
    "to bound",
    "mean to bound",
    "supernode files",
    "transfers/s",
    "timeouts each",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is simulated, and how many bare timeouts stand beside it."""

    scenarios: tuple[Scenario, ...]
    timeouts: int


FULL: Final = Plan(
    (Scenario(piece_size=4 * MIB), Scenario(piece_size=PieceSizePolicy.ADAPTIVE)), 300_000
)
QUICK: Final = Plan((Scenario(peers=8, file_bytes=8 * MIB),), 1000)


def measure(plan: Plan = FULL) -> Result:
    """Run each scenario once: its outcome is the same every time, only its pace varies."""
    reference = _bare_simpy(plan.timeouts)
    rows = [(f"simpy alone, {plan.timeouts} timeouts", "", "", "", "", f"{reference:,.0f}", "1")]
    figures = {"simpy timeouts per s": reference}
    reports = [Swarm(scenario, digests=False).run() for scenario in plan.scenarios]
    for report in reports:
        title, pace = _title(report), report.transfers / report.wall_s
        files = report.supernode_bytes / report.scenario.file_bytes
        ratio_mean, ratio_max = report.ratio_mean or 0.0, report.ratio_max or 0.0
        rows.append(
            (
                title,
                f"{report.max_s:.3f} s",
                f"{ratio_max:.3f}",
                f"{ratio_mean:.3f}",
                f"{files:.2f}",
                f"{pace:,.0f}",
                f"{reference / pace:.0f}",
            )
        )
        figures |= {
            f"{title}: ratio max": ratio_max,
            f"{title}: ratio mean": ratio_mean,
            f"{title}: supernode files": files,
            f"{title}: transfers per s": pace,
            f"{title}: simpy timeouts each": reference / pace,
            f"{title}: engine calls per s": report.engine_calls / report.wall_s,
        }
    summary = (
        f"{_title(reports[-1])}: the last peer finishes at {rows[-1][2]} of the lower bound;"
        f" {rows[-1][5]} transfers are simulated a second, each for as much as {rows[-1][6]} bare"
        " timeouts of simpy, engines included."
    )
    return Result("sim", summary, Table(_HEAD, tuple(rows)), figures)


def _title(report: Report) -> str:
    scenario = report.scenario
    size = f"{scenario.file_bytes / 1e6:.0f} MB in {scenario.layout.count} pieces"
    return f"{scenario.peers} peers, {size}"


def _bare_simpy(timeouts: int) -> float:
    """Return how many timeouts a second simpy fires when nothing else is to do."""

    def wait() -> Generator[simpy.Event, None, None]:
        for _ in range(timeouts):
            yield world.timeout(1.0)

    world = simpy.Environment()
    world.process(wait())
    began = time.perf_counter()
    world.run()
    return timeouts / (time.perf_counter() - began)


def main() -> None:
    """Measure and print."""
    print(measure())


if __name__ == "__main__":
    main()
