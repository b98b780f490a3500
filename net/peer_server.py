"""The peer server process: gives this host's pieces to others, and outlives the dfget it serves.

``PeerServerEngine`` decides; here requests become its events, and its effects answers, calls to
supernodes, and changes on disk (protocol 3).
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, assert_never

import trio

from ..engine.effects import FailCode
from ..engine.errors import ConfigError, DamselflyError, RemoteProtocolError
from ..engine.ids import ExchangeId
from ..engine.messages import LeaveTask
from ..engine.peer_server import PeerServerEngine
from ..engine.ratelimit import TokenBucket
from ..engine.uploads import (
    CloseServer,
    DataSurveyed,
    DeleteDownload,
    LeaveSwarm,
    LimitUploads,
    PeerServerEffect,
    PeerServerEvent,
    Respond,
    RetireServer,
    ServePiece,
    StopRequested,
    SurveyData,
    UploadEnded,
)
from .host import Host
from .http import HttpError, HttpPool, HttpResponse, open_listeners, serve_http, text_response
from .peer_files import ServedFiles
from .peer_meta import HostMeta, Registration
from .peer_routes import PING, route

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..engine.uploads import UploadPolicy
    from .http import HttpRequest

PORT_LINE: Final = "dfget uploader server port is"
_FIRST_PORT: Final = 15000
_PORTS: Final = 50000
_PORT_PERIOD_S: Final = 300
_PORT_TRIES: Final = 500
_PING_TIMEOUT_S: Final = 2.0
_LEAVE_TIMEOUT_S: Final = 5.0
_LEAVES_AT_ONCE: Final = 16
_LAST_CHORES_S: Final = 10.0
_BURST_BYTES: Final = 256 << 10
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
            raise PeerServerError(f"the peer server cannot start: {error}") from error
        _log.info("start peer server success, host:%s, port:%d", config.ip, port)
        server = _PeerServer(config.policy, registration)
        await server.run(listeners, lambda: started(port))
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
    for port in [config.port] if config.port else _ports(time.time()):
        try:
            return await open_listeners(config.ip, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or config.port:
                raise
    raise OSError(errno.EADDRINUSE, f"{_PORT_TRIES} ports in a row are in use on {config.ip}")


def _ports(wall_clock_s: float) -> Iterable[int]:
    """Return ports to try, in v1's order (protocol 3.1), never above what supernodes accept."""
    start = int(wall_clock_s) // _PORT_PERIOD_S
    return [_FIRST_PORT + (start + i) % _PORTS for i in range(_PORT_TRIES)]


def _withdraw(registration: Registration) -> None:
    try:
        registration.withdraw()
    except OSError as error:
        _log.error("the meta file still names this server: %s", error)


class _Waiting:
    """A request in its handler, until the engine has said what to answer."""

    def __init__(self) -> None:
        self.response: HttpResponse | None = None
        self._answered = trio.Event()

    def answer(self, response: HttpResponse) -> None:
        self.response = response
        self._answered.set()

    async def wait(self) -> HttpResponse:
        try:
            await self._answered.wait()
        except trio.Cancelled:
            if self.response is not None and self.response.on_closed is not None:
                self.response.on_closed(False, 0)
            raise
        assert self.response is not None
        return self.response


