"""Performs the effects of one ``DownloadEngine``: exchanges, pieces, origin reads, disk."""

from __future__ import annotations

import errno
import logging
from functools import partial
from typing import TYPE_CHECKING, assert_never

import trio

from ..engine.effects import (
    CancelFetch,
    DropPiece,
    FetchPiece,
    Finish,
    KeepPiece,
    LayOut,
    Publish,
    ReadOrigin,
    Send,
    Tell,
)
from ..engine.errors import RemoteProtocolError
from ..engine.events import ExchangeFailed, PieceFetched, Published, PublishFailed, Replied
from ..engine.ids import TaskId, is_cdn
from ..engine.outcomes import FailCode, Milestone
from ..engine.records import dataclass, replace
from ..engine.wire.calls import decode_answer, encode_call
from .downloader import Buffers, fetch_piece
from .http import HttpError
from .origin_piece import OriginPiece, read_of
from .publish import PublishError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..engine.config import DownloadConfig
    from ..engine.download import DownloadEngine
    from ..engine.effects import DownloadEffect
    from ..engine.events import DownloadEvent
    from ..engine.ids import FetchId, NodeAddress
    from .http import HttpPool
    from .http.messages import Pace
    from .origin import OriginReader
    from .request import Progress, Watcher
    from .store import PieceStore

_log = logging.getLogger(__name__)
_MAX_REPLY_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Means:
    """What one download has to work with.

    ``publish`` verifies the finished file and puts it where it belongs, or raises
    ``PublishError``.  ``pace`` holds the transfers back.  At most ``pieces_at_once`` pieces, or
    reads of the origin, are received and written at a time.  ``heard`` is told of each exchange
    with a supernode whether that answered.
    """

    store: PieceStore
    reader: OriginReader
    pool: HttpPool
    watcher: Watcher
    publish: Callable[[Publish], Awaitable[None]]
    pace: Pace | None = None
    pieces_at_once: int = 6
    heard: Callable[[NodeAddress, bool], None] | None = None


