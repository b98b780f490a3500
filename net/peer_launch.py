"""A dfget's side of the peer server: find the one of this home, start one if there is none.

The server is a process of its own that outlives the dfget: in its own session, so that the
terminal's signals pass it by, and no child of dfget, so that nobody has to wait for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

import trio

from ..engine.errors import DamselflyError
from .http import HttpError
from .peer_meta import FileLock, HostMeta, WorkHome
from .peer_routes import CHECK, FINISH, PIECE, RATE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from trio.lowlevel import FdStream

    from ..engine.effects import NodeAddress
    from ..engine.ids import PeerId, TaskId
    from .http import HttpPool

SERVER_COMMAND: Final = (sys.executable, "-P", "-m", "damselfly.cli.dfget", "server")
_CALL_TIMEOUT_S: Final = 2.0
_START_TIMEOUT_S: Final = 10.0
_LOCK_TIMEOUT_S: Final = 30.0
_MAX_REPLY_BYTES: Final = 4096
_MAX_LINE_BYTES: Final = 4096
_MAX_LOG_BYTES: Final = 64 << 10
_MAX_REASON_CHARS: Final = 300
_DETACH: Final = ("/bin/sh", "-c", '"$@" &', "dfget-server")
"""The shell leaves at once, and init inherits what it started."""
_log = logging.getLogger(__name__)


class PeerServerRefused(DamselflyError):
    """The peer server answered a call with an error; the message has its text."""


@dataclass(frozen=True, slots=True)
class PeerLaunch:
    """The peer server that a dfget wants; ``ip`` is the address that others reach this host by.

    ``version`` is dfget's own: only a server of the same version is used.  ``command`` starts a
    server when the flags of protocol 3.1 are appended.
    """

    ip: str
    home: WorkHome
    version: str
    port: int = 0
    total_limit_bytes_per_s: int = 0
    expire_s: float = 180.0
    alive_s: float = 300.0
    verbose: bool = False
    command: tuple[str, ...] = SERVER_COMMAND

    def flags(self) -> tuple[str, ...]:
        """Return the flags for the server's command line."""
        given = (
            ("--ip", self.ip),
            ("--port", str(self.port)),
            ("--meta", str(self.home.meta_path)),
            ("--data", str(self.home.data_dir)),
            ("--home", str(self.home.path)),
            ("--expiretime", f"{self.expire_s:g}s"),
            ("--alivetime", f"{self.alive_s:g}s"),
        )
        verbose = ("--verbose",) if self.verbose else ()
        return (*[word for pair in given for word in pair], *verbose)


@dataclass(frozen=True, slots=True)
class NoPeerServer:
    """This dfget cannot serve others; ``reason`` for people."""

    reason: str


class PeerServerHandle:
    """A running peer server that serves one download of this process."""

    def __init__(self, pool: HttpPool, ip: str, port: int, name: str) -> None:
        self._pool = pool
        self.ip = ip
        self.port = port
        self.name = name

    @property
    def path(self) -> str:
        """Where other peers ask this server for pieces of the download."""
        return f"{PIECE}{quote(self.name)}"

    async def share_rate(self, wanted_bytes_per_s: int) -> int:
        """Return this download's share of the host's total limit (protocol 3.2 and 8.7).

        Raises ``HttpError`` or ``PeerServerRefused``.
        """
        headers = (("rateLimit", str(wanted_bytes_per_s)),)
        reply = await self._call(f"{RATE}{quote(self.name, safe='')}", headers)
        if not (reply.isascii() and reply.isdigit()):
            raise PeerServerRefused(f"{self.ip}:{self.port}: rate {reply[:80]!r}: no number")
        return int(reply)

    async def finish(self, task: TaskId, peer: PeerId, node: NodeAddress | None) -> None:
        """Say that the download is over, well or not: its file is the server's from now on.

        The supernode at ``node`` will hear from the server when that deletes the file.  A
        download whose file another run should resume must not be finished.
        Raises ``HttpError`` or ``PeerServerRefused``.
        """
        query = urlencode(
            {"taskFileName": self.name, "taskID": task, "cid": peer, "superNode": _node_text(node)}
        )
        await self._call(f"{FINISH}?{query}")

    async def _call(self, target: str, headers: tuple[tuple[str, str], ...] = ()) -> str:
        status, _, body = await self._pool.call(
            self.ip,
            self.port,
            "GET",
            target,
            headers,
            timeout_s=_CALL_TIMEOUT_S,
            max_body=_MAX_REPLY_BYTES,
        )
        text = body.decode(errors="replace").strip()
        if status != 200:
            raise PeerServerRefused(f"{self.ip}:{self.port} {target}: {status} {text}")
        return text


