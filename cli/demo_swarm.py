"""The demo's processes: a supernode, an origin, and peers that report in JSON."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypedDict, cast

import trio

from ..engine.errors import DamselflyError
from ..engine.records import dataclass

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

PYTHON: Final = (sys.executable, "-P", "-m")
_READY_TIMEOUT_S: Final = 20.0
_ALIVE: Final = "2m"
"""Should the demo itself be killed, the peer servers end soon."""
_LEAVE_S: Final = 3.0
_MAX_LINE_BYTES: Final = 1 << 20


class DemoError(DamselflyError):
    """A process of the demo did not do what it should."""


class PeerEvent(TypedDict, total=False):
    """What a line of ``dfget --json`` may hold, as far as the demo looks."""

    event: str
    length: int
    held_bytes: int
    from_supernode: int
    from_peers: int
    from_origin: int
    seconds: float
    message: str


@dataclass(slots=True)
class Peer:
    """One dfget with a work home and an address of its own, and what is known of it.

    ``kill_at``: kill it and its peer server, with SIGKILL, once it holds this share of the file.
    """

    name: str
    folder: Path
    ip: str
    kill_at: float | None = None
    flags: tuple[str, ...] = ()
    length: int = -1
    held_bytes: int = 0
    from_supernode: int = 0
    from_peers: int = 0
    from_origin: int = 0
    seconds: float = 0.0
    sha256: str = ""
    error: str = ""
    is_done: bool = False
    is_killed: bool = False

    @property
    def home(self) -> Path:
        """The work home."""
        return self.folder / "home"

    @property
    def output(self) -> Path:
        """Where the file shall appear."""
        return self.folder / "file"

    @property
    def share(self) -> float:
        """How much of the file it holds, 0 to 1."""
        return self.held_bytes / self.length if self.length > 0 else 0.0

    async def run(self, url: str, node: str) -> None:
        """Download ``url`` and keep the fields up to date."""
        self.folder.mkdir()
        command = [*PYTHON, "damselfly.cli.dfget", "-u", url, "-o", str(self.output), "-n", node]
        command += ["--home", str(self.home), "--ip", self.ip, "--json"]
        command += ["--alivetime", _ALIVE, *self.flags]
        async with trio.open_nursery() as nursery:
            with (self.folder / "stderr").open("wb") as errors:
                process: trio.Process = await nursery.start(partial(_run, command, errors.fileno()))
            async for line in lines_of(process):
                self._take(cast("PeerEvent", json.loads(line)))
                if self.kill_at is not None and self.kill_at <= self.share and not self.is_done:
                    process.kill()
                    kill_peer_servers(self.home)
                    self.is_killed = True
        if not self.is_done and not self.is_killed:
            self.error = _last_line(self.folder / "stderr")

    def _take(self, event: PeerEvent) -> None:
        kind = event.get("event")
        if kind not in ("progress", "result"):
            return
        self.length = event.get("length", -1)
        self.held_bytes = event.get("held_bytes", 0)
        self.from_supernode = event.get("from_supernode", 0)
        self.from_peers = event.get("from_peers", 0)
        self.from_origin = event.get("from_origin", 0)
        if kind == "result":
            self.is_done = True
            self.seconds = event.get("seconds", 0.0)
            self.error = event.get("message", "")


async def start_supernode(nursery: trio.Nursery, home: Path) -> str:
    """Start a supernode on free ports and return its control address, ``host:port``."""
    command = [*PYTHON, "damselfly.cli.supernode", "--home-dir", str(home)]
    command += ["--port", "0", "--download-port", "0", "--advertise-ip", "127.0.0.1"]
    line = await _start(nursery, command, home.with_name("supernode.stderr"))
    return line.partition("control http://")[2].partition(" ")[0]


async def start_origin(nursery: trio.Nursery, file: Path) -> str:
    """Start an origin that serves ``file`` and return its address, ``host:port``."""
    command = [*PYTHON, "damselfly.cli.demo_origin", str(file)]
    line = await _start(nursery, command, file.with_name("origin.stderr"))
    return line.rpartition("/")[2]


def kill_peer_servers(folder: Path) -> None:
    """Kill the peer servers whose meta file lies below ``folder``, without a warning."""
    for pid in _peer_servers(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def end_peer_servers(folder: Path) -> None:
    """End the peer servers that dfgets left behind below ``folder``, gently first."""
    async with trio.open_nursery() as nursery:
        for pid in _peer_servers(folder):
            nursery.start_soon(_end, pid)


async def lines_of(process: trio.Process) -> AsyncGenerator[str]:
    """Yield the lines of a process' standard output until it closes that."""
    assert process.stdout is not None
    rest = b""
    while data := await process.stdout.receive_some():
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line.decode()
        if len(rest) > _MAX_LINE_BYTES:
            raise DemoError(f"{process.args}: a line of more than {_MAX_LINE_BYTES} bytes")


async def _start(nursery: trio.Nursery, command: list[str], errors_path: Path) -> str:
    """Start a process that says in its first line that it is ready; return that line."""
    with errors_path.open("wb") as errors:
        process: trio.Process = await nursery.start(partial(_run, command, errors.fileno()))
    with trio.move_on_after(_READY_TIMEOUT_S):
        async with contextlib.aclosing(lines_of(process)) as lines:
            async for line in lines:
                return line
    raise DemoError(f"{command[3]} did not start: {_last_line(errors_path)}")


async def _run(
    command: list[str], errors: int, *, task_status: trio.TaskStatus[trio.Process]
) -> None:
    """Run a process to its end; cancelled, end it gently, then not so gently."""
    await trio.run_process(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        check=False,
        start_new_session=True,
        task_status=task_status,
    )


def _peer_servers(folder: Path) -> Iterator[int]:
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = entry.read_bytes().decode(errors="replace").replace("\0", " ").split()
            meta = words[words.index("--meta") + 1] if "--meta" in words[:-1] else ""
            if Path(meta).is_relative_to(folder):
                yield int(entry.parent.name)


async def _end(pid: int) -> None:
    """End a process that is no child of this one."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, number)
            with trio.move_on_after(_LEAVE_S):
                await trio.lowlevel.wait_readable(process)  # it is, once the process is gone
                return
    finally:
        os.close(process)


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