class _PeerServer:
    """Requests to events, effects to deeds."""

    def __init__(self, policy: UploadPolicy, registration: Registration) -> None:
        self._registration = registration
        self._files = ServedFiles(Path(policy.data_dir))
        self._host = Host[PeerServerEvent, PeerServerEffect](
            PeerServerEngine(policy), self._perform
        )
        self._pool = HttpPool()
        self._bucket = TokenBucket(None, _BURST_BYTES)
        self._exchanges = itertools.count(1)
        self._waiting: dict[ExchangeId, _Waiting] = {}
        self._leaves = trio.CapacityLimiter(_LEAVES_AT_ONCE)
        self._closed = trio.Event()

    async def run(self, listeners: list[trio.SocketListener], started: Callable[[], None]) -> None:
        """Serve until the engine closes; then give the last calls and deletions a moment."""
        async with self._pool, trio.open_nursery() as self._chores:
            async with trio.open_nursery() as serving:
                await serving.start(serve_http, self._handle, listeners)
                await serving.start(self._host.run)
                await serving.start(self._await_signals)
                started()
                await self._closed.wait()
                serving.cancel_scope.cancel()
            self._chores.cancel_scope.deadline = trio.current_time() + _LAST_CHORES_S

    async def _handle(self, request: HttpRequest) -> HttpResponse:
        if request.method != "GET":
            return HttpResponse(405)
        exchange = ExchangeId(next(self._exchanges))
        if (event := route(request, exchange)) is None:
            return text_response(404, "404 page not found")
        waiting = self._waiting[exchange] = _Waiting()
        self._host.post(event)
        try:
            return await waiting.wait()
        finally:
            del self._waiting[exchange]

    def _perform(self, effect: PeerServerEffect) -> None:
        match effect:
            case Respond(exchange, status, text, content_type):
                if (waiting := self._waiting.get(exchange)) is not None:
                    waiting.answer(HttpResponse(status, (text.encode(),), content_type))
            case ServePiece():
                self._serve_piece(effect)
            case LimitUploads(rate_bytes_per_s):
                _log.info("update total limit to %d", rate_bytes_per_s)
                self._bucket.set_rate(rate_bytes_per_s, trio.current_time())
            case SurveyData():
                self._chores.start_soon(self._survey)
            case LeaveSwarm():
                self._chores.start_soon(self._leave, effect)
            case DeleteDownload(name):
                self._chores.start_soon(self._delete, name)
            case RetireServer():
                _log.info("no more task, peer server will stop...")
                _withdraw(self._registration)
            case CloseServer():
                self._closed.set()
            case _:
                assert_never(effect)

    def _serve_piece(self, wanted: ServePiece) -> None:
        def ended(complete: bool, bytes_sent: int) -> None:
            if opened is not None:
                os.close(opened.fd)
            self._host.post(UploadEnded(wanted.exchange, bytes_sent, complete))

        opened = None
        waiting = self._waiting.get(wanted.exchange)
        if waiting is None:
            return ended(False, 0)
        try:
            opened = self._files.open_piece(wanted)
        except RemoteProtocolError as error:
            waiting.answer(text_response(error.status_hint, str(error)))
            return ended(False, 0)
        pace = self._pace if self._bucket.rate_bytes_per_s else None
        waiting.answer(HttpResponse(206, opened.parts, on_closed=ended, pace=pace))
        return None

    async def _pace(self, count: int) -> None:
        await trio.sleep(self._bucket.take(count, trio.current_time()))

    async def _survey(self) -> None:
        self._host.post(DataSurveyed(await trio.to_thread.run_sync(self._files.survey)))

    async def _delete(self, name: str) -> None:
        _log.info("server gc, delete file:%s", name)
        try:
            await trio.to_thread.run_sync(self._files.delete, name)
        except OSError as error:
            _log.error("cannot delete %s: %s", name, error)

    async def _leave(self, effect: LeaveSwarm) -> None:
        from ..engine.wire.v1 import encode_request  # dfgets wait for this server to start

        try:
            call = encode_request(LeaveTask(effect.task, effect.peer))
            async with self._leaves:
                await self._pool.call(
                    effect.node.host,
                    effect.node.port,
                    call.method,
                    call.target,
                    call.headers,
                    call.body,
                    timeout_s=_LEAVE_TIMEOUT_S,
                )
        except DamselflyError as error:
            _log.error("failed to send service down, err: %s", error)

    async def _await_signals(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with trio.open_signal_receiver(*_SIGNALS) as received:
            task_status.started()
            async for number in received:
                _log.info("capture stop signal: %s, will shutdown...", signal.strsignal(number))
                self._host.post(StopRequested())
