"""``dfsim from-trace``: what another policy would have done with a recorded fleet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ...engine.errors import ConfigError, RemoteProtocolError
from ..units import as_argument
from .options import check_writable, parse_policy, parse_seed
from .progress import counting
from .status import ExitStatus, complain

if TYPE_CHECKING:
    import argparse

    from ...sim.from_trace import Rebuilt
    from ...sim.observed import Observer
    from ...sim.report import Report
    from ...sim.scenario import Scenario
    from ...sim.traces import Recording
    from . import Commands

_EPILOG: Final = """\
Arrivals, departures, the file, its pieces, slots and each peer's speeds become a scenario.  A
link's speed is the most that it was seen to carry on average over some pieces: one that never had
enough to do is taken to be slower than it is.  The first figures to compare are those recorded
with those of the policy that was recorded: so far the scenario is like the fleet.

Without --out and --run the scenario goes to the standard output.  A trace that is cut off, or
whose beginning has been rotated away, is used as far as it goes.

Exit status: 0 done, 1 in the simulation live peers did not get the file, 2 bad usage, or a trace
without what is needed, 3 done with a part of the trace, 130 interrupted.
"""
_HEAD: Final = ("", "mean s", "max s", "supernode", "unfinished")


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "from-trace",
        help="a scenario out of a production trace",
        description="Make a scenario of what a supernode recorded, and try a policy on it.",
        epilog=_EPILOG,
    )
    parser.set_defaults(command=run)
    parser.add_argument("traces", metavar="TRACE", nargs="+", type=Path, help="a file or directory")
    parser.add_argument(
        "--policy",
        metavar="NAME",
        type=as_argument(parse_policy),
        help="who decides what moves next (default: as recorded)",
    )
    parser.add_argument(
        "--task", metavar="ID", default="", help="or how it begins (default: that of most peers)"
    )
    parser.add_argument("--out", metavar="FILE", type=Path, help="write the scenario to FILE")
    parser.add_argument(
        "--run", action="store_true", help="simulate it under the recorded policy, and under NAME"
    )
    seed = as_argument(parse_seed)
    parser.add_argument("--seed", metavar="N", type=seed, default=0, help="of the simulation (0)")


def run(args: argparse.Namespace) -> int:
    """Rebuild, write or simulate, return the exit status."""
    from ...sim.from_trace import choose, describe, rebuild
    from ...sim.observed import Observer

    check_writable("--out", args.out)
    recording = _only(args.traces)
    observer = Observer()
    status = _read(recording, observer)
    task = choose(observer, args.task)
    rebuilt = rebuild(observer, task, recording.config)
    recorded = replace(rebuilt.scenario, seed=args.seed)
    tried = recorded if args.policy is None else replace(recorded, policy=args.policy)
    about = [f"{recording.name}, task {task.task}", *_others(observer, task.task)]
    about += describe(rebuilt)
    if args.out is not None or not args.run:
        from ...sim.scenario_file import dump

        text = "".join([*(f"# {line}\n" for line in about), dump(tried)])
        if args.out is None:
            print(text, end="")
            return status
        args.out.write_text(text, encoding="utf-8")
    print(*about, sep="\n")
    if not args.run:
        return status
    reports = _simulate([recorded] if tried == recorded else [recorded, tried])
    print(_table(rebuilt, reports))
    return ExitStatus.FAILED if any(report.unfinished for report in reports) else status


def _only(traces: list[Path]) -> Recording:
    from ...sim.traces import find

    recordings, unreadable = find(traces)
    for path, why in unreadable:
        complain(f"{path}: left out: {why}", ExitStatus.INCOMPLETE)
    if len(recordings) != 1:
        names = ", ".join(recording.name for recording in recordings) or "none"
        raise ConfigError(f"found {names}: expected one recording; name the files of one")
    return recordings[0]


def _read(recording: Recording, observer: Observer) -> ExitStatus:
    """Tell the observer all that can be read."""
    status = ExitStatus.OK
    if recording.missing:
        gone = f"the first {recording.missing} records are gone"
        status = complain(f"{recording.name}: {gone}; the rest is used", ExitStatus.INCOMPLETE)
    try:
        with counting("MiB", recording.chunks) as advance:
            observer.read(recording.records(advance))
    except RemoteProtocolError as error:
        used = f"the {observer.records} records before that are used"
        status = complain(f"{error}; {used}", ExitStatus.INCOMPLETE)
    return status


def _others(observer: Observer, chosen: str) -> list[str]:
    others = [task for task in observer.tasks.values() if task.task != chosen and task.peers]
    if not others:
        return []
    named = ", ".join(f"{task.task[:12]} ({len(task.peers)} peers)" for task in others[:5])
    return [f"other tasks, for --task: {named}{', ...' if len(others) > 5 else ''}"]


def _simulate(scenarios: list[Scenario]) -> list[Report]:
    from ...sim.swarm import Swarm

    return [Swarm(scenario, digests=False).run() for scenario in scenarios]


def _table(rebuilt: Rebuilt, reports: list[Report]) -> str:
    """Return what happened beside what would have happened."""
    rows: list[tuple[str, ...]] = [_HEAD]
    sent, length = rebuilt.supernode_bytes, max(1, rebuilt.scenario.file_bytes)
    rows.append(_row("recorded", rebuilt.mean_s, rebuilt.max_s, sent / length, rebuilt.unfinished))
    for report in reports:
        files = report.supernode_bytes / length
        name = f"simulated, {report.scenario.policy}"
        rows.append(_row(name, report.mean_s, report.max_s, files, report.unfinished))
    wide = max(len(row[0]) for row in rows)
    return "\n".join(
        "".join([f"{row[0]:<{wide}}", *(f"{cell:>12}" for cell in row[1:])]) for row in rows
    )


def _row(
    name: str, mean_s: float | None, max_s: float | None, files: float, unfinished: int
) -> tuple[str, ...]:
    times = ("-" if seconds is None else f"{seconds:.3f}" for seconds in (mean_s, max_s))
    return (name, *times, f"{files:.2f}", str(unfinished))
