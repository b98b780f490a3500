"""``dfsim run``: one swarm, and its figures beside the fastest that is possible."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .options import UNITS, add_scenario, check_writable, repeating, scenario_of
from .progress import moving
from .status import ExitStatus, complain

if TYPE_CHECKING:
    import argparse

    from . import Commands

_EPILOG: Final = f"""\
{UNITS}
The first line printed is the command that repeats the run exactly.  Exit status: 0 all live peers
have the file, 1 some do not or a check failed, 2 bad usage, 130 interrupted.
"""


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "run",
        help="one swarm",
        description="Simulate one swarm and compare it with the fastest that is possible.",
        epilog=_EPILOG,
    )
    parser.set_defaults(command=run)
    add_scenario(parser, positional=True)
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write the figures to FILE")
    parser.add_argument("--check", action="store_true", help="run the checkers between nodes")
    parser.add_argument(
        "--paranoid",
        action="store_true",
        help="as --check, and recount every engine's state after every call (slow)",
    )
    parser.add_argument(
        "--trace-digest",
        action="store_true",
        help="print nothing but the digest of all that happened",
    )


def run(args: argparse.Namespace) -> int:
    """Simulate, print, return the exit status."""
    from ...sim.swarm import NotFinished, Swarm

    check_writable("--json", args.json)
    # A run makes millions of objects and next to no cycles: looking for them costs 8 % by default.
    gc.set_threshold(100_000, 20, 100)
    scenario = scenario_of(args)
    quiet: bool = args.trace_digest
    digests = quiet or args.check or args.paranoid or args.json is not None
    if not quiet:
        print(repeating("run", args, ("check", "paranoid")), flush=True)
    with moving("simulating", hidden=quiet) as moved:
        swarm = Swarm(
            scenario, check=args.check, paranoid=args.paranoid, progress=moved, digests=digests
        )
        try:
            report = swarm.run()
        except (KeyboardInterrupt, NotFinished) as error:
            report = swarm.report()
            interrupted = isinstance(error, KeyboardInterrupt)
            failure = "interrupted; the figures so far:" if interrupted else str(error)
            status = ExitStatus.INTERRUPTED if interrupted else ExitStatus.FAILED
        else:
            failure, status = "", ExitStatus.FAILED if report.unfinished else ExitStatus.OK
    if failure:
        complain(failure, status)
    if not quiet:
        print(report.text())
    elif status is ExitStatus.OK:
        print(report.trace_digest)
    if args.json is not None:
        args.json.write_text(f"{report.json()}\n", encoding="utf-8")
    return status
