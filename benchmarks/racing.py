"""Programs on many hosts that start at once: when each ended, what they cost, what they left."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from .machine import busy_seconds
from .servers import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Run:
    """One distribution.

    ``seconds``: from the common start until each host's program ended with the file verified.
    ``server_bytes``: what the supernode, seed or server sent; ``origin_bytes`` what it had to read
    itself.  CPU in seconds: of all the hosts' programs, the part of it that was spent by programs
    of theirs that only give (``None``: the same programs take and give), of the servers, and of
    everything that the machine did meanwhile, the kernel's handling of packets included.
    """

    seconds: tuple[float, ...]
    server_bytes: int
    origin_bytes: int
    host_cpu_s: float
    giving_cpu_s: float | None
    server_cpu_s: float
    machine_cpu_s: float


@dataclass(frozen=True, slots=True)
class Race:
    """When each command ended after the common start, and CPU seconds: theirs, the machine's."""

    seconds: tuple[float, ...]
    cpu_s: float
    machine_cpu_s: float


def race(commands: Sequence[Sequence[str]], folder: Path) -> Race:
    """Start all at once in ``folder`` and wait; raises ``RuntimeError`` if one of them fails."""
    before_s, began = busy_seconds(), time.perf_counter()
    processes = [
        _started(command, folder, folder / f"stderr-{number}")
        for number, command in enumerate(commands)
    ]

    def await_end(process: subprocess.Popen[bytes]) -> tuple[float, float]:
        _, status, usage = os.wait4(process.pid, 0)
        took_s = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        return took_s, usage.ru_utime + usage.ru_stime

    ends = each(processes, await_end)
    machine_cpu_s = busy_seconds() - before_s
    for number, process in enumerate(processes):
        if process.returncode:
            words = (folder / f"stderr-{number}").read_text(errors="replace").strip()
            raise RuntimeError(f"{process.args} ended with {process.returncode}: {words}")
    seconds = tuple(took_s for took_s, _ in ends)
    return Race(seconds, sum(cpu_s for _, cpu_s in ends), machine_cpu_s)


def each(items: Sequence[ItemT], work: Callable[[ItemT], ResultT]) -> list[ResultT]:
    """Return what ``work`` gives for each item, all at once in threads."""
    results: dict[int, ResultT] = {}

    def run(number: int, item: ItemT) -> None:
        results[number] = work(item)

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(items)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(results) < len(items):
        raise RuntimeError(f"{len(items) - len(results)} of {len(items)} did not get there")
    return [results[number] for number in range(len(items))]


def verify(outputs: Sequence[Path], file: Path) -> None:
    """Compare each output with ``file`` and delete it; raises ``RuntimeError``."""
    want = digest(file)
    for output in outputs:
        if digest(output) != want:
            raise RuntimeError(f"{output} is not what was distributed")
        output.unlink()


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _started(command: Sequence[str], folder: Path, errors: Path) -> subprocess.Popen[bytes]:
    with errors.open("wb") as stderr:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=ENVIRONMENT,
            cwd=folder,
        )
