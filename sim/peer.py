"""A simulated download: a ``DownloadEngine`` and the replica that it fills."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from ..engine.download import DownloadEngine
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
from ..engine.events import (
    HeldPiece,
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
from ..engine.outcomes import FailCode
from .node import Node

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.config import DownloadConfig
    from ..engine.effects import DownloadEffect
    from ..engine.events import DownloadEvent, OriginEvent
    from ..engine.ids import FetchId, NodeAddress
    from .host import Host, Replica
    from .origin import OriginRead
    from .stage import Stage
    from .transfers import PieceTransfer


class Peer:
    """One process that downloads one file; ``number`` is its machine's.

    ``ended`` is told when it is over, well or not.  ``stream`` names its randomness.
    """

    def __init__(
        self,
        number: int,
        config: DownloadConfig,
        replica: Replica,
        stage: Stage,
        ended: Callable[[Peer], None],
        stream: str,
    ) -> None:
        self.number, self.config, self.replica = number, config, replica
        self.finish: Finish | None = None
        self._stage, self._ended = stage, ended
        self._fetches: dict[FetchId, PieceTransfer] = {}
        self._reads: dict[FetchId, OriginRead] = {}
        self._engine = DownloadEngine(config, stage.world.rng(stream))
        self.node: Node[DownloadEvent, DownloadEffect] = Node(
            stage.world,
            config.peer,
            self._engine,
            self._perform,
            stage.watch,
            paranoid=stage.paranoid,
        )

    @property
    def host(self) -> Host:
        """The machine it runs on."""
        return self.replica.host

    @property
    def supernode(self) -> NodeAddress | None:
        """The supernode that last took a registration."""
        return self._engine.node

    @property
    def has_file(self) -> bool:
        """Tell whether the download ended well."""
        return self.finish is not None and self.finish.code is FailCode.SUCCESS

    def start(self) -> None:
        """Begin, with what an earlier process left: bytes that are bad are found out and go."""
        replica, content = self.replica, self.replica.content
        replica.relays = self.config.relays
        for piece in [piece for piece, is_bad in replica.stored.items() if is_bad]:
            replica.discard(piece)
        held = tuple(
            HeldPiece(piece, content.sizes[piece], content.sha256(piece))
            for piece in sorted(replica.serves)
        )
        if held:
            length, size = content.length, content.piece_size
            self.node.handle(Started(held, length, size, content.validator))
        else:
            self.node.handle(Started())

    def crash(self) -> None:
        """Die, with whatever it was saying and fetching."""
        self.node.crash()
        self.replica.relays = False
        for fetch in [*self._fetches, *self._reads]:
            self._cancel(fetch)
        self._stage.control.hang_up(self.node)

    def _perform(self, effect: DownloadEffect) -> None:
        match effect:
            case Send():
                self._stage.control.ask(self.node, self.replica.host, effect)
            case FetchPiece():
                self._fetches[effect.fetch] = self._stage.transfers.fetch(
                    self.replica, effect, self._fetched
                )
            case KeepPiece(piece):
                replica = self.replica
                replica.serves[piece] = None
                if self._stage.scenario.disk_unsynced_s:
                    replica.kept_s[piece] = self._stage.world.now
                if self._stage.rot.spoils(self.number, piece):
                    replica.stored[piece] = True
                self._stage.transfers.kept(replica, piece)
            case DropPiece(piece):
                self.replica.serves.pop(piece, None)
            case CancelFetch(fetch):
                self._cancel(fetch)
            case ReadOrigin():
                self._reads[effect.fetch] = self._stage.origin.read(
                    self.replica, effect, self._origin_said
                )
            case LayOut():
                if not effect.keep:
                    self.replica.clear()
                    self._stage.transfers.lost(self.replica)
            case Publish():
                self._stage.world.after(0.0, self.node.handle, self._publish(effect))
            case Finish():
                self.finish = effect
                self.replica.relays = False
                self._stage.transfers.lost(self.replica)
                self._ended(self)
            case Tell():
                pass  # Nobody watches one peer of thousands.
            case _:
                assert_never(effect)

    def _publish(self, effect: Publish) -> Published | PublishFailed:
        content = self.replica.content
        if effect.md5 and effect.md5 != content.md5:
            return PublishFailed(f"md5 is {content.md5}", mismatch=True)
        if effect.md5 and any(self.replica.stored.values()):
            return PublishFailed("md5 of the file is another", mismatch=True)
        return Published()

    def _cancel(self, fetch: FetchId) -> None:
        if (transfer := self._fetches.pop(fetch, None)) is not None:
            self._stage.transfers.cancel(transfer)
        elif (read := self._reads.pop(fetch, None)) is not None:
            self._stage.origin.cancel(read)

    def _fetched(self, event: PieceFetched | PieceFailed) -> None:
        if (transfer := self._fetches.pop(event.fetch, None)) is not None:
            self.node.handle(event)
            self._stage.transfers.ended(transfer)

    def _origin_said(self, event: OriginEvent) -> None:
        match event:
            case OriginEnded() | OriginFailed():
                self._reads.pop(event.fetch, None)
            case OriginOpened() | OriginPieceStored():
                pass
            case _:
                assert_never(event)
        self.node.handle(event)
