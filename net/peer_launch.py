"""A dfget's side of the peer server: find the one of this home, start one if there is none."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

import trio

from ..engine.errors import DamselflyError
from ..engine.records import dataclass
from ..engine.shares import HOLD_S
from .http import HttpError
from .peer_meta import HostMeta
from .peer_routes import CHECK, FINISH, PIECE, RATE, node_text
from .peer_spawn import ServerStart

if TYPE_CHECKING:
    from ..engine.ids import NodeAddress, PeerId, TaskId
    from .http import HttpPool
    from .peer_spawn import PeerLaunch

_CALL_TIMEOUT_S: Final = 2.0
_START_TIMEOUT_S: Final = 10.0
_LOCK_TIMEOUT_S: Final = 30.0
_MAX_REPLY_BYTES: Final = 4096
_MAX_LINE_BYTES: Final = 4096
_log = logging.getLogger(__name__)


class PeerServerRefused(DamselflyError):
    """The peer server answered a call with an error; the message has its text."""


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

    async def share_rate(self, wanted_bytes_per_s: int, taken_bytes_per_s: int) -> int:
        """Return this download's share of the host's total limit (protocol 3.2 and 8.7).

        Held until the share is another than what is taken, or for ``HOLD_S``; a v1 server answers
        at once.  Cancelled, it gives the share back.
        Raises ``HttpError`` or ``PeerServerRefused``.
        """
        headers = (("rateLimit", str(wanted_bytes_per_s)), ("rateTaken", str(taken_bytes_per_s)))
        target = f"{RATE}{quote(self.name, safe='')}"
        reply = await self._call(target, headers, HOLD_S + _CALL_TIMEOUT_S)
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
            {"taskFileName": self.name, "taskID": task, "cid": peer, "superNode": node_text(node)}
        )
        await self._call(f"{FINISH}?{query}")

    async def _call(
        self,
        target: str,
        headers: tuple[tuple[str, str], ...] = (),
        timeout_s: float = _CALL_TIMEOUT_S,
    ) -> str:
        status, _, body = await self._pool.call(
            self.ip,
            self.port,
            "GET",
            target,
            headers,
            timeout_s=timeout_s,
            max_body=_MAX_REPLY_BYTES,
        )
        text = body.decode(errors="replace").strip()
        if status != 200:
            raise PeerServerRefused(f"{self.ip}:{self.port} {target}: {status} {text}")
        return text


async def ensure_peer_server(
    launch: PeerLaunch, name: str, pool: HttpPool, early: ServerStart | None = None
) -> PeerServerHandle | NoPeerServer:
    """Have ``name`` served by this home's peer server, started if need be (protocol 3.1).

    ``early`` is a server that was started beforehand; it is used up.  Two processes that need
    one at the same time start only one.  Cancelled, or if the new server does not come up,
    nothing stays behind.  Calls go through ``pool``, also those of the handle.
    """
    finder = _Finder(launch, name, pool)
    if early is not None:
        with early:
            return await finder.started(early)
    if not launch.ip:
        return NoPeerServer("the address of this host is not known")
    if (found := await finder.running()) is not None:
        return found
    try:
        async with launch.start_lock.held(_LOCK_TIMEOUT_S):
            if (found := await finder.running()) is not None:
                return found
            with ServerStart(launch) as start:
                return await finder.started(start)
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

    async def started(self, start: ServerStart) -> PeerServerHandle | NoPeerServer:
        """Wait until a server that was just started listens, and have it serve the download."""
        port = None
        with trio.move_on_after(_START_TIMEOUT_S):
            port = await _read_port(start.stdout_fd)
        if port is None:
            log_path = self._launch.home.server_log
            return NoPeerServer(
                f"a new one did not name its port: {start.last_words()} (see {log_path})"
            )
        found = await self._check(port)
        if isinstance(found, PeerServerHandle):
            start.keep()
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


async def _read_port(fd: int) -> int | None:
    """Return the last word of the first line, which v1 programs, too, end with the port."""
    line = b""
    while b"\n" not in line and len(line) < _MAX_LINE_BYTES:
        await trio.lowlevel.wait_readable(fd)
        if not (more := os.read(fd, _MAX_LINE_BYTES)):
            return None
        line += more
    word = line.partition(b"\n")[0].split()[-1:]
    return int(word[0]) if word and word[0].isdigit() else None
