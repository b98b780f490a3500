"""``dfsim fuzz``: storms drawn from seeds, under every check; what fails is made small."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING, Final

from ..units import as_argument
from .options import parse_count, parse_seed
from .progress import counting
from .status import ExitStatus

if TYPE_CHECKING:
    import argparse

    from ...sim.fuzz import Trial
    from . import Commands

_TWIN_EVERY: Final = 10
_EPILOG: Final = """\
A seed decides everything: how many peers want what, over which links, and what befalls them.  Every
checker between nodes watches, every engine recounts its state after every call, and one run in ten
is repeated in another process, where strings hash otherwise, to see whether it goes the same way.

Exit status: 0 no seed failed, 1 some did, 2 bad usage, 130 interrupted.
"""


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "fuzz",
        help="look for faults in storms of all kinds",
        description="Run many drawn scenarios with all checks; repeat and shrink what fails.",
        epilog=_EPILOG,
    )
    count, seed = as_argument(parse_count), as_argument(parse_seed)
    parser.add_argument("--seeds", metavar="N", type=count, default=100, help="how many (100)")
    parser.add_argument("--first", metavar="SEED", type=seed, default=0, help="the first one (0)")
    parser.add_argument("--jobs", metavar="N", type=count, default=1, help="processes (1)")
    parser.add_argument(
        "--no-shrink", action="store_true", help="do not look for a smaller scenario that fails"
    )
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Run all seeds, print what fails, return the exit status."""
    from ...sim.fuzz import Twin, compared, fuzz
    from ...sim.pool import prepare

    first: int = args.first
    seeds = range(first, first + args.seeds)
    print(_command(first, args.seeds, args.jobs), flush=True)
    prepare()
    began, done, failed = time.monotonic(), 0, 0
    interrupted = False
    with Twin() as twin, counting("seeds", len(seeds)) as advance:
        try:
            for trial in fuzz(seeds, jobs=args.jobs):
                if done % _TWIN_EVERY == 0:
                    trial = compared(trial, twin.digest)
                done += 1
                advance()
                if trial.objection is not None:
                    failed += 1
                    _tell(trial, shrinks=not args.no_shrink)
        except KeyboardInterrupt:
            interrupted = True
    of = f" of {len(seeds)}" if interrupted else ""
    print(f"{done}{of} seeds, {failed} failed, {time.monotonic() - began:.1f} s")
    if interrupted:
        return ExitStatus.INTERRUPTED
    return ExitStatus.FAILED if failed else ExitStatus.OK


def _tell(trial: Trial, *, shrinks: bool) -> None:
    from ...sim.fuzz import smallest
    from ...sim.scenario_file import dump

    assert trial.objection is not None
    checker, message = trial.objection
    print(f"\nseed {trial.seed}: {checker}: {message}")
    print(f"  {_command(trial.seed, 1, 1)}", flush=True)
    if not shrinks or checker == "Determinism":
        return
    scenario, runs = smallest(trial.seed, trial.objection)
    print(f"The least that fails so, found in {runs} runs; dfsim run FILE.yml --paranoid:\n")
    print(dump(scenario), flush=True)


def _command(first: int, seeds: int, jobs: int) -> str:
    words = ["dfsim", "fuzz", "--first", str(first), "--seeds", str(seeds)]
    return shlex.join([*words, "--jobs", str(jobs)] if jobs > 1 else words)
