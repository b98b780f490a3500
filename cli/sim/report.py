"""``dfsim report``: how a swarm went, as one page of charts."""

from __future__ import annotations

import shlex
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ...engine.errors import ConfigError
from ...engine.records import dataclass
from ..units import as_argument
from .options import (
    UNITS,
    add_scenario,
    check_writable,
    chosen,
    parse_count,
    parse_policies,
    repeating,
    scenario_of,
)
from .progress import counting, moving
from .status import ExitStatus, complain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from ...sim.compare import Outcome, Row
    from ...sim.pages.plots import Run
    from ...sim.scenario import Scenario
    from . import Commands

_EPILOG: Final = f"""\
{UNITS}
The page needs nothing else: no network, no script.  Its charts show the runs of one seed; more
--seeds add a table of means with 95 per cent confidence intervals.  Ctrl-C leaves a page about what
was done until then.  --png needs matplotlib (the extra "plots").

Exit status: 0 all live peers have the file, 1 some do not, 2 bad usage, 130 interrupted.
"""


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "report",
        help="one swarm, or several policies, as a page of charts",
        description="Simulate, and show on a page who got what when and from where.",
        epilog=_EPILOG,
    )
    parser.set_defaults(command=run)
    parser.add_argument("out", metavar="OUT.html", type=Path, help="the page to write")
    parser.add_argument(
        "--policies",
        metavar="A,B,...",
        type=as_argument(parse_policies),
        help="policies to show side by side (default: the scenario's own)",
    )
    count = as_argument(parse_count)
    parser.add_argument("--seeds", metavar="N", type=count, default=1, help="how many (1)")
    parser.add_argument("--jobs", metavar="N", type=count, default=1, help="processes (1)")
    parser.add_argument(
        "--png", metavar="DIR", type=Path, help="also write each chart to a PNG file in DIR"
    )
    add_scenario(parser, positional=True)


def run(args: argparse.Namespace) -> int:
    """Simulate, write the page, return the exit status."""
    from ...sim.pages.page import Subject, page
    from ...sim.pages.png import check_installed
    from ...sim.pool import prepare
    from ...sim.scenario_file import dump

    check_writable("OUT.html", args.out)
    if args.png is not None:
        check_installed()
        check_writable("--png", args.png / "completion.png" if args.png.is_dir() else args.png)
    name, command, scenarios = _name(args), _command(args), _scenarios(args)
    print(command, flush=True)
    prepare()
    seen = _Seen()
    try:
        _record(scenarios, seen)
        rows = _compare(name, scenarios, seen, seeds=args.seeds, processes=args.jobs)
    except KeyboardInterrupt:
        rows, seen.missing = [], seen.missing or "interrupted."
    if not seen.runs:
        return complain("interrupted before anything was seen", ExitStatus.INTERRUPTED)
    subject = Subject(name, command, dump(seen.runs[0].report.scenario), seen.missing)
    args.out.write_text(page(subject, seen.runs, rows), encoding="utf-8")
    print(f"wrote {args.out}: {args.out.stat().st_size:,} bytes")
    if args.png is not None:
        _write_images(args.png, seen.runs)
    if seen.missing:
        return complain(f"the page is partial: {seen.missing}", ExitStatus.INTERRUPTED)
    left_out = any(one.report.unfinished for one in seen.runs) or any(r.unfinished for r in rows)
    return ExitStatus.FAILED if left_out else ExitStatus.OK


@dataclass(slots=True)
class _Seen:
    """What was seen so far, and what an interrupt cut off."""

    runs: list[Run] = field(default_factory=list["Run"])
    missing: str = ""


def _record(scenarios: Sequence[Scenario], seen: _Seen) -> None:
    """Make and follow one run of each; an interrupt ends with the run that it hits."""
    from ...sim.pages.plots import Run
    from ...sim.recorder import Recorder
    from ...sim.swarm import Swarm

    for scenario in scenarios:
        recorder = Recorder()
        with moving(f"simulating {scenario.policy}") as moved:
            swarm = Swarm(scenario, progress=moved, recorder=recorder)
            try:
                swarm.run()
            except KeyboardInterrupt:
                at_s = swarm.stage.world.now
                seen.missing = f"interrupted at {at_s:.3f} s of the run of {scenario.policy}."
            report = swarm.report()
        seen.runs.append(Run(scenario.policy, report, recorder.record()))
        print(f"\n{scenario.policy}\n{report.text()}", flush=True)
        if seen.missing:
            return


def _compare(
    name: str, scenarios: Sequence[Scenario], seen: _Seen, *, seeds: int, processes: int
) -> list[Row]:
    """Return the policies side by side over all seeds, of which the first was recorded."""
    from ...sim.compare import Job, outcome_of, play, tabulate

    if seeds == 1 or seen.missing:
        return []
    first = scenarios[0].seed
    jobs = [
        Job(name, replace(scenario, seed=seed))
        for seed in range(first + 1, first + seeds)
        for scenario in scenarios
    ]
    outcomes: list[Outcome] = [outcome_of(name, one.report) for one in seen.runs]
    with counting("runs", len(jobs)) as advance:
        try:
            for outcome in play(jobs, processes=processes):
                outcomes.append(outcome)
                advance()
        except KeyboardInterrupt:
            done = len(outcomes) - len(scenarios)
            seen.missing = f"interrupted after {done} of {len(jobs)} runs with other seeds."
    return tabulate(outcomes, [scenario.policy for scenario in scenarios])


def _write_images(folder: Path, runs: Sequence[Run]) -> None:
    from ...sim.pages.plots import charts
    from ...sim.pages.png import write

    for path in write(charts(runs), folder):
        print(f"wrote {path}")


def _scenarios(args: argparse.Namespace) -> list[Scenario]:
    scenario = scenario_of(args)
    if args.policies is None:
        return [scenario]
    if args.policy is not None:
        raise ConfigError("--policy: expected it among --policies, of which there may be several")
    return [replace(scenario, policy=policy) for policy in args.policies]


def _name(args: argparse.Namespace) -> str:
    given = chosen(args)
    return "flash crowd" if given is None else Path(given).stem


def _command(args: argparse.Namespace) -> str:
    words = [str(args.out)]
    if args.policies is not None:
        words += ["--policies", ",".join(args.policies)]
    for flag, value, usual in (("--seeds", args.seeds, 1), ("--jobs", args.jobs, 1)):
        if value != usual:
            words += [flag, str(value)]
    if args.png is not None:
        words += ["--png", str(args.png)]
    hidden = "" if args.policies is None else "--policy"
    program, command, *rest = shlex.split(repeating("report", args, without=hidden))
    return shlex.join([program, command, *words, *rest])
