"""Bringing one blob here: what an earlier process left of it, the swarm, or else the origin."""

from __future__ import annotations

import logging
import os
import socket
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from ...engine.config import DownloadConfig
from ...engine.events import HeldPiece, Started, Wanted
from ...engine.ids import task_url
from ...engine.outcomes import BackSourceReason, FailCode, Milestone
from ...engine.piece import PieceSizePolicy
from ...engine.records import dataclass
from ...engine.ring import in_order_for
from ..drive import drive
from ..origin import shown_url
from ..performer import Means
from ..publish import PublishError
from ..version import VERSION
from .proof import Proof

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...engine.effects import Publish
    from ...engine.events import DownloadEvent
    from ...engine.ids import TaskId
    from ..http import HttpPool
    from ..http.messages import Pace
    from ..origin import OriginReader
    from ..request import Progress
    from ..store import PieceStore
    from .blob import Blob
    from .breaker import Breaker
    from .content import ContentRequest
    from .peers import Peers
    from .shelf import Shelf

_STALL_S: Final = 10.0
_IDLE_S: Final = 20.0
_SUSPECT_S: Final = 600.0
_REJOIN_S: Final = 0.5
STRICT_REJOIN_S: Final = 5.0
"""How long a supernode may take to be restarted where nothing else may be asked."""
_ORIGIN_STREAMS: Final = 2
_ORIGIN_SPAN_BYTES: Final = 8 << 20
_NOT_IN_REGISTRATIONS: Final = frozenset({"accept-encoding", "host"})
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kit:
    """What the downloads of a daemon share."""

    shelf: Shelf
    reader: OriginReader
    pool: HttpPool
    breaker: Breaker
    peers: Peers
    suspects: Suspects
    at_once: trio.Semaphore
    dropped: tuple[str, ...]
    pace: Pace | None


class Suspects:
    """Tasks of which the swarm has another content than their digest names; for a while."""

    def __init__(self) -> None:
        self._until: dict[TaskId, float] = {}

    def add(self, task: TaskId) -> None:
        """The swarm's content is not the right one."""
        now = trio.current_time()
        self._until = {task: due for task, due in self._until.items() if due > now}
        self._until[task] = now + _SUSPECT_S

    def __contains__(self, task: TaskId) -> bool:
        return self._until.get(task, 0.0) > trio.current_time()


