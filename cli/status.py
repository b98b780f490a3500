"""How a program ends: its exit status, and the one place where exceptions become one."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from enum import IntEnum
from typing import TYPE_CHECKING, cast

from ..engine.errors import ConfigError, DamselflyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class ExitStatus(IntEnum):
    """What the caller of a program gets; those of dfget and dfdaemon are Dragonfly's."""

    SUCCESS = 0
    FAILED = 1
    """Bad flags or configuration, a port in use, a directory that cannot be used."""
    BUG = 2
    BAD_CONFIG = 10
    """Of dfdaemon, as those up to 17: its file or the environment makes no sense."""
    NO_HOME = 11
    REPO_NOT_ABSOLUTE = 12
    BAD_RATE = 13
    BAD_PORT = 14
    DFGET_MISSING = 15
    REPO_FAILED = 16
    DFGET_FAILED = 17
    SERVER_FAILED = 76
    PREPARE_FAILED = 77
    USER_UNKNOWN = 78
    NEED_AUTH = 79
    DOWNLOAD_FAILED = 80
    INTERRUPTED = 128 + signal.SIGINT
    TERMINATED = 128 + signal.SIGTERM


class ExitError(DamselflyError):
    """The program is to say this one line and end with this status."""

    def __init__(self, message: str, status: ExitStatus) -> None:
        super().__init__(message)
        self.status = status


class Stopped(ExitError):
    """A signal asked the program to end."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}", ExitStatus(128 + number))


def run_program(name: str, action: Callable[[], ExitStatus], *, verbose: bool) -> int:
    """Return the status of ``action``; its exceptions become a line on stderr and a status.

    ``verbose`` adds the traceback.
    """
    try:
        return int(action())
    except SystemExit:
        raise
    except BaseException as error:
        if verbose:
            traceback.print_exc()
        status, message = _explain(first_cause(error))
    print(f"{name}: {message}", file=sys.stderr)
    return int(status)


def first_cause(error: BaseException) -> BaseException:
    """Return what matters most among the errors of concurrent tasks."""
    return min(_leaves(error), key=lambda leaf: not isinstance(leaf, KeyboardInterrupt))


def _explain(error: BaseException) -> tuple[ExitStatus, str]:
    match error:
        case ExitError():
            return error.status, str(error)
        case ConfigError():
            return ExitStatus.FAILED, f"{error}; see --help"
        case BrokenPipeError():
            _forget_stdout()
            return ExitStatus.FAILED, "nobody reads the standard output any more"
        case DamselflyError():
            return ExitStatus.FAILED, str(error)
        case OSError():
            where = f": {error.filename}" if error.filename is not None else ""
            return ExitStatus.FAILED, f"{error.strerror or error}{where}"
        case KeyboardInterrupt():
            return ExitStatus.INTERRUPTED, "stopped by SIGINT"
        case _:
            text = f"internal error: {type(error).__name__}: {error}"
            return ExitStatus.BUG, f"{text}; run again with --verbose and report what it prints"


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _leaves(part)
    else:
        yield error


def _forget_stdout() -> None:
    """Keep the interpreter from failing once more when it flushes on exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
