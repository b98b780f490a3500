"""The peer server process: gives this host's pieces to others, and outlives the dfget it serves.

What it does for others is ``peer_service``; here it finds its port, its place among the processes
of the work home, and its end (protocol 3).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from ..engine.errors import ConfigError, DamselflyError
from ..engine.outcomes import FailCode
from ..engine.records import dataclass
from .http import HttpError, HttpPool, open_listeners
from .peer_meta import HostMeta, Registration
from .peer_routes import PING
from .peer_service import PeerService

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from ..engine.uploads import UploadPolicy

PORT_LINE: Final = "dfget uploader server port is"
_FIRST_PORT: Final = 15000
_PORTS: Final = 50000
_PORT_PERIOD_S: Final = 300
_PORT_TRIES: Final = 500
_PING_TIMEOUT_S: Final = 2.0
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_log = logging.getLogger(__name__)


class PeerServerError(DamselflyError):
    """The peer server cannot start; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class PeerServerConfig:
    """Where a peer server listens, and how it behaves; ``port`` 0: one that v1 would choose."""

    ip: str
    meta_path: Path
    policy: UploadPolicy
    port: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise ConfigError(f"port {self.port}: expected 0 to 65535")


def run_peer_server(config: PeerServerConfig) -> int:
    """Be the peer server process and return its exit status.

    Once it listens it prints ``dfget uploader server port is N`` and lets go of its standard
    output, so that whoever started it need not stay.  If the home has a server on this address
    already, the line names that one's port and this process ends.
    """
    try:
        trio.run(_serve, config, _announce)
    except PeerServerError as error:
        print(f"dfget server: {error}", file=sys.stderr)
        return FailCode.SERVER_FAILED % 256
    return 0


async def serve_peer(
    config: PeerServerConfig, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve until nobody needs it or a signal ends it; ``started`` gets the port.

    Must run in the main thread.  Raises ``PeerServerError``.
    """
    await _serve(config, task_status.started)


def _announce(port: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with contextlib.suppress(BrokenPipeError):
        print(PORT_LINE, port, flush=True)
    os.dup2(nowhere, 1)
    os.close(nowhere)


async def _serve(config: PeerServerConfig, started: Callable[[int], None]) -> None:
    if not config.ip:
        raise PeerServerError("no address to listen on: give one with --ip")
    registration = Registration(config.meta_path, config.ip)
    with contextlib.ExitStack() as undo:
        try:
            if not registration.try_claim():
                started(await _port_of_running(config))
                return
            undo.callback(_withdraw, registration)
            os.makedirs(config.policy.data_dir, mode=0o700, exist_ok=True)
            listeners = await _listen(config)
            for listener in listeners:
                undo.callback(listener.socket.close)
            port = int(listeners[0].socket.getsockname()[1])
            registration.announce(port)
        except OSError as error:
            why = error.strerror or error
            raise PeerServerError(f"the peer server cannot start: {why}") from error
        _log.info("start peer server success, host:%s, port:%d", config.ip, port)
        service = PeerService(config.policy, partial(_withdraw, registration))
        async with trio.open_nursery() as nursery:
            await nursery.start(_await_signals, service)
            await service.run(listeners, lambda: started(port))
            nursery.cancel_scope.cancel()
    _log.info("peer server is shutdown.")


async def _port_of_running(config: PeerServerConfig) -> int:
    port = HostMeta(config.meta_path).read_port()
    async with HttpPool() as pool:
        with contextlib.suppress(HttpError):
            status, _, body = await pool.call(
                config.ip, port, "GET", PING, timeout_s=_PING_TIMEOUT_S
            )
            if (status, body) == (200, b"success"):
                return port
    raise PeerServerError(
        f"a peer server of {config.meta_path.parent} holds {config.ip}, and does not answer on "
        f"port {port}: end it, or wait, or use another --home"
    )


async def _listen(config: PeerServerConfig) -> list[trio.SocketListener]:
    for port in [config.port] if config.port else usual_ports():
        try:
            return await open_listeners(config.ip, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or config.port:
                raise
    raise OSError(errno.EADDRINUSE, f"{_PORT_TRIES} ports in a row are in use on {config.ip}")


def usual_ports() -> Iterable[int]:
    """Return ports to try, in v1's order (protocol 3.1), never above what supernodes accept."""
    start = int(time.time()) // _PORT_PERIOD_S
    return [_FIRST_PORT + (start + i) % _PORTS for i in range(_PORT_TRIES)]


def _withdraw(registration: Registration) -> None:
    try:
        registration.withdraw()
    except OSError as error:
        _log.error("the meta file still names this server: %s", error)


async def _await_signals(
    service: PeerService, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(*_SIGNALS) as received:
        task_status.started()
        async for number in received:
            _log.info("capture stop signal: %s, will shutdown...", signal.strsignal(number))
            service.stop()