class Performer:
    """The world as one download engine sees it; what has to wait runs in ``nursery``."""

    def __init__(
        self, config: DownloadConfig, means: Means, progress: Progress, nursery: trio.Nursery
    ) -> None:
        self._config, self._means, self._nursery = config, means, nursery
        self._store, self._reader, self._pool = means.store, means.reader, means.pool
        self._watcher, self._pace = means.watcher, means.pace
        self._fetches: dict[FetchId, _Fetch] = {}
        self._buffers = Buffers()
        self._transfers = trio.CapacityLimiter(means.pieces_at_once)
        self.progress = progress
        self.node: NodeAddress | None = None
        self.task = TaskId("")
        self.finish: Finish | None = None
        self.finished = trio.Event()

    @property
    def is_published(self) -> bool:
        """Tell whether the file stands under the user's name."""
        return self.finish is not None and self.finish.code is FailCode.SUCCESS

    def attach(self, post: Callable[[DownloadEvent], None], engine: DownloadEngine) -> None:
        """Say where outcomes go, and whose progress to show."""
        self._post, self._engine = post, engine

    def perform(self, effect: DownloadEffect) -> None:
        """Carry out one effect; what has to wait becomes a task."""
        match effect:
            case Send():
                self._nursery.start_soon(self._send, effect)
            case FetchPiece():
                self._begin(effect.fetch, partial(self._fetch, effect))
            case ReadOrigin():
                self._begin(effect.fetch, partial(self._read, effect))
            case CancelFetch(fetch):
                if (under_way := self._fetches.get(fetch)) is not None:
                    under_way.give_up()
            case KeepPiece(piece, size, digest):
                self._store.keep(piece, size, digest)
                self._moved()
            case DropPiece(piece):
                self._store.drop(piece)
            case LayOut(_, length, piece_size, validator, keep, plain):
                self._store.lay_out(length, piece_size, validator, keep, plain=plain)
                self._moved()
            case Publish():
                self._nursery.start_soon(self._publish, effect)
            case Tell(milestone, text):
                self._tell(milestone, text)
            case Finish():
                self.finish = effect
                self.finished.set()
            case _:
                assert_never(effect)

    # --- tasks ---

    async def _send(self, effect: Send) -> None:
        call, node = encode_call(effect.request), effect.node
        try:
            status, _, body = await self._pool.call(
                node.host,
                node.port,
                call.method,
                call.target,
                call.headers,
                call.body,
                timeout_s=effect.timeout_s,
                max_body=_MAX_REPLY_BYTES,
            )
            reply = decode_answer(effect.request, status, body)
        except (HttpError, RemoteProtocolError) as error:
            _log.info("%s to %s failed: %s", type(effect.request).__name__, node, error)
            self._hear(node, answered=False)
            self._post(ExchangeFailed(effect.exchange, str(error)))
        else:
            self._hear(node, answered=True)
            self._post(Replied(effect.exchange, reply))

    async def _fetch(self, effect: FetchPiece, sink: _Fetch) -> None:
        if "://" in effect.offer.path:
            await self._fetch_from_origin(effect, sink)
            return
        event = await fetch_piece(effect, self._pool, sink.write, self._buffers, pace=self._pace)
        if isinstance(event, PieceFetched):
            if is_cdn(effect.offer.parent):
                self._count(from_supernode=event.size)
            else:
                self._count(from_peers=event.size)
        self._post(event)

    async def _read(self, effect: ReadOrigin, sink: _Fetch) -> None:
        await self._reader.read(effect, sink, self._post, self._came, pace=self._pace)

    async def _fetch_from_origin(self, effect: FetchPiece, sink: _Fetch) -> None:
        config, layout = self._config, self._store.layout
        assert layout is not None
        read = read_of(
            effect,
            layout,
            headers=config.headers,
            validator=self._store.validator,
            insecure=config.insecure,
            root_cas=config.root_cas,
        )
        piece = OriginPiece(effect)
        await self._reader.read(read, sink, piece.take, self._came, pace=self._pace)
        assert piece.event is not None, "a read ends in a piece or in a failure"
        self._post(piece.event)

    async def _publish(self, effect: Publish) -> None:
        try:
            await self._means.publish(effect)
        except PublishError as error:
            failed = PublishFailed(str(error), mismatch=error.mismatch, no_space=error.no_space)
            self._post(failed)
        else:
            self._post(Published())

    # --- inside ---

    def _begin(self, fetch: FetchId, work: Callable[[_Fetch], Awaitable[None]]) -> None:
        self._fetches[fetch] = under_way = _Fetch(self._store)

        async def run() -> None:
            try:
                with under_way.scope:
                    async with self._transfers:
                        await work(under_way)
            finally:
                del self._fetches[fetch]

        self._nursery.start_soon(run)

    def _tell(self, milestone: Milestone, text: str) -> None:
        _log.info("%s: %s", milestone.name.lower(), text)
        if milestone in (Milestone.CONNECTED, Milestone.MIGRATED):
            self.node, self.task = self._engine.node, self._engine.task
        self._watcher.told(milestone, text)

    def _hear(self, node: NodeAddress, *, answered: bool) -> None:
        if self._means.heard is not None:
            self._means.heard(node, answered)

    def _came(self, received: int) -> None:
        self._count(from_origin=received)

    def _count(self, *, from_supernode: int = 0, from_peers: int = 0, from_origin: int = 0) -> None:
        now = self.progress
        self.progress = replace(
            now,
            from_supernode=now.from_supernode + from_supernode,
            from_peers=now.from_peers + from_peers,
            from_origin=now.from_origin + from_origin,
        )

    def _moved(self) -> None:
        layout = self._engine.layout
        length = layout.length if layout is not None else -1
        self.progress = replace(self.progress, length=length, held_bytes=self._engine.held_bytes)
        self._watcher.progressed(self.progress)


class _Fetch:
    """One fetch under way, and the only way its bytes reach the store.

    What a worker thread still writes after the fetch was given up must not land in a file that
    has been laid out anew meanwhile.
    """

    def __init__(self, store: PieceStore) -> None:
        self._store: PieceStore | None = store
        self.scope = trio.CancelScope()

    def give_up(self) -> None:
        """Write no more."""
        self._store = None
        self.scope.cancel()

    def write(self, offset: int, data: memoryview) -> None:
        """Write to the store; ``OSError`` if the disk refuses or the fetch was given up."""
        if (store := self._store) is None:
            raise OSError(errno.ECANCELED, "the fetch was given up")
        store.write(offset, data)
