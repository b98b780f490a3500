"""Who answers when a peer asks for a piece: a peer's own server, or the supernode's file server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, assert_never

from msgspec.structs import replace

from ..engine.effects import Send
from ..engine.events import FetchFailure
from ..engine.ids import ExchangeId
from ..engine.messages import LeaveTask
from ..engine.peer_server import PeerServerEngine
from ..engine.uploads import (
    CheckRequested,
    CloseServer,
    DataSurveyed,
    DeleteDownload,
    FinishReported,
    FoundFile,
    LeaveSwarm,
    LimitUploads,
    PieceRequested,
    RequestDropped,
    Respond,
    RetireServer,
    ServePiece,
    StopRequested,
    SurveyData,
    UploadEnded,
    UploadPolicy,
)
from .node import Node

if TYPE_CHECKING:
    from ..engine.events import ExchangeFailed, Replied
    from ..engine.uploads import PeerServerEffect, PeerServerEvent
    from .host import Host, Replica
    from .peer import Peer
    from .scenario import Scenario
    from .stage import Stage
    from .transfers import PieceTransfer, Transfers

_POLICY: Final = UploadPolicy(data_dir="/data", version="sim")
_LEAVE_TIMEOUT_S: Final = 5.0


class FileServer:
    """The supernode's download port: whatever lies there may be had."""

    def __init__(self, transfers: Transfers) -> None:
        self._transfers = transfers

    def ask(self, transfer: PieceTransfer) -> None:
        """Send the piece."""
        self._transfers.send(transfer)

    def ended(self, transfer: PieceTransfer, bytes_sent: int, *, complete: bool) -> None:
        """Keep no account."""

    def dropped(self, transfer: PieceTransfer) -> None:
        """Nobody waits here."""


class PeerServer:
    """A peer server's engine, and the directory with the downloads that it serves."""

    def __init__(self, name: str, host: Host, stage: Stage) -> None:
        self._host, self._stage = host, stage
        self._asked: dict[ExchangeId, PieceTransfer] = {}
        self._numbers: dict[PieceTransfer, ExchangeId] = {}
        self._count = 0
        self._files: dict[str, _File] = {}
        self.node: Node[PeerServerEvent, PeerServerEffect] = Node(
            stage.world,
            name,
            PeerServerEngine(_policy(stage.scenario)),
            self._perform,
            stage.watch,
            paranoid=stage.paranoid,
        )

    def announce(self, peer: Peer) -> None:
        """A download begins and wants to be served."""
        name = _name(peer.config.path)
        self._files[name] = _File(peer.replica, self._stage.world.now)
        self.node.handle(CheckRequested(self._next(), name, "", ""))

    def finished(self, peer: Peer) -> None:
        """The download ended; its pieces stay on offer for a while."""
        config, name = peer.config, _name(peer.config.path)
        file = self._files[name]
        file.is_done, file.is_delivered = True, peer.has_file
        file.used_s = self._stage.world.now
        node = peer.supernode
        report = FinishReported(self._next(), name, config.task, config.peer, str(node or ""))
        self.node.handle(report)

    def stop(self) -> None:
        """Leave all swarms and end, once uploads under way are through."""
        self.node.handle(StopRequested())

    def ask(self, transfer: PieceTransfer) -> None:
        """Put the request for a piece to the engine."""
        exchange, offer = self._next(), transfer.effect.offer
        self._asked[exchange], self._numbers[transfer] = transfer, exchange
        first, size = offer.piece * offer.piece_size, offer.piece_size
        self.node.handle(
            PieceRequested(
                exchange=exchange,
                name=_name(offer.path),
                byte_range=f"bytes={first}-{first + size - 1}",
                piece=str(offer.piece),
                piece_size=str(size),
                host=transfer.child.host.ip,
            )
        )

    def ended(self, transfer: PieceTransfer, bytes_sent: int, *, complete: bool) -> None:
        """Tell the engine that an upload is over."""
        self.node.handle(UploadEnded(self._numbers.pop(transfer), bytes_sent, complete))

    def dropped(self, transfer: PieceTransfer) -> None:
        """Tell the engine that a request is not to be answered."""
        if (exchange := self._numbers.pop(transfer, None)) is not None:
            del self._asked[exchange]
            self.node.handle(RequestDropped(exchange))

    def crash(self) -> None:
        """Die, with the connections of those who wait."""
        self.node.crash()
        for transfer in self._asked.values():
            self._stage.transfers.refuse(transfer, FetchFailure.SHORT, "the connection broke")
        self._asked.clear()

    def handle(self, event: Replied | ExchangeFailed) -> None:
        """Nothing depends on what the supernode answers to a leave."""

    def _next(self) -> ExchangeId:
        self._count += 1
        return ExchangeId(self._count)

    def _perform(self, effect: PeerServerEffect) -> None:
        match effect:
            case ServePiece(exchange):
                transfer = self._asked.pop(exchange)
                if not self._stage.transfers.send(transfer):
                    del self._numbers[transfer]
                    ended = UploadEnded(exchange, 0, False)
                    self._stage.world.after(0.0, self.node.handle, ended)
            case Respond(exchange, status, text):
                if (transfer := self._asked.pop(exchange, None)) is not None:
                    del self._numbers[transfer]
                    absent = status in (404, 416, 500)
                    failure = FetchFailure.NOT_FOUND if absent else FetchFailure.REFUSED
                    self._stage.transfers.refuse(transfer, failure, f"{status} {text.strip()}")
            case SurveyData():
                self._stage.world.after(0.0, self.node.handle, DataSurveyed(self._survey()))
            case LeaveSwarm(node, task, peer):
                leave = Send(self._next(), node, LeaveTask(task, peer), _LEAVE_TIMEOUT_S)
                self._stage.control.ask(self, self._host, leave)
            case DeleteDownload(name):
                self._files[name].replica.serves.clear()
            case CloseServer():
                self._host.listens = False
            case LimitUploads() | RetireServer():
                pass  # No host here has a total limit, or a second download to look for a server.
            case _:
                assert_never(effect)

    def _survey(self) -> tuple[FoundFile, ...]:
        now = self._stage.world.now
        return tuple(
            FoundFile(name, now - file.used_s, not file.is_done, file.is_delivered)
            for name, file in self._files.items()
            if file.replica.serves or not file.is_done
        )


@dataclass(slots=True)
class _File:
    """One download in the directory."""

    replica: Replica
    used_s: float
    is_done: bool = False
    is_delivered: bool = False


def _policy(scenario: Scenario) -> UploadPolicy:
    return replace(
        _POLICY,
        up_slots=scenario.peer_server_slots or _POLICY.up_slots,
        host_slots=scenario.peer_server_host_slots or _POLICY.host_slots,
    )


def _name(path: str) -> str:
    return path.rpartition("/")[2]
