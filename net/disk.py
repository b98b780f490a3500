"""The disk of a supernode's copies: how full it is, what lies there, since when unused.

A copy is ``<folder>/<3>/<task>`` with its log (``sidecar``) beside it, and nothing else there is
ever touched.  When a copy was used is kept in the times of its files: the last use in the data
file's, the one before that in the log's.  So it survives a restart, and a survey opens no file
but the logs.  All functions here block: they are for worker threads.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from ..engine.events import DiskSurveyed, FoundCopy
from ..engine.ids import TaskId
from .sidecar import SUFFIX, SidecarState, replay, sidecar_path
from .store import delete_store

if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from pathlib import Path

_FOLDER: Final = re.compile(r"[0-9a-f]{3}")
_NAME: Final = re.compile(r"[0-9a-f]{64}")
_LOG_HEAD_BYTES: Final = 4096
_ONE_USE_S: Final = 60.0
"""Times of the two files nearer than this are of one use."""


class Used(NamedTuple):
    """When a copy was used last, and the time between that and the use before, 0 for none."""

    last_s: float
    interval_s: float


def copy_path(folder: Path, task: TaskId) -> Path:
    """Return where the data of a copy lies."""
    return folder / task[:3] / task


def survey(folder: Path, in_use: Container[TaskId], *, lists_copies: bool) -> DiskSurveyed:
    """Measure the disk under ``folder``, and list the copies on it if that is asked for."""
    copies = tuple(_copies(folder, in_use)) if lists_copies else None
    try:
        found = os.statvfs(folder)
    except OSError:
        return DiskSurveyed(0, 0, copies)
    return DiskSurveyed(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize, copies)


def free_bytes(folder: Path) -> int:
    """Return how many bytes can still be written under ``folder``; raises ``OSError``."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def delete_copy(folder: Path, task: TaskId) -> bool:
    """Remove a copy and tell whether it is gone; one that somebody writes stays.

    Raises ``OSError`` if it cannot be removed.
    """
    if not _NAME.fullmatch(task):
        return False
    path = copy_path(folder, task)
    with contextlib.ExitStack() as closing:
        with contextlib.suppress(FileNotFoundError):
            log_fd = os.open(sidecar_path(path), os.O_RDONLY | os.O_CLOEXEC)
            closing.callback(os.close, log_fd)
            try:
                fcntl.flock(log_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        delete_store(path)
    return True


def when_used(path: Path) -> Used:
    """Return what the times of a copy's files say; raises ``OSError`` if there is no copy."""
    last_s = path.stat().st_mtime
    before_s = last_s
    with contextlib.suppress(FileNotFoundError):
        before_s = sidecar_path(path).stat().st_mtime
    interval_s = last_s - before_s
    return Used(last_s, interval_s if interval_s >= _ONE_USE_S else 0.0)


def mark_used(path: Path, last_s: float, before_s: float | None) -> None:
    """Remember when a copy was used last, and before that; one that is gone is no error."""
    with contextlib.suppress(OSError):
        os.utime(path, (last_s, last_s))
        before_s = last_s if before_s is None else before_s
        os.utime(sidecar_path(path), (before_s, before_s))


def _copies(folder: Path, in_use: Container[TaskId]) -> Iterator[FoundCopy]:
    now = time.time()
    for inner in _names(folder, _FOLDER):
        tasks = {name.removesuffix(SUFFIX): None for name in _names(folder / inner)}
        for name in sorted(tasks):
            if not _NAME.fullmatch(name) or not name.startswith(inner):
                continue
            with contextlib.suppress(OSError):
                yield _look_at(folder / inner / name, now, in_use)


def _names(folder: Path, pattern: re.Pattern[str] | None = None) -> list[str]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
        return sorted([name for name in names if pattern is None or pattern.fullmatch(name)])
    return []


def _look_at(path: Path, now: float, in_use: Container[TaskId]) -> FoundCopy:
    """Raise ``OSError`` where there is nothing that can be looked at."""
    task, log_path = TaskId(path.name), sidecar_path(path)
    try:
        size_bytes, used = path.lstat().st_blocks * 512, when_used(path)
    except FileNotFoundError:
        size_bytes, used = 0, Used(log_path.stat().st_mtime, 0.0)
    return FoundCopy(
        task=task,
        size_bytes=size_bytes,
        idle_s=max(0.0, now - used.last_s),
        interval_s=used.interval_s,
        in_use=task in in_use,
        readable=_is_readable(path, log_path),
    )


def _is_readable(path: Path, log_path: Path) -> bool:
    """Tell whether there is data and a log that begins as it should."""
    state = SidecarState()
    with contextlib.suppress(OSError), log_path.open("rb") as log:
        replay(log.read(_LOG_HEAD_BYTES), state)
    return state.key is not None and path.is_file()