async def ensure_peer_server(
    launch: PeerLaunch, name: str, pool: HttpPool
) -> PeerServerHandle | NoPeerServer:
    """Have ``name`` served by this home's peer server, started if need be (protocol 3.1).

    Two processes that need one at the same time start only one.  Cancelled, or if the new server
    does not come up, nothing stays behind.  Calls go through ``pool``, also those of the handle.
    """
    finder = _Finder(launch, name, pool)
    if not launch.ip:
        return NoPeerServer("the address of this host is not known")
    if (found := await finder.running()) is not None:
        return found
    lock = FileLock(launch.home.meta_path.with_name("start.lock"))
    try:
        async with lock.held(_LOCK_TIMEOUT_S):
            return await finder.running() or await finder.start()
    except trio.TooSlowError:
        return NoPeerServer(f"another process has been starting one for {_LOCK_TIMEOUT_S:g} s")
    except OSError as error:
        return NoPeerServer(f"it cannot be started: {error}")


class _Finder:
    def __init__(self, launch: PeerLaunch, name: str, pool: HttpPool) -> None:
        self._launch, self._name, self._pool = launch, name, pool

    async def running(self) -> PeerServerHandle | NoPeerServer | None:
        """Return the server that the meta file names; ``None``: there is none to be found."""
        port = HostMeta(self._launch.home.meta_path).read_port()
        return await self._check(port) if port else None

    async def start(self) -> PeerServerHandle | NoPeerServer:
        """Start a server, and have it serve the download."""
        port = await _start(self._launch)
        if isinstance(port, NoPeerServer):
            return port
        found = await self._check(port)
        return found or NoPeerServer(f"the one just started does not answer on port {port}")

    async def _check(self, port: int) -> PeerServerHandle | NoPeerServer | None:
        launch = self._launch
        headers = [("totalLimit", str(launch.total_limit_bytes_per_s))]
        if (data_dir := str(launch.home.data_dir)).isascii():
            headers.append(("dataDir", data_dir))
        try:
            status, _, body = await self._pool.call(
                launch.ip,
                port,
                "GET",
                f"{CHECK}{quote(self._name, safe='')}",
                headers,
                timeout_s=_CALL_TIMEOUT_S,
                max_body=_MAX_REPLY_BYTES,
            )
        except HttpError as error:
            _log.info("no peer server on port %d: %s", port, error)
            return None
        name, _, version = body.decode(errors="replace").rpartition("@")
        if status != 200 or name != self._name:
            _log.info("no peer server of this home on port %d: it answers %d", port, status)
            return None
        if version != launch.version:
            return NoPeerServer(
                f"the one of {launch.home.path} on port {port} has version {version or 'unknown'}"
                f", this is {launch.version}"
            )
        return PeerServerHandle(self._pool, launch.ip, port, self._name)


async def _start(launch: PeerLaunch) -> int | NoPeerServer:
    """Start a server process and return the port that it prints; without one, end it."""
    log_path = launch.home.server_log
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        logged_before = log.tell()
        shell, stdout = _spawn((*launch.command, *launch.flags()), log.fileno())
    port = None
    try:
        with trio.move_on_after(_START_TIMEOUT_S):
            port = await _read_port(stdout)
    finally:
        stdout.close()
        if port is None:
            _end_session(shell)
        shell.wait()
    if port is not None:
        return port
    said = _last_line(log_path, logged_before)
    return NoPeerServer(f"a new one did not name its port: {said} (see {log_path})")


def _spawn(command: Sequence[str], log_fd: int) -> tuple[subprocess.Popen[bytes], FdStream]:
    read_end, write_end = os.pipe()
    stdout = trio.lowlevel.FdStream(read_end)
    try:
        shell = subprocess.Popen(
            (*_DETACH, *command),
            stdin=subprocess.DEVNULL,
            stdout=write_end,
            stderr=log_fd,
            start_new_session=True,
        )
    except BaseException:
        stdout.close()
        raise
    finally:
        os.close(write_end)
    return shell, stdout


async def _read_port(stdout: FdStream) -> int | None:
    """Return the last word of the first line, which v1 programs, too, end with the port."""
    line = b""
    while b"\n" not in line and len(line) < _MAX_LINE_BYTES:
        if not (more := await stdout.receive_some(_MAX_LINE_BYTES)):
            return None
        line += more
    word = line.partition(b"\n")[0].split()[-1:]
    return int(word[0]) if word and word[0].isdigit() else None


def _end_session(shell: subprocess.Popen[bytes]) -> None:
    """End all that ``shell`` started; while it is not waited for, its group is surely its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(shell.pid, signal.SIGKILL)


def _last_line(log_path: Path, offset: int) -> str:
    with contextlib.suppress(OSError), log_path.open("rb") as log:
        log.seek(offset)
        lines = log.read(_MAX_LOG_BYTES).decode(errors="replace").split("\n")
        for line in reversed(lines):
            if line.strip():
                return line.strip()[:_MAX_REASON_CHARS]
    return "it said nothing"


def _node_text(node: NodeAddress | None) -> str:
    if node is None:
        return ""
    return f"[{node.host}]:{node.port}" if ":" in node.host else str(node)
