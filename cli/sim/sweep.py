"""``dfsim sweep``: many runs over a space of settings, one row of results each."""

from __future__ import annotations

import json
from contextlib import closing
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..units import as_argument
from .options import check_writable, parse_count
from .progress import counting
from .status import ExitStatus, complain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator, Sequence

    from ...sim.compare import Interval
    from ...sim.results import Setting
    from ...sim.sweep import Point, Result
    from . import Commands

_EPILOG: Final = """\
sweep.yml:

  scenario: flash-crowd           # a file, or the name of a scenario that comes along
  set: {peers: 200}               # for all runs; keys as in scenario files
  grid:                           # every combination of these
    policy: [damselfly, rarest]
    up_slots: [2, 3]
  random:                         # each with every one of so many draws
    draws: 20
    over:
      supernode_config.hold_s: {from: 0.2s, to: 5s, scale: log}
  seeds: 5                        # each under so many seeds, or a list of seeds

Results are JSON objects, one a line, each run's added as it ends.  Runs that the file has already,
of the same settings, seed and code, are not made again: after Ctrl-C the same command goes on.
--dask needs the package distributed (the extra "dask"), here and on the workers.

Exit status: 0 all runs are made and nobody was left without the file, 1 otherwise, 2 bad usage,
130 interrupted.
"""
_HEAD: Final = ("seeds", "mean s", "last s", "bound mean", "/bound", "supernode", "without")


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "sweep",
        help="many runs over a space of settings",
        description="Run a grid of settings, or random ones, each under several seeds.",
        epilog=_EPILOG,
    )
    parser.set_defaults(command=run)
    count = as_argument(parse_count)
    parser.add_argument("sweep", metavar="SWEEP.yml", type=Path, help="what to run")
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="the results (default: SWEEP.jsonl beside it)"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--jobs", metavar="N", type=count, default=1, help="processes (1)")
    where.add_argument("--dask", metavar="ADDRESS", help="run on this Dask cluster")
    where.add_argument("--summary", action="store_true", help="run nothing, show what there is")
    parser.add_argument(
        "--best", metavar="N", type=count, default=10, help="settings to show at the end (10)"
    )


def run(args: argparse.Namespace) -> int:
    """Make the runs that are missing, show the best settings, return the exit status."""
    from ...sim.pool import prepare
    from ...sim.results import read_results
    from ...sim.sweep_file import load_sweep

    points = load_sweep(args.sweep).points()
    out: Path = args.out or args.sweep.with_suffix(".jsonl")
    if not args.summary:
        check_writable("--out", out)
    wanted = {point.key: point for point in points}
    rows = read_results(out)
    results = {row.key: row for row in rows if row.key in wanted}
    missing = [point for key, point in wanted.items() if key not in results]
    interrupted = False
    try:
        print(_plan(out, len(wanted), len(results), len(rows)), flush=True)
        if not args.summary:
            prepare()
            _play(missing, out, results, args)
    except KeyboardInterrupt:
        interrupted = True
    print(_table(list(results.values()), args.best))
    if interrupted:
        left = len(wanted) - len(results)
        message = f"interrupted; {left} runs are left, which the same command makes"
        return complain(message, ExitStatus.INTERRUPTED)
    return ExitStatus.FAILED if any(row.unfinished for row in results.values()) else ExitStatus.OK


def _play(
    missing: Sequence[Point], out: Path, results: dict[str, Result], args: argparse.Namespace
) -> None:
    """Make runs, adding each to the file and to ``results``."""
    from ...sim.results import add_result

    with counting("runs", len(missing)) as advance, closing(_runs(missing, args)) as made:
        for result in made:
            add_result(out, result)
            results[result.key] = result
            advance()


def _runs(missing: Sequence[Point], args: argparse.Namespace) -> Generator[Result]:
    from ...sim.sweep import play

    if not missing:
        return
    if args.dask is None:
        from ...sim.pool import each

        yield from each(play, missing, processes=args.jobs)
    else:
        from ...sim.cluster import each_on

        yield from each_on(args.dask, play, missing)


def _plan(out: Path, runs: int, done: int, rows: int) -> str:
    other = f"; {rows - done} rows there of other settings or code" if rows > done else ""
    return f"{runs} runs, {done} of them in {out} already{other}"


def _table(results: Sequence[Result], best: int) -> str:
    """Show the settings that come nearest to the bound."""
    from ...sim.results import ranked

    settings = ranked(results)
    if not settings:
        return "no results"
    keys = list(settings[0].parameters)
    lines = [(*keys, *_HEAD), *(_line(one, keys) for one in settings[:best])]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = ["  ".join(map(str.rjust, line, widths)) for line in lines]
    left = len(settings) - best
    more = [f"and {left} settings more; --best {len(settings)} shows all"] if left > 0 else []
    return "\n".join((*table, *more))


def _line(one: Setting, keys: Sequence[str]) -> tuple[str, ...]:
    return (
        *(_value(one.parameters[key]) for key in keys),
        str(one.seeds),
        _seconds(one.mean_s),
        _seconds(one.max_s),
        f"{one.bound_mean_s:.3f}",
        f"{one.ratio_mean:.3f}",
        f"{one.supernode_files:.2f}",
        str(one.unfinished),
    )


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value)


def _seconds(interval: Interval) -> str:
    mean, half = interval
    return f"{mean:.3f}" if half == inf else f"{mean:.3f} ± {half:.3f}"
