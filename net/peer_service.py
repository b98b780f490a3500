"""Serving this host's pieces to others: one ``PeerServerEngine`` behind an HTTP port.

A process of its own runs it for dfgets (``peer_server``); a daemon runs it beside its downloads.
"""

from __future__ import annotations

import itertools
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, assert_never

import trio

from ..engine.errors import DamselflyError, RemoteProtocolError
from ..engine.ids import ExchangeId
from ..engine.messages import LeaveTask
from ..engine.peer_server import PeerServerEngine
from ..engine.ratelimit import TokenBucket
from ..engine.uploads import (
    CheckRequested,
    CloseServer,
    DataSurveyed,
    DeleteDownload,
    DownloadWithdrawn,
    FinishReported,
    LeaveSwarm,
    LimitUploads,
    PeerServerEffect,
    PeerServerEvent,
    RequestDropped,
    Respond,
    RetireServer,
    ServePiece,
    StopRequested,
    SurveyData,
    UploadEnded,
)
from .host import Host
from .http import HttpPool, HttpResponse, serve_http, text_response
from .peer_files import ServedFiles
from .peer_routes import node_text, route

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.ids import NodeAddress, PeerId, TaskId
    from ..engine.uploads import UploadPolicy
    from .http import HttpRequest

_LEAVE_TIMEOUT_S: Final = 5.0
_LEAVES_AT_ONCE: Final = 16
_LAST_CHORES_S: Final = 10.0
_BURST_BYTES: Final = 256 << 10
_log = logging.getLogger(__name__)


class _Waiting:
    """A request in its handler, until the engine has said what to answer."""

    def __init__(self) -> None:
        self.response: HttpResponse | None = None
        self._answered: trio.Event | None = None

    def answer(self, response: HttpResponse) -> None:
        self.response = response
        if self._answered is not None:
            self._answered.set()

    async def wait(self) -> HttpResponse:
        if self.response is not None:
            return self.response
        self._answered = trio.Event()
        try:
            await self._answered.wait()
        except trio.Cancelled:
            if self.response is not None and self.response.on_closed is not None:
                self.response.on_closed(False, 0)
            raise
        assert self.response is not None
        return self.response


class PeerService:
    """Answers other peers: requests to events, effects to deeds.

    ``retire`` is called when new downloads should no longer come here.
    """

    def __init__(self, policy: UploadPolicy, retire: Callable[[], None]) -> None:
        self._retire = retire
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
                started()
                await self._closed.wait()
                serving.cancel_scope.cancel()
            self._chores.cancel_scope.deadline = trio.current_time() + _LAST_CHORES_S

    def announce(self, name: str) -> None:
        """A download of this process is about to begin: serve its pieces as they come."""
        self._host.post(CheckRequested(self._exchange(), name, "", ""))

    def finished(self, name: str, task: TaskId, peer: PeerId, node: NodeAddress | None) -> None:
        """A download of this process is complete; ``node`` hears when it is served no longer."""
        self._host.post(FinishReported(self._exchange(), name, task, peer, node_text(node)))

    def withdraw(self, name: str) -> None:
        """Serve a download no longer; the file of a complete one goes."""
        self._host.post(DownloadWithdrawn(name))

    def stop(self) -> None:
        """End once uploads under way have."""
        self._host.post(StopRequested())

    def _exchange(self) -> ExchangeId:
        return ExchangeId(next(self._exchanges))

    async def _handle(self, request: HttpRequest) -> HttpResponse:
        if request.method != "GET":
            return HttpResponse(405)
        exchange = self._exchange()
        if (event := route(request, exchange)) is None:
            return text_response(404, "404 page not found")
        waiting = self._waiting[exchange] = _Waiting()
        self._host.tell(event)
        try:
            return await waiting.wait()
        except trio.Cancelled:
            self._host.post(RequestDropped(exchange))
            raise
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
                self._retire()
            case CloseServer():
                self._closed.set()
            case _:
                assert_never(effect)

    def _serve_piece(self, wanted: ServePiece) -> None:
        def ended(complete: bool, bytes_sent: int) -> None:
            if opened is not None:
                os.close(opened.fd)
            self._host.tell(UploadEnded(wanted.exchange, bytes_sent, complete))

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
