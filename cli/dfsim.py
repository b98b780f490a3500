"""``dfsim``: what would a swarm do?  Production engines over simulated links."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

from ..engine.errors import ConfigError, DamselflyError
from .sim import compare, from_trace, fuzz, replay, report, run, sweep
from .sim.status import ExitStatus, complain

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMMANDS: Final = (run, compare, fuzz, replay, from_trace, report, sweep)


def main(argv: Sequence[str] | None = None) -> int:
    """Run dfsim and return its exit status; ``argv`` without the program's name."""
    try:
        args = _parser().parse_args(argv)
        return args.command(args)
    except ConfigError as error:
        return complain(str(error), ExitStatus.USAGE)
    except BrokenPipeError:
        # Whoever read our output has seen enough; nothing may be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitStatus.FAILED
    except (DamselflyError, OSError) as error:
        return complain(str(error), ExitStatus.FAILED)
    except KeyboardInterrupt:
        return complain("interrupted", ExitStatus.INTERRUPTED)


class _Parser(argparse.ArgumentParser):
    """The program's, and by inheritance each command's: no abbreviations, text as it is written."""

    def __init__(self, **settings: Any) -> None:
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(**settings, formatter_class=formatter, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        self.exit(ExitStatus.USAGE, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="dfsim",
        description="Simulate the distribution of a file to many peers with the real engines.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
