"""``dfget``: download one file through the swarm; ``dfget server``: give to others.

What is heavy to import is imported where it is used: ``dfget --help`` answers at once.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from ..engine.errors import ConfigError
from .options import DFGET, DFGET_SERVER
from .status import ExitError, ExitStatus, Stopped, run_program

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..net.fetch import FetchRequest, Outcome
    from .options import FetchFlags
    from .progress import Bar, Reporter


def main(argv: Sequence[str] | None = None) -> int:
    """Run dfget and return its exit status; ``argv`` without the program's name."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_program("dfget", partial(_command, arguments), verbose="--verbose" in arguments)


def _command(arguments: list[str]) -> ExitStatus:
    match arguments:
        case []:
            raise ConfigError(
                "Please use the command 'help' to show the help information: no URL given"
            )
        case ["help", *_]:
            print(DFGET.help())
            return ExitStatus.SUCCESS
        case ["version", *_]:
            _print_version()
            return ExitStatus.SUCCESS
        case ["server", *rest]:
            return _serve(rest)
        case _:
            return _fetch(DFGET.parse(arguments))


def _print_version() -> None:
    import platform

    from ..net.fetch import version

    print(f"dfget version  {version()}")
    print(f"  Python version: {platform.python_version()}")
    print(f"  OS/Arch:        {platform.system().lower()}/{platform.machine()}")


# --- dfget server ---------------------------------------------------------------------------------


def _serve(arguments: list[str]) -> ExitStatus:
    flags = DFGET_SERVER.parse(arguments)

    from ..net.peer_server import run_peer_server
    from .logs import logging_to
    from .settings import peer_server_config, server_log

    with logging_to(server_log(flags), verbose=flags.verbose):
        return ExitStatus(run_peer_server(peer_server_config(flags)))


# --- dfget ----------------------------------------------------------------------------------------


def _fetch(flags: FetchFlags) -> ExitStatus:
    from random import SystemRandom

    from .settings import fetch_request

    request = fetch_request(flags, SystemRandom())
    reporter = _reporter(flags, request)
    reporter.began()
    try:
        outcome = _download(request, reporter, console=flags.console)
    except Stopped as stopped:
        step = f"what came stays in {request.home}: run the same command again to get the rest"
        outcome = _failure(ExitStatus(stopped.status), f"{stopped}; {step}")
        reporter.ended(outcome)
        raise ExitError(outcome.message, stopped.status) from stopped
    reporter.ended(outcome)
    if outcome.code:
        step = _next_step(outcome)
        raise ExitError(f"{outcome.message}{step}", ExitStatus(outcome.code % 256))
    return ExitStatus.SUCCESS
