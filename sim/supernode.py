"""A simulated supernode: a ``SupernodeEngine`` and the machine it runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from ..engine.effects import (
    Answer,
    Ban,
    CancelFetch,
    CheckOrigin,
    DeleteCopy,
    ExpectMany,
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
    DiskSurveyed,
    FoundCopy,
    Freshness,
    OriginChecked,
    OriginEnded,
    OriginFailed,
    OriginOpened,
    OriginPieceStored,
    PieceHashed,
    PieceVerified,
)
from ..engine.ids import PieceIndex
from ..engine.piece import Digest
from ..engine.supernode import SupernodeEngine
from .host import Replica
from .node import Node
from .serving import FileServer

if TYPE_CHECKING:
    from ..engine.config import SupernodeConfig
    from ..engine.effects import SupernodeEffect
    from ..engine.events import OriginEvent, SupernodeEvent
    from ..engine.ids import FetchId, NodeAddress, TaskId
    from .host import Content, Host
    from .origin import OriginRead
    from .stage import Stage


class Supernode:
    """One supernode; ``name`` is that of its node, also after a restart."""

    def __init__(
        self, name: str, address: NodeAddress, config: SupernodeConfig, host: Host, stage: Stage
    ) -> None:
        self.name, self.host = name, host
        self._address, self._config, self._stage = address, config, stage
        self._replicas: dict[TaskId, Replica] = {}
        self._idle_since: dict[TaskId, float] = {}
        self._found: dict[TaskId, None] = {}
        """Tasks whose copies an earlier process left, and which were not asked for since."""
        self._reads: dict[FetchId, tuple[TaskId, OriginRead]] = {}
        self._lives = 0
        self.node = self._launch()

    def crash(self) -> None:
        """Die."""
        self.node.crash()
        self.host.listens = False
        for _, read in self._reads.values():
            self._stage.origin.cancel(read)
        self._reads.clear()
        self._stage.control.cut_off(self.node)
        self._stage.transfers.cut_off(self.host)

    def restart(self, *, loses_disk: bool) -> None:
        """Come back, with nothing in memory, and the copies on disk unless that is lost."""
        if loses_disk:
            for replica in self._replicas.values():
                replica.clear()
        self._found = {task: None for task, replica in self._replicas.items() if replica.stored}
        self.host.listens = True
        self.node = self._launch()

    def _launch(self) -> Node[SupernodeEvent, SupernodeEffect]:
        stage = self._stage
        self._lives += 1
        stream = self.name if self._lives == 1 else f"{self.name} life {self._lives}"
        engine = SupernodeEngine(self._config, stage.world.rng(stream))
        node: Node[SupernodeEvent, SupernodeEffect] = Node(
            stage.world, self.name, engine, self._perform, stage.watch, paranoid=stage.paranoid
        )
        self.host.server = FileServer(stage.transfers)
        stage.control.attach(self._address, node, self.host)
        return node

    def _perform(self, effect: SupernodeEffect) -> None:
        match effect:
            case Answer():
                self._stage.control.answer(effect)
            case ReadOrigin():
                self._read(effect)
            case CancelFetch(fetch):
                if (known := self._reads.pop(fetch, None)) is not None:
                    self._stage.origin.cancel(known[1])
            case HashPiece(task, piece):
                digest = self._content(task).digest(piece, Digest("md5:"))
                self._later(PieceHashed(task, piece, digest.removeprefix("md5:")))
            case HashCopy(task):
                self._later(CopyHashed(task, self._content(task).md5))
            case VerifyPiece(task, piece):
                self._later(PieceVerified(task, piece, intact=True))
            case CheckOrigin(fetch):
                self._later(OriginChecked(fetch, Freshness.SAME))
            case DeleteCopy(task):
                if (replica := self._replicas.get(task)) is not None:
                    replica.clear()
                self._later(CopyDeleted(task))
            case SurveyDisk(lists_copies):
                self._later(self._survey(lists_copies=lists_copies))
            case ProbeOrigin():
                raise AssertionError("this supernode reads the origin itself")
            case ExpectMany():
                pass  # The scenario's files are cut for its peers.
            case ForgetTask() | ForgetPeer() | Ban():
                pass  # They only tell the driver what the engine has done.
            case _:
                assert_never(effect)

    def _read(self, effect: ReadOrigin) -> None:
        task, cached = effect.task, 0
        replica = self._replica(task)
        if task in self._found:
            del self._found[task]
            if self._stage.scenario.origin_ranges:
                cached = _whole_prefix(replica)
            else:
                replica.clear()

        def told(event: OriginEvent) -> None:
            self._origin_said(event, replica)

        self._reads[effect.fetch] = (
            task,
            self._stage.origin.read(replica, effect, told, cached=cached),
        )

    def _replica(self, task: TaskId) -> Replica:
        replica = self._replicas.get(task)
        if replica is None:
            replica = self._replicas[task] = Replica(self.host, self._content(task))
            self.host.replicas[f"/download/{task[:3]}/{task}"] = replica
        return replica

    def _content(self, task: TaskId) -> Content:
        return self._stage.contents[task]

    def _survey(self, *, lists_copies: bool) -> DiskSurveyed:
        room, now = self.host.room_bytes, self._stage.world.now
        if room is None:
            return DiskSurveyed(0, 0, () if lists_copies else None)
        reading = {task: None for task, _ in self._reads.values()}
        sending = {id(transfer.source): None for transfer in self.host.uploads}
        copies = tuple(
            FoundCopy(
                task,
                sum(replica.content.sizes[piece] for piece in replica.stored),
                now - self._idle_since.get(task, now),
                in_use=task in reading or id(replica) in sending,
            )
            for task, replica in self._replicas.items()
            if replica.stored
        )
        free = round(self.host.free_bytes())
        return DiskSurveyed(free, room, copies if lists_copies else None)

    def _later(self, event: SupernodeEvent) -> None:
        self._stage.world.after(0.0, self.node.handle, event)

    def _origin_said(self, event: OriginEvent, replica: Replica) -> None:
        match event:
            case OriginPieceStored(_, piece):
                replica.serves[piece] = None
            case OriginEnded() | OriginFailed():
                known = self._reads.pop(event.fetch, None)
                if known is not None:
                    self._idle_since[known[0]] = self._stage.world.now
            case OriginOpened():
                pass
            case _:
                assert_never(event)
        self.node.handle(event)


def _whole_prefix(replica: Replica) -> int:
    """Return how many pieces from the start need not be read again, never all.

    The answer to the request for the last piece is the origin's word that nothing has changed.
    """
    count, last = 0, len(replica.content.sizes) - 1
    while count < last and replica.stored.get(PieceIndex(count)) is False:
        count += 1
    return count
