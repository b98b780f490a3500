"""Child processes that fetch a file, and what they cost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

from .servers import ENVIRONMENT, PYTHON, Server

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Cost:
    """One process from start to exit; ``output`` is what it printed."""

    wall_s: float
    cpu_s: float
    output: str


class Outcome(TypedDict):
    """The last line of ``dfget --json``, as far as it is looked at."""

    seconds: float
    length: int
    from_supernode: int


def run_timed(command: Sequence[str], folder: Path) -> Cost:
    """Run ``command`` in ``folder``; raises ``RuntimeError`` with its last words if it fails."""
    output, errors = folder / "stdout", folder / "stderr"
    with output.open("wb") as stdout, errors.open("wb") as stderr:
        began = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=ENVIRONMENT,
            cwd=folder,
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}: {errors.read_text()}")
    return Cost(wall_s, usage.ru_utime + usage.ru_stime, output.read_text())


def download(url: str, node: Server, folder: Path) -> tuple[Cost, Outcome]:
    """Run one dfget that takes all from the supernode and serves nobody, into ``folder``/file."""
    folder.mkdir()
    command = [*PYTHON, "damselfly.cli.dfget", "-u", url, "-o", str(folder / "file")]
    command += ["-n", str(node), "--home", str(folder / "home"), "--pattern", "cdn", "--json"]
    cost = run_timed(command, folder)
    return cost, cast("Outcome", json.loads(cost.output.splitlines()[-1]))


def peer_servers(home: Path) -> list[int]:
    """Return the processes that serve what lies in a work home."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
                words = line.replace("\0", " ").split()
                if str(home) in words and "-u" not in words and (entry / "exe").exists():
                    found.append(int(entry.name))
    return found


def end_peer_servers(home: Path) -> None:
    """Kill whatever serves what lies in a work home."""
    for pid in peer_servers(home):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
