"""A simulated peer: a ``DownloadEngine`` and the machine it runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from ..engine.download import DownloadEngine
from ..engine.effects import (
    CancelFetch,
    DropPiece,
    FailCode,
    FetchPiece,
    Finish,
    KeepPiece,
    LayOut,
    Publish,
    ReadOrigin,
    Send,
    Tell,
)
from ..engine.events import (
    OriginEnded,
    OriginFailed,
    OriginOpened,
    OriginPieceStored,
    PieceFailed,
    PieceFetched,
    Published,
    PublishFailed,
    Started,
)
from ..engine.ids import task_id
from .node import Node
from .serving import FileServer, PeerServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.config import DownloadConfig
    from ..engine.effects import DownloadEffect
    from ..engine.events import DownloadEvent, OriginEvent
    from ..engine.ids import FetchId
    from .host import Host
    from .origin import OriginRead
    from .stage import Stage
    from .transfers import PieceTransfer


class Peer:
    """One download on one host; its peer server outlives the download."""

    def __init__(
        self,
        number: int,
        config: DownloadConfig,
        host: Host,
        stage: Stage,
        ended: Callable[[Peer], None],
    ) -> None:
        self.number, self.host = number, host
        self.began_s: float | None = None
        self.took_s: float | None = None
        self.finish: Finish | None = None
        self._stage, self._ended = stage, ended
        self._config = config
        self._fetches: dict[FetchId, PieceTransfer] = {}
        self._reads: dict[FetchId, OriginRead] = {}
        self._server: PeerServer | None = None
        if stage.peer_servers:
            self._server = PeerServer(config.peer, config.path.rpartition("/")[2], host, stage)
        host.server = self._server or FileServer(stage.transfers)
        engine = DownloadEngine(config, stage.world.rng(f"peer {number}"))
        self.node: Node[DownloadEvent, DownloadEffect] = Node(
            stage.world, config.peer, engine, self._perform, stage.watch, paranoid=stage.paranoid
        )

    @property
    def has_file(self) -> bool:
        """Tell whether the download ended well."""
        return self.finish is not None and self.finish.code is FailCode.SUCCESS

    def start(self) -> None:
        """Begin the download, now; a peer that died before does nothing."""
        self.began_s = self._stage.world.now
        if self._server is not None:
            self._server.announce()
        self.node.handle(Started())

    def crash(self) -> None:
        """Die: dfget and peer server both, with whatever they were saying."""
        self.node.crash()
        if self._server is not None:
            self._server.node.crash()
        self.host.listens = False
        for fetch in [*self._fetches, *self._reads]:
            self._cancel(fetch)
        self._stage.control.hang_up(self.node)
        self._stage.transfers.cut_off(self.host)

    def _perform(self, effect: DownloadEffect) -> None:
        match effect:
            case Send():
                self._stage.control.ask(self.node, effect)
            case FetchPiece():
                self._fetches[effect.fetch] = self._stage.transfers.fetch(
                    self.host, effect, self._fetched
                )
            case KeepPiece(piece):
                host = self.host
                host.serves[piece] = None
                host.disk[piece] = host.disk[piece] or self._stage.rot.spoils(self.number, piece)
            case DropPiece(piece):
                self.host.serves.pop(piece, None)
            case CancelFetch(fetch):
                self._cancel(fetch)
            case ReadOrigin():
                self._reads[effect.fetch] = self._stage.origin.read(
                    self.host, effect, self._origin_said
                )
            case LayOut():
                if not effect.keep:
                    self.host.disk.clear()
                    self.host.serves.clear()
            case Publish():
                self._stage.world.after(0.0, self.node.handle, self._publish(effect))
            case Finish():
                self._finish(effect)
            case Tell():
                pass  # Nobody watches one peer of thousands.
            case _:
                assert_never(effect)

    def _publish(self, effect: Publish) -> Published | PublishFailed:
        if effect.md5 and effect.md5 != self._stage.content.md5:
            return PublishFailed(f"md5 is {self._stage.content.md5}", mismatch=True)
        if effect.md5 and any(self.host.disk.values()):
            return PublishFailed("md5 of the file is another", mismatch=True)
        return Published()

    def _finish(self, effect: Finish) -> None:
        assert self.began_s is not None
        self.finish = effect
        self.took_s = self._stage.world.now - self.began_s
        if self._server is not None:
            config = self._config
            self._server.finished(
                task_id(config.task_url), config.nodes[0], delivered=self.has_file
            )
        self._ended(self)

    def _cancel(self, fetch: FetchId) -> None:
        if (transfer := self._fetches.pop(fetch, None)) is not None:
            self._stage.transfers.cancel(transfer)
        elif (read := self._reads.pop(fetch, None)) is not None:
            self._stage.origin.cancel(read)

    def _fetched(self, event: PieceFetched | PieceFailed) -> None:
        if self._fetches.pop(event.fetch, None) is not None:
            self.node.handle(event)

    def _origin_said(self, event: OriginEvent) -> None:
        match event:
            case OriginEnded() | OriginFailed():
                self._reads.pop(event.fetch, None)
            case OriginOpened() | OriginPieceStored():
                pass
            case _:
                assert_never(event)
        self.node.handle(event)
