"""Work in a process of its own that outlives this one and has all its imports already."""

from __future__ import annotations

import gc
import os
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

_STANDARD_FDS = 3


def can_fork() -> bool:
    """Tell whether a fork of this process is safe: there is no other thread to leave behind."""
    return threading.active_count() == 1


def fork_detached(work: Callable[[], int], title: str, stdout_fd: int, stderr_fd: int) -> int:
    """Run ``work`` detached, as a process that calls itself ``title``, and exit with its status.

    Its session is its own, so that the terminal's signals pass it by, and it is no child of
    this process.  Standard input is empty, all other files are closed.  Returns the number of the
    go-between that started it: it leads their process group and waits to be waited for.
    """
    gc.freeze()  # a collection in one process would copy the pages it shares with the other
    sys.stdout.flush()
    sys.stderr.flush()
    between = os.fork()
    if between == 0:
        _detach(work, title, stdout_fd, stderr_fd)
    return between


def _detach(work: Callable[[], int], title: str, stdout_fd: int, stderr_fd: int) -> NoReturn:
    status = 1
    try:
        os.setsid()
        if os.fork():
            status = 0
        else:
            _redirect(stdout_fd, stderr_fd)
            _rename(title)
            status = work()
            sys.stdout.flush()
    finally:
        # What was to be done at the end of the program is for the process that was forked.
        os._exit(status)


def _redirect(stdout_fd: int, stderr_fd: int) -> None:
    empty = os.open(os.devnull, os.O_RDONLY)
    for number, fd in enumerate((empty, stdout_fd, stderr_fd)):
        os.dup2(fd, number)
    os.closerange(_STANDARD_FDS, os.sysconf("SC_OPEN_MAX"))


def _rename(title: str) -> None:
    import setproctitle

    setproctitle.setproctitle(title)
