"""``dfget``: download one file through the swarm; ``dfget server``: give to others.

What is heavy to import is imported where it is used: ``dfget --help`` answers at once.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from .quick import deferred_modules, no_collections

with no_collections(), deferred_modules():
    from ..engine.errors import ConfigError
    from ..engine.ids import sign
    from ..engine.outcomes import FailCode
    from ..engine.records import replace
    from .command import command_named, unknown_command
    from .options import DFGET, DFGET_COMMANDS, DFGET_SERVER, DFGET_VERSION
    from .status import ExitError, ExitStatus, Stopped, run_program
    from .values import version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..net.peer_spawn import ServerStart
    from ..net.request import FetchRequest, Outcome
    from .bars import Bar
    from .logs import LogConfig
    from .options import FetchFlags
    from .progress import Reporter


def main(argv: Sequence[str] | None = None) -> int:
    """Run dfget and return its exit status; ``argv`` without the program's name."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_program("dfget", partial(_command, arguments), verbose=_is_verbose(arguments))


def _is_verbose(arguments: Sequence[str]) -> bool:
    return "--verbose" in arguments or "--verbose=true" in arguments


def _command(arguments: list[str]) -> ExitStatus:
    match arguments:
        case []:
            text = "no URL given. Please use the command 'help' to show the help information."
            raise ExitError(text, ExitStatus.FAILED)
        case ["help", *words]:
            print(command_named(DFGET_COMMANDS, words).help(), end="")
            return ExitStatus.SUCCESS
        case ["version", *rest]:
            _print_version(DFGET_VERSION.parse(rest).compat_version)
            return ExitStatus.SUCCESS
        case ["server", *rest]:
            return _serve(rest)
        case _ if _describe(arguments):
            return ExitStatus.SUCCESS
        case [word, *_] if "://" in word:
            raise ConfigError("a URL without a flag: give it with -u")
        case [word, *_] if not word.startswith("-"):
            raise unknown_command(DFGET_COMMANDS, word)
        case _:
            return _fetch(DFGET.parse(arguments))


def _describe(arguments: list[str]) -> bool:
    from .config_keys import DFGET_KEYS
    from .describe import describe

    return describe(DFGET_COMMANDS, DFGET_KEYS, arguments)


def _print_version(compat_version: str) -> None:
    import platform

    print(f"dfget version  {compat_version or version()}")
    if compat_version:
        print(f"  In truth:       damselfly {version()}")
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
        path, run = WorkHome(work_home(flags.home)).server_log, sign(os.getpid(), time.time())
        with logging_to(path, sign=run, verbose=flags.verbose):
            return ExitStatus(run_peer_server(config))
    except LogError as error:
        raise ExitError(str(error), ExitStatus.SERVER_FAILED) from error


def _serve_forked(arguments: Sequence[str]) -> int:
    return run_program("dfget", partial(_serve, list(arguments)), verbose="--verbose" in arguments)


# --- dfget ----------------------------------------------------------------------------------------


def _fetch(flags: FetchFlags) -> ExitStatus:
    from .compiled import kept_code

    with no_collections(), deferred_modules(), kept_code():
        from .config_file import dfget_choice
        from .logs import LogConfig
        from .settings import batch_requests, fetch_request

        chosen = dfget_choice(flags, os.environ)
        log = replace(LogConfig(), **chosen.log)
        _warn_of(flags.pattern)
        make = batch_requests if flags.urls else fetch_request
        wanted = make(flags, chosen)

        # A forked peer server has what is imported before; the rest is for the download alone.
        from ..net import fetch, peer_server  # noqa: F401  # pyright: ignore[reportUnusedImport]
        from ..net.peer_spawn import start_early

    if isinstance(wanted, tuple):
        return _fetch_all(flags, wanted, log)
    with start_early(wanted, _serve_forked) or contextlib.nullcontext() as early:
        return _fetch_one(flags, wanted, log, early)


def _warn_of(pattern: str) -> None:
    from .options import PATTERNS
    from .values import suggestion

    if pattern not in PATTERNS:
        near = suggestion(pattern, PATTERNS)
        print(f"dfget: unknown pattern {pattern!r}{near}; goes on as cdn", file=sys.stderr)


def _fetch_one(
    flags: FetchFlags, request: FetchRequest, log: LogConfig, early: ServerStart | None
) -> ExitStatus:
    from ..net.request import PrepareError
    from .logs import LogError
    from .outcome import failure, next_step, not_prepared, status_of

    reporter = _reporter(flags, request)
    reporter.began()
    began = time.monotonic()
    try:
        outcome = _download(request, reporter, log, early, console=flags.console)
        status, step = status_of(outcome), next_step(outcome)
    except Stopped as stopped:
        seconds = time.monotonic() - began
        outcome = failure(FailCode.DOWNLOAD_FAILED, 0, str(stopped), seconds)
        status, step = stopped.status, "; run the same command again to get the rest"
    except (PrepareError, LogError) as error:
        outcome = not_prepared(error, time.monotonic() - began)
        status, step = status_of(outcome), ""
    reporter.ended(outcome)
    if status is not ExitStatus.SUCCESS:
        raise ExitError(f"{outcome.message}{step}", status)
    return status


def _fetch_all(flags: FetchFlags, requests: Sequence[FetchRequest], log: LogConfig) -> ExitStatus:
    from .batch import run_batch
    from .logs import LOG, LogError, logging_to

    first = requests[0]
    path = first.home / "logs" / "dfclient.log"
    try:
        with logging_to(path, log, sign=first.sign, verbose=flags.verbose, console=flags.console):
            LOG.info("get init config:%s and %d more", _shown(first), len(requests) - 1)
            status = run_batch(requests, flags.jobs, json=flags.json)
    except LogError as error:
        raise ExitError(str(error), ExitStatus.PREPARE_FAILED) from error
    if status is not ExitStatus.SUCCESS:
        raise ExitError("not all files could be downloaded: see the lines above", status)
    return status


def _download(
    request: FetchRequest,
    reporter: Reporter,
    log: LogConfig,
    early: ServerStart | None,
    *,
    console: bool,
) -> Outcome:
    import trio

    from ..net.fetch import fetch
    from .interrupt import until_signal
    from .logs import LOG, logging_to
    from .progress import Paced, ended_line

    watcher = Paced(reporter)
    path = request.home / "logs" / "dfclient.log"
    with logging_to(path, log, sign=request.sign, verbose=request.verbose, console=console):
        LOG.info("get init config:%s", _shown(request))
        outcome = trio.run(until_signal, partial(fetch, request, watcher, early), watcher.run)
        LOG.info("%s", f"{ended_line(outcome)} {outcome.message}".rstrip())
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


def _shown(request: FetchRequest) -> str:
    """Return the request for the log, without secrets."""
    import json
    from dataclasses import asdict

    from ..engine.redact import Redactor

    redactor = Redactor()
    values = asdict(request) | {
        "headers": [redactor.header_line(line) for line in request.headers],
        "root_cas": len(request.root_cas),
    }
    return json.dumps(values, default=str)


if __name__ == "__main__":
    sys.exit(main())
