"""The simulated supernode: a ``SupernodeEngine`` and the machine it runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from ..engine.effects import (
    Answer,
    Ban,
    CancelFetch,
    CheckOrigin,
    DeleteCopy,
    ForgetPeer,
    ForgetTask,
    HashCopy,
    HashPiece,
    ProbeOrigin,
    ReadOrigin,
    SurveyDisk,
    VerifyPiece,
)
from ..engine.events import (
    CopyDeleted,
    CopyHashed,
    Freshness,
    OriginChecked,
    OriginEnded,
    OriginFailed,
    OriginOpened,
    OriginPieceStored,
    PieceHashed,
    PieceVerified,
)
from ..engine.piece import Digest
from ..engine.supernode import SupernodeEngine
from .node import Node
from .serving import FileServer

if TYPE_CHECKING:
    from ..engine.config import SupernodeConfig
    from ..engine.effects import SupernodeEffect
    from ..engine.events import OriginEvent, SupernodeEvent
    from ..engine.ids import FetchId
    from .host import Host
    from .origin import OriginRead
    from .stage import Stage


class Supernode:
    """The supernode of the swarm."""

    def __init__(self, config: SupernodeConfig, host: Host, stage: Stage) -> None:
        self.host, self._stage = host, stage
        host.server = FileServer(stage.transfers)
        self._reads: dict[FetchId, OriginRead] = {}
        engine = SupernodeEngine(config, stage.world.rng("supernode"))
        self.node: Node[SupernodeEvent, SupernodeEffect] = Node(
            stage.world, "supernode", engine, self._perform, stage.watch, paranoid=stage.paranoid
        )
        stage.control.attach(self.node)

    def crash(self) -> None:
        """Die, and stay dead."""
        self.node.crash()
        self.host.listens = False
        for read in self._reads.values():
            self._stage.origin.cancel(read)
        self._reads.clear()
        self._stage.control.cut_off()
        self._stage.transfers.cut_off(self.host)

    def _perform(self, effect: SupernodeEffect) -> None:
        match effect:
            case Answer():
                self._stage.control.answer(effect)
            case ReadOrigin():
                self._reads[effect.fetch] = self._stage.origin.read(
                    self.host, effect, self._origin_said
                )
            case CancelFetch(fetch):
                if (read := self._reads.pop(fetch, None)) is not None:
                    self._stage.origin.cancel(read)
            case HashPiece(task, piece):
                digest = self._stage.content.digest(piece, Digest("md5:"))
                self._later(PieceHashed(task, piece, digest.removeprefix("md5:")))
            case HashCopy(task):
                self._later(CopyHashed(task, self._stage.content.md5))
            case VerifyPiece(task, piece):
                self._later(PieceVerified(task, piece, intact=True))
            case CheckOrigin(fetch):
                self._later(OriginChecked(fetch, Freshness.SAME))
            case DeleteCopy(task):
                self.host.serves.clear()
                self._later(CopyDeleted(task))
            case ProbeOrigin() | SurveyDisk():
                raise AssertionError("this supernode reads the origin itself; its disk has no end")
            case ForgetTask() | ForgetPeer() | Ban():
                pass  # They only tell the driver what the engine has done.
            case _:
                assert_never(effect)

    def _later(self, event: SupernodeEvent) -> None:
        self._stage.world.after(0.0, self.node.handle, event)

    def _origin_said(self, event: OriginEvent) -> None:
        match event:
            case OriginPieceStored(_, piece):
                self.host.serves[piece] = None
            case OriginEnded() | OriginFailed():
                self._reads.pop(event.fetch, None)
            case OriginOpened():
                pass
            case _:
                assert_never(event)
        self.node.handle(event)