class Bringing:
    """One run that completes a blob, or fails it."""

    def __init__(self, blob: Blob, request: ContentRequest, kit: Kit) -> None:
        self._blob, self._request, self._kit = blob, request, kit
        self.is_resumable = False
        """Whether a later run should go on with what is here."""

    async def run(self) -> None:
        """Open what is here, see that it is right, fetch the rest.

        Cancelling leaves in the store what has come.  Raises ``OSError`` and ``StoreError`` if
        the store cannot be used.
        """
        blob = self._blob
        if blob.store is None:
            blob.store = await self._kit.shelf.open(blob)
            blob.unsure = set() if blob.was_hashed else set(blob.store.held)
            blob.moved()
        store = blob.store
        await self._hash_unsure(store)
        if not blob.is_complete and not blob.failure:
            async with self._kit.at_once:
                await self._download(store)

    # --- what is here ---

    async def _hash_unsure(self, store: PieceStore) -> None:
        blob = self._blob
        for piece in sorted(blob.unsure):
            if not await trio.to_thread.run_sync(store.is_intact, piece):
                if blob.is_complete:
                    blob.fail(f"piece {piece} was damaged on this host's disk; ask again")
                    return
                store.drop(piece)
            blob.unsure.discard(piece)
            blob.moved()
        blob.was_hashed = blob.is_complete

    # --- the download ---

    async def _download(self, store: PieceStore) -> None:
        blob, kit = self._blob, self._kit
        config = self._config()
        blob.is_of_swarm = bool(config.nodes)
        kit.peers.announce(blob.name)
        proof = Proof(blob, store)
        means = Means(
            store=store,
            reader=kit.reader,
            pool=kit.pool,
            watcher=self,
            publish=partial(self._verify, store, proof),
            pace=kit.pace,
            heard=kit.breaker.heard,
        )
        held = tuple(
            [HeldPiece(piece, size, digest) for piece, (size, digest) in sorted(store.held.items())]
        )
        started = Started()
        if held and (layout := store.layout) is not None:
            started = Started(held, layout.length, layout.piece_size, store.validator, layout.plain)
        progress = replace(blob.progress, from_disk=sum([piece.size for piece in held]))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(proof.run)
            performer = await drive(config, means, started, progress, self._began)
            nursery.cancel_scope.cancel()
        blob.listens(None)
        finish = performer.finish
        assert finish is not None
        if finish.code is FailCode.SUCCESS:
            kit.peers.finished(blob.name, performer.task or blob.task, config.peer, performer.node)
        else:
            is_full = finish.reason % 1000 == BackSourceReason.NO_SPACE
            self.is_resumable = bool(store.held) and not blob.failure and not is_full
            blob.fail(finish.message)

    def _began(self, post: Callable[[DownloadEvent], None]) -> None:
        self._blob.listens(lambda offset: post(Wanted(offset)))

    def _config(self) -> DownloadConfig:
        blob, request, kit = self._blob, self._request, self._kit
        nodes = kit.breaker.alive if blob.task not in kit.suspects else ()
        if request.strict:
            nodes = kit.breaker.nodes
        peers = kit.peers
        return DownloadConfig(
            url=request.url,
            task_url=task_url(request.url, kit.dropped),
            peer=blob.label.peer,
            nodes=in_order_for(blob.task, nodes),
            ip=peers.ip,
            port=peers.port,
            path=peers.path_of(blob.name),
            host_name=socket.gethostname() or "localhost",
            version=VERSION,
            headers=_lines(request),
            dfdaemon=True,
            insecure=request.insecure,
            root_cas=request.root_cas,
            back_to_source=not request.strict,
            source_only=not nodes,
            stall_timeout_s=_STALL_S,
            idle_s=_IDLE_S,
            rejoin_s=STRICT_REJOIN_S if request.strict else _REJOIN_S,
            origin_streams=_ORIGIN_STREAMS,
            origin_span_bytes=_ORIGIN_SPAN_BYTES,
            origin_piece_size=PieceSizePolicy.ADAPTIVE.piece_size(max(0, blob.label.length)),
        )

    async def _verify(self, store: PieceStore, proof: Proof, effect: Publish) -> None:
        """See that the whole is what it should be; from then on all of it may be given out."""
        blob = self._blob
        try:
            await proof.check(effect.length, effect.md5)
            os.ftruncate(store.fd, effect.length)
            store.finish(effect.length)
        except PublishError as error:
            if error.mismatch and blob.is_of_swarm:
                self._kit.suspects.add(blob.task)
            _log.error("%s: %s", shown_url(self._request.url), error)
            blob.fail(str(error))
            raise
        except OSError as error:
            raise PublishError(f"cannot keep {store.path}: {error.strerror}") from error
        blob.label = replace(blob.label, length=effect.length)
        blob.is_complete = blob.was_hashed = True
        blob.moved()

    # --- the performer's watcher ---

    def told(self, milestone: Milestone, text: str) -> None:
        """Take note of where the rest comes from; the performer has logged it."""
        del text
        if milestone is Milestone.BACK_TO_SOURCE and not self._blob.progress.held_bytes:
            self._blob.is_of_swarm = False

    def progressed(self, progress: Progress) -> None:
        """Pass on that a piece came, or that the length is known."""
        blob, store = self._blob, self._blob.store
        blob.progress = progress
        promised, layout = blob.label.length, store.layout if store is not None else None
        if layout is not None and 0 <= promised != layout.length >= 0:
            text = f"{layout.length} bytes come where the origin promised {promised}"
            blob.fail(f"{shown_url(self._request.url)}: {text}")
            if blob.running is not None:
                blob.running.cancel()
        blob.moved()


def _lines(request: ContentRequest) -> tuple[str, ...]:
    return tuple(
        [
            f"{name}:{value}"
            for name, value in request.headers
            if name.lower() not in _NOT_IN_REGISTRATIONS and value
        ]
    )
