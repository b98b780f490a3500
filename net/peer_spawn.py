"""Starting a peer server process that outlives its dfget, without waiting for it.

The server gets a session of its own, so that the terminal's signals pass it by, and is no child
of dfget, so that nobody has to wait for it.  Nothing here needs trio.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, Self, TypeAlias

from ..engine.records import dataclass
from .detached import can_fork, fork_detached
from .peer_meta import FileLock, HostMeta, WorkHome
from .request import Pattern
from .version import VERSION

if TYPE_CHECKING:
    from ..engine.ids import NodeAddress
    from .request import FetchRequest

Serve: TypeAlias = Callable[[Sequence[str]], int]
"""Runs a peer server with these flags, and returns its exit status."""

SERVER_COMMAND: Final = (sys.executable, "-P", "-m", "damselfly.cli.dfget", "server")
_DETACH: Final = ("/bin/sh", "-c", '"$@" &', "dfget-server")
"""The shell leaves at once, and init inherits what it started."""
_PROBE_S: Final = 0.3
_MAX_LOG_BYTES: Final = 64 << 10
_MAX_REASON_CHARS: Final = 300


@dataclass(frozen=True, slots=True)
class PeerLaunch:
    """The peer server that a dfget wants; ``ip`` is the address that others reach this host by.

    ``version`` is what dfget says it is: only a server that says the same is used, and a new one
    is told to if that is not what this program is (``is_compat``).  ``command`` starts a server
    when the flags of protocol 3.1 are appended.
    """

    ip: str
    home: WorkHome
    version: str
    is_compat: bool = False
    port: int = 0
    total_limit_bytes_per_s: int = 0
    expire_s: float = 180.0
    alive_s: float = 300.0
    verbose: bool = False
    command: tuple[str, ...] = SERVER_COMMAND

    @property
    def start_lock(self) -> FileLock:
        """Held by the process that is starting this home's server."""
        return FileLock(self.home.meta_path.with_name("start.lock"))

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
            *((("--compat-version", self.version),) if self.is_compat else ()),
        )
        verbose = ("--verbose",) if self.verbose else ()
        return (*[word for pair in given for word in pair], *verbose)


class ServerStart:
    """A server process that has not said yet that it listens.

    A context manager: when left before ``keep``, the process is ended.
    """

    def __init__(
        self, launch: PeerLaunch, lock: FileLock | None = None, serve: Serve | None = None
    ) -> None:
        """Start the process; ``lock``, if given, is released on exit.  Raises ``OSError``.

        ``serve`` is what a fork of this process shall do with the flags, if that can be forked.
        """
        self.launch = launch
        self._lock = lock
        self._kept = False
        self._log_path = launch.home.server_log
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        with self._log_path.open("ab") as log:
            self._logged_before = log.tell()
            self.stdout_fd, write_end = os.pipe()
            try:
                self._leader: _Leader | None = _run(launch, serve, write_end, log.fileno())
            except BaseException:
                os.close(self.stdout_fd)
                raise
            finally:
                os.close(write_end)

    @classmethod
    def early(cls, launch: PeerLaunch, serve: Serve | None = None) -> Self | None:
        """Start a server if the home seems to have none and nobody else is starting one.

        Gives ``None`` also if that fails: ``ensure_peer_server`` will find out why.
        """
        meta, lock = HostMeta(launch.home.meta_path), launch.start_lock
        with contextlib.suppress(OSError):
            if meta.read_port() or not launch.ip or not lock.try_acquire():
                return None
            if not meta.read_port():
                return cls(launch, lock, serve)
        lock.release()
        return None

    def keep(self) -> None:
        """The process does what it should: let it live on."""
        self._kept = True

    def last_words(self) -> str:
        """Return the last line that the process wrote to its log."""
        with contextlib.suppress(OSError), self._log_path.open("rb") as log:
            log.seek(self._logged_before)
            lines = log.read(_MAX_LOG_BYTES).decode(errors="replace").split("\n")
            for line in reversed(lines):
                if line.strip():
                    return line.strip()[:_MAX_REASON_CHARS]
        return "it said nothing"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._leader is None:
            return
        if not self._kept:
            # While the leader is not waited for, the group with its number is surely its own.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._leader.pid, signal.SIGKILL)
        self._leader.wait()
        self._leader = None
        os.close(self.stdout_fd)
        if self._lock is not None:
            self._lock.release()


def launch_for(request: FetchRequest, ip: str) -> PeerLaunch:
    """Return the peer server that a download wants, on this host's address ``ip``."""
    return PeerLaunch(
        ip=ip,
        home=WorkHome(request.home),
        version=request.version or VERSION,
        is_compat=bool(request.version),
        port=request.port,
        total_limit_bytes_per_s=request.total_limit_bytes_per_s,
        expire_s=request.expire_s,
        alive_s=request.alive_s,
        verbose=request.verbose,
    )


def start_early(request: FetchRequest, serve: Serve | None = None) -> ServerStart | None:
    """Start the peer server that ``fetch`` will want; with ``serve`` as a fork of this process.

    A fork has all that it needs to import already, which is half of what a dfget that fetches a
    small file does.  Gives ``None`` if it will want none, if there seems to be one, or if it cannot
    be started.
    """
    if request.pattern is not Pattern.P2P or not request.nodes:
        return None
    if HostMeta(WorkHome(request.home).meta_path).read_port():
        return None
    ip = request.ip or _ip_towards(request.nodes[0])
    return ServerStart.early(launch_for(request, ip), serve)


class _Leader(Protocol):
    """The process that leads the new one's group; it ends when that has been started."""

    @property
    def pid(self) -> int: ...

    def wait(self) -> int: ...


class _Forked:
    def __init__(self, pid: int) -> None:
        self.pid = pid

    def wait(self) -> int:
        return os.waitpid(self.pid, 0)[1]


def _run(launch: PeerLaunch, serve: Serve | None, stdout_fd: int, stderr_fd: int) -> _Leader:
    command = (*launch.command, *launch.flags())
    if serve is not None and can_fork():
        work = partial(serve, launch.flags())
        return _Forked(fork_detached(work, " ".join(command), stdout_fd, stderr_fd))
    return subprocess.Popen(
        (*_DETACH, *command),
        stdin=subprocess.DEVNULL,
        stdout=stdout_fd,
        stderr=stderr_fd,
        start_new_session=True,
    )


def _ip_towards(node: NodeAddress) -> str:
    """Return the address from which ``node`` is reached, nothing if it does not answer at once."""
    try:
        with socket.create_connection((node.host, node.port), _PROBE_S) as probe:
            return str(probe.getsockname()[0])
    except OSError:
        return ""
