"""``dfget``: download one file through the swarm; ``dfget server``: give to others.

What is heavy to import is imported where it is used: ``dfget --help`` answers at once.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from ..engine.effects import BackSourceReason, FailCode
from .options import DFGET, DFGET_SERVER
from .status import ExitError, ExitStatus, Stopped, run_program
from .values import version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..net.fetch import FetchRequest, Outcome
    from .bars import Bar
    from .options import FetchFlags
    from .progress import Reporter

_FORBIDDEN: Final = 1000
"""Added to a reason where going back to the source was not allowed (protocol 8.4)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run dfget and return its exit status; ``argv`` without the program's name."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_program("dfget", partial(_command, arguments), verbose="--verbose" in arguments)


def _command(arguments: list[str]) -> ExitStatus:
    match arguments:
        case []:
            text = "no URL given. Please use the command 'help' to show the help information."
            raise ExitError(text, ExitStatus.FAILED)
        case ["help", *_]:
            print(DFGET.help(), end="")
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

    print(f"dfget version  {version()}")
    print(f"  Python version: {platform.python_version()}")
    print(f"  OS/Arch:        {platform.system().lower()}/{platform.machine()}")


# --- dfget server ---------------------------------------------------------------------------------


def _serve(arguments: list[str]) -> ExitStatus:
    flags = DFGET_SERVER.parse(arguments)

    from ..net.peer_meta import WorkHome
    from ..net.peer_server import run_peer_server
    from .logs import LogError, logging_to
    from .settings import peer_server_config, work_home

    config = peer_server_config(flags)
    try:
        with logging_to(WorkHome(work_home(flags.home)).server_log, verbose=flags.verbose):
            return ExitStatus(run_peer_server(config))
    except LogError as error:
        raise ExitError(str(error), ExitStatus.SERVER_FAILED) from error


# --- dfget ----------------------------------------------------------------------------------------


def _fetch(flags: FetchFlags) -> ExitStatus:
    from random import SystemRandom

    from .settings import fetch_request

    request = fetch_request(flags, SystemRandom())

    from ..net.fetch import PrepareError
    from .logs import LogError

    reporter = _reporter(flags, request)
    reporter.began()
    began = time.monotonic()
    try:
        outcome = _download(request, reporter, console=flags.console)
        status, step = ExitStatus(outcome.code % 256), _next_step(outcome)
    except Stopped as stopped:
        outcome = _failure(FailCode.DOWNLOAD_FAILED, 0, str(stopped), began)
        status, step = stopped.status, "; run the same command again to get the rest"
    except (PrepareError, LogError) as error:
        reason = BackSourceReason.INIT_FAILED
        outcome = _failure(FailCode.PREPARE_FAILED, reason, str(error), began)
        status, step = ExitStatus.PREPARE_FAILED, ""
    reporter.ended(outcome)
    if status is not ExitStatus.SUCCESS:
        raise ExitError(f"{outcome.message}{step}", status)
    return status


def _download(request: FetchRequest, reporter: Reporter, *, console: bool) -> Outcome:
    import trio

    from ..net.fetch import fetch
    from .interrupt import until_signal
    from .logs import LOG, logging_to
    from .progress import Paced

    watcher = Paced(reporter)
    path = request.home / "logs" / "dfclient.log"
    with logging_to(path, sign=request.sign, verbose=request.verbose, console=console):
        LOG.info("get init config:%s", _shown(request))
        outcome = trio.run(until_signal, partial(fetch, request, watcher), watcher.run)
        result = "SUCCESS" if outcome.code is FailCode.SUCCESS else f"FAIL({int(outcome.code)})"
        LOG.info(
            "download %s cost:%.3fs length:%d reason:%d %s",
            result,
            outcome.seconds,
            outcome.length,
            outcome.reason,
            outcome.message,
        )
    return outcome


def _reporter(flags: FetchFlags, request: FetchRequest) -> Reporter:
    from .bars import PlainBar, TerminalBar
    from .progress import JsonReporter, LineReporter

    if flags.json:
        return JsonReporter(request, sys.stdout)
    bar: Bar | None = None
    if sys.stderr.isatty():
        bar = TerminalBar(sys.stderr)
    elif flags.showbar:
        bar = PlainBar(sys.stderr)
    return LineReporter(request, sys.stdout, sys.stderr, bar)


def _failure(code: FailCode, reason: int, message: str, began: float) -> Outcome:
    """Return the outcome of a download that did not get so far as to have one."""
    from ..net.fetch import Outcome, Progress

    seconds = time.monotonic() - began
    return Outcome(code, reason, message, -1, seconds, Progress(), task="", peer="")


def _next_step(outcome: Outcome) -> str:
    """Return what to do about a failure whose message does not say so itself."""
    if outcome.code is FailCode.NEED_AUTH:
        return "; give the credentials with --header"
    is_forbidden = outcome.reason >= _FORBIDDEN
    match BackSourceReason(outcome.reason % _FORBIDDEN):
        case BackSourceReason.NO_SPACE:
            return "; free some space, then run the same command again"
        case BackSourceReason.WRITE_FAILED:
            return ""
        case _ if is_forbidden:
            return "; see that the supernodes run and are named right, or leave out --notbs"
        case _ if outcome.message.startswith("md5 not match"):
            return ""
        case _ if outcome.message.startswith("not done after"):
            return "; allow more with --timeout and run again: what came is kept"
        case _:
            return "; check the URL and the origin, then run again: what came is kept"


def _shown(request: FetchRequest) -> str:
    """Return the request for the log, without secrets."""
    import json
    from dataclasses import asdict

    from ..engine.redact import Redactor

    redactor = Redactor()
    values = asdict(request) | {"headers": [redactor.header_line(line) for line in request.headers]}
    return json.dumps(values, default=str)


if __name__ == "__main__":
    sys.exit(main())
