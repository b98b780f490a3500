"""``dfsim compare``: policies side by side, over the same scenarios and seeds."""

from __future__ import annotations

import argparse
import json
import shlex
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ...engine.errors import ConfigError
from ..units import as_argument
from .options import (
    UNITS,
    add_scenario,
    check_writable,
    parse_count,
    parse_policies,
    repeating,
    scenario_of,
)
from .progress import counting
from .status import ExitStatus, complain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...sim.compare import Interval, Outcome, Row
    from ...sim.scenario import Scenario
    from . import Commands

_EPILOG: Final = f"""\
{UNITS}
Each policy meets the same fleets: seed N draws the same links, arrivals and misfortunes for all.
Figures are means over the seeds with 95 per cent confidence intervals (Student's t); differences
are taken seed by seed from the first policy.  Bounds are those of each scenario.

Exit status: 0 all live peers have the file, 1 some do not, 2 bad usage, 130 interrupted.
"""
_HEAD: Final[tuple[str, ...]] = (
    "policy",
    "mean s",
    "p50 s",
    "p99 s",
    "max s",
    "/bound mean",
    "max",
    "supernode",
    "origin",
)


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "compare",
        help="policies side by side",
        description="Run the same scenarios and seeds under several policies.",
        epilog=_EPILOG,
    )
    parser.set_defaults(command=run)
    parser.add_argument(
        "--policies",
        metavar="A,B,...",
        type=as_argument(parse_policies),
        default=("damselfly", "dragonfly-v1"),
        help="the first is what the others are compared with (damselfly,dragonfly-v1)",
    )
    count = as_argument(parse_count)
    parser.add_argument("--seeds", metavar="N", type=count, default=20, help="how many (20)")
    parser.add_argument("--jobs", metavar="N", type=count, default=1, help="processes (1)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write every run to FILE")
    add_scenario(parser)


def run(args: argparse.Namespace) -> int:
    """Run everything, print tables, return the exit status."""
    from ...sim.compare import jobs_for, play, tabulate
    from ...sim.pool import prepare

    check_writable("--json", args.json)
    if args.policy is not None:
        raise ConfigError("--policy: expected --policies, of which there may be several")
    policies: tuple[str, ...] = args.policies
    scenarios = _scenarios(args)
    first_seed = args.seed.value if args.seed is not None else 0
    jobs = jobs_for(scenarios, policies, range(first_seed, first_seed + args.seeds))
    print(_command(args), flush=True)
    prepare()
    outcomes: list[Outcome] = []
    interrupted = False
    with counting("runs", len(jobs)) as advance:
        try:
            for outcome in play(jobs, processes=args.jobs):
                outcomes.append(outcome)
                advance()
        except KeyboardInterrupt:
            interrupted = True
    if interrupted:
        complain(f"interrupted after {len(outcomes)} of {len(jobs)} runs", ExitStatus.INTERRUPTED)
    rows = tabulate(outcomes, policies)
    for name in scenarios:
        if of_one := [row for row in rows if row.scenario == name]:
            print(_table(name, scenarios[name], of_one))
    if args.json is not None:
        _write(args.json, outcomes, rows)
    if interrupted:
        return ExitStatus.INTERRUPTED
    return ExitStatus.FAILED if any(row.unfinished for row in rows) else ExitStatus.OK


def _scenarios(args: argparse.Namespace) -> dict[str, Scenario]:
    """Return the scenarios by the names under which they were asked for."""
    if args.scenario is None:
        return {"flash crowd": scenario_of(args)}
    names = [name.strip() for name in args.scenario.split(",")]
    if len(set(names)) < len(names):
        raise ConfigError(f"--scenario {args.scenario}: expected each scenario once")
    return {
        name: scenario_of(argparse.Namespace(**{**vars(args), "scenario": name})) for name in names
    }


def _command(args: argparse.Namespace) -> str:
    words = ["--policies", ",".join(args.policies), "--seeds", str(args.seeds)]
    if args.jobs > 1:
        words += ["--jobs", str(args.jobs)]
    return f"{repeating('compare', args, without='--policy')} {shlex.join(words)}"


def _table(name: str, scenario: Scenario, rows: Sequence[Row]) -> str:
    bound_mean_s, bound_max_s = scenario.bounds
    lines: list[tuple[str, ...]] = [_HEAD]
    for row in rows:
        seconds = [_seconds(row.seconds[metric]) for metric in ("mean", "p50", "p99", "max")]
        ratios = (f"{row.ratio_mean:.3f}", f"{row.ratio_max:.3f}")
        files = (f"{row.supernode_files:.2f}", f"{row.origin_files:.2f}")
        lines.append((row.policy, *seconds, *ratios, *files))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    runs = f"{rows[0].runs} seed{'s' if rows[0].runs > 1 else ''}"
    bound = f"bound mean {bound_mean_s:.3f} s, max {bound_max_s:.3f} s"
    table = [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    verdicts = [_verdict(row, rows[0].policy) for row in rows[1:]]
    missing = [
        f"{row.policy}: {row.unfinished} peers in all did not get their files"
        for row in rows
        if row.unfinished
    ]
    return "\n".join(
        [f"\n{name}: {scenario.peers} peers, {runs}; {bound}", *table, *verdicts, *missing]
    )


def _verdict(row: Row, first: str) -> str:
    parts = [
        f"{metric} {_difference(row.against[metric])}"
        for metric in ("mean", "max")
        if metric in row.against
    ]
    return f"{row.policy} against {first}: {', '.join(parts)}" if parts else ""


def _difference(longer: Interval) -> str:
    share = f"{longer.mean:+.1%}"
    if longer.half == inf:
        return f"{share} (one seed: no telling)"
    if not longer.is_clear:
        return f"{share} ± {longer.half:.1%} (no difference to be seen)"
    return f"{share} ± {longer.half:.1%} ({'slower' if longer.mean > 0 else 'faster'})"


def _seconds(interval: Interval) -> str:
    mean, half = interval
    return f"{mean:.3f}" if half == inf else f"{mean:.3f} ± {half:.3f}"


def _write(path: Path, outcomes: Sequence[Outcome], rows: Sequence[Row]) -> None:
    made = {
        "runs": [outcome.as_dict() for outcome in outcomes],
        "rows": [row.as_dict() for row in rows],
    }
    path.write_text(f"{json.dumps(made, indent=2, allow_nan=False)}\n", encoding="utf-8")
