"""Pieces on their way from host to host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

from ..engine.events import FetchFailure, PieceFailed, PieceFetched
from ..engine.piece import WRAP_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..engine.effects import FetchPiece
    from .host import Content, Host
    from .links import Flow, Network
    from .scenario import Scenario
    from .world import World

    Fetched: TypeAlias = Callable[[PieceFetched | PieceFailed], None]


class PieceTransfer:
    """One ``FetchPiece`` under way."""

    __slots__ = ("child", "effect", "flow", "is_over", "parent", "tell")

    def __init__(self, child: Host, effect: FetchPiece, tell: Fetched) -> None:
        self.child, self.effect, self.tell = child, effect, tell
        self.parent: Host | None = None
        self.flow: Flow | None = None
        self.is_over = False


class Server(Protocol):
    """What answers requests for pieces on a host."""

    def ask(self, transfer: PieceTransfer) -> None:
        """Decide on a request: ``Transfers.send`` or ``Transfers.refuse``, now or later."""
        ...

    def ended(self, transfer: PieceTransfer, bytes_sent: int, *, complete: bool) -> None:
        """A piece that was being sent is through, or broken off."""
        ...


class Transfers:
    """Moves pieces, and counts the bytes of content that moved."""

    def __init__(
        self,
        world: World,
        network: Network,
        scenario: Scenario,
        content: Content,
        hosts: Mapping[tuple[str, int], Host],
    ) -> None:
        self._world, self._network = world, network
        self._content, self._hosts = content, hosts
        self._latency_s = scenario.latency_s
        self._first_byte_s = 2 * scenario.latency_s + scenario.dead_time_s
        self.bytes_from_supernode = 0
        self.bytes_from_peers = 0
        self.pieces_moved = 0

    def fetch(self, child: Host, effect: FetchPiece, tell: Fetched) -> PieceTransfer:
        """Get one piece from the parent that the effect names, then ``tell``."""
        transfer = PieceTransfer(child, effect, tell)
        self._world.after(self._first_byte_s, self._request, transfer)
        return transfer

    def send(self, transfer: PieceTransfer) -> bool:
        """A server grants the request; false, and it is refused, if the piece is not there."""
        parent, piece = transfer.parent, transfer.effect.offer.piece
        assert parent is not None
        if piece not in parent.serves:
            self.refuse(transfer, FetchFailure.NOT_FOUND, "416")
            return False
        parent.uploads[transfer] = None
        size = self._content.sizes[piece] + WRAP_BYTES
        transfer.flow = self._network.start(
            parent.up, transfer.child.down, size, self._arrived, transfer
        )
        return True

    def refuse(self, transfer: PieceTransfer, failure: FetchFailure, reason: str) -> None:
        """A server, or the lack of one, turns the request down."""
        transfer.is_over = True
        event = PieceFailed(transfer.effect.fetch, failure, reason)
        self._world.after(self._latency_s, transfer.tell, event)

    def cancel(self, transfer: PieceTransfer) -> None:
        """Give it up; nobody but the server is told."""
        if transfer.is_over:
            return
        transfer.is_over = True
        flow, parent = transfer.flow, transfer.parent
        if flow is None or parent is None:
            return
        del parent.uploads[transfer]
        moved = self._network.cancel(flow)
        self._count(parent, moved)
        parent.server.ended(transfer, moved, complete=False)

    def cut_off(self, parent: Host) -> None:
        """All uploads of a host break, as its connections do when it dies."""
        for transfer in list(parent.uploads):
            self.cancel(transfer)
            self.refuse(transfer, FetchFailure.SHORT, "the connection broke")

    def _request(self, transfer: PieceTransfer) -> None:
        if transfer.is_over:
            return
        offer = transfer.effect.offer
        parent = self._hosts.get((offer.host, offer.port))
        if parent is None or not parent.listens:
            self.refuse(transfer, FetchFailure.UNREACHABLE, "connection refused")
        else:
            transfer.parent = parent
            parent.server.ask(transfer)

    def _arrived(self, transfer: PieceTransfer) -> None:
        parent, effect = transfer.parent, transfer.effect
        assert parent is not None
        transfer.is_over = True
        transfer.flow = None
        del parent.uploads[transfer]
        piece = effect.offer.piece
        size = self._content.sizes[piece]
        self._count(parent, size)
        self.pieces_moved += 1
        parent.server.ended(transfer, size + WRAP_BYTES, complete=True)
        corrupt = parent.disk[piece]
        transfer.child.disk[piece] = corrupt
        digest = self._content.digest(piece, effect.offer.digest, corrupt=corrupt)
        transfer.tell(PieceFetched(effect.fetch, size, digest))

    def _count(self, parent: Host, moved: int) -> None:
        if parent.is_supernode:
            self.bytes_from_supernode += moved
        else:
            self.bytes_from_peers += moved
