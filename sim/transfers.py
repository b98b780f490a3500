"""Pieces on their way from host to host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from ..engine.events import FetchFailure, PieceFailed, PieceFetched
from ..engine.piece import NO_DIGEST, WRAP_BYTES
from .ways import ramp_s

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..engine.effects import FetchPiece
    from .host import Host, Replica
    from .links import Flow, Network
    from .scenario import Scenario
    from .ways import Ways
    from .world import World

    Fetched: TypeAlias = Callable[[PieceFetched | PieceFailed], None]

_KNOCK_S: Final = 1.0
"""How often a connection that does not come about is tried again."""


class PieceTransfer:
    """One ``FetchPiece`` under way."""

    __slots__ = ("asked_s", "child", "effect", "flow", "is_over", "parent", "source", "tell")

    def __init__(self, child: Replica, effect: FetchPiece, tell: Fetched, asked_s: float) -> None:
        self.child, self.effect, self.tell, self.asked_s = child, effect, tell, asked_s
        self.parent: Host | None = None
        self.source: Replica | None = None
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

    def dropped(self, transfer: PieceTransfer) -> None:
        """Nobody waits any more for a request that was not decided on."""
        ...


class Transfers:
    """Moves pieces, and counts the bytes of content that moved."""

    def __init__(
        self,
        world: World,
        network: Network,
        ways: Ways,
        scenario: Scenario,
        hosts: Mapping[tuple[str, int], Host],
    ) -> None:
        self._world, self._network, self._ways = world, network, ways
        self._scenario, self._hosts = scenario, hosts
        self._latency_s = scenario.latency_s
        self._first_byte_s = 2 * scenario.latency_s + scenario.dead_time_s
        self._is_alike = ways.are_alike and not scenario.tcp_window_bytes
        self._is_instant = not (
            scenario.disk_bytes_per_s or scenario.disk_latency_s or scenario.piece_cpu_s
        )
        self.bytes_from_supernode = 0
        self.bytes_from_peers = 0
        self.pieces_moved = 0

    def fetch(self, child: Replica, effect: FetchPiece, tell: Fetched) -> PieceTransfer:
        """Get one piece from the parent that the effect names, then ``tell``."""
        transfer = PieceTransfer(child, effect, tell, self._world.now)
        delay = self._first_byte_s if self._is_alike else self._delay_s(transfer)
        self._world.after(delay, self._request, transfer)
        return transfer

    def send(self, transfer: PieceTransfer) -> bool:
        """A server grants the request; false, and it is refused, if the piece is not there."""
        parent, piece = transfer.parent, transfer.effect.offer.piece
        assert parent is not None
        source = parent.replicas.get(transfer.effect.offer.path)
        if source is None or piece not in source.serves:
            self.refuse(transfer, FetchFailure.NOT_FOUND, "416")
            return False
        transfer.source = source
        parent.uploads[transfer] = None
        child = transfer.child.host
        via = () if self._is_alike else self._ways.between(parent, child)
        size = source.content.sizes[piece] + WRAP_BYTES
        transfer.flow = self._network.start(
            parent.up, child.down, size, self._arrived, transfer, via
        )
        if not (parent.up.rate_bytes_per_s and child.down.rate_bytes_per_s):
            self._watch(transfer)
        return True

    def refuse(self, transfer: PieceTransfer, failure: FetchFailure, reason: str) -> None:
        """A server, or the lack of one, turns the request down."""
        transfer.is_over = True
        latency_s = self._latency_s
        if transfer.parent is not None and not self._is_alike:
            latency_s = self._ways.latency_s(transfer.parent, transfer.child.host)
        event = PieceFailed(transfer.effect.fetch, failure, reason)
        self._world.after(latency_s, transfer.tell, event)

    def cancel(self, transfer: PieceTransfer) -> None:
        """Give it up; nobody but the server is told."""
        if transfer.is_over:
            return
        transfer.is_over = True
        flow, parent = transfer.flow, transfer.parent
        if parent is None:
            return
        if flow is None:
            parent.server.dropped(transfer)
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

    def review(self) -> None:
        """Ways were cut or healed, links stopped or started: hold or move what is under way."""
        for parent in self._hosts.values():
            for transfer in parent.uploads:
                flow, child = transfer.flow, transfer.child.host
                assert flow is not None
                if self._network.review(flow, self._ways.carry_data(parent.side, child.side)):
                    self._watch(transfer)

    # --- inside ---

    def _delay_s(self, transfer: PieceTransfer) -> float:
        """Return the time to the first byte, with what slow start takes on top."""
        offer, child, scenario = transfer.effect.offer, transfer.child.host, self._scenario
        parent = self._hosts.get((offer.host, offer.port))
        if parent is None:
            return self._first_byte_s
        round_trip_s = 2 * self._ways.latency_s(parent, child)
        delay_s = round_trip_s + scenario.dead_time_s
        rate = min(parent.up.rate_bytes_per_s, child.down.rate_bytes_per_s)
        if scenario.tcp_window_bytes and rate:
            window, size = scenario.tcp_window_bytes, transfer.child.content.sizes[offer.piece]
            delay_s += ramp_s(size, window, round_trip_s, rate)
        return delay_s

    def _request(self, transfer: PieceTransfer) -> None:
        if transfer.is_over:
            return
        offer = transfer.effect.offer
        parent = self._hosts.get((offer.host, offer.port))
        if parent is None or not parent.listens:
            self.refuse(transfer, FetchFailure.UNREACHABLE, "connection refused")
        elif self._is_alike or self._ways.carry_data(parent.side, transfer.child.host.side):
            transfer.parent = parent
            parent.server.ask(transfer)
        elif self._world.now + _KNOCK_S < transfer.asked_s + transfer.effect.stall_timeout_s:
            self._world.after(_KNOCK_S, self._request, transfer)
        else:
            self.refuse(transfer, FetchFailure.UNREACHABLE, "no connection in time")

    def _arrived(self, transfer: PieceTransfer) -> None:
        child, effect = transfer.child, transfer.effect
        parent, source, offer = transfer.parent, transfer.source, effect.offer
        assert parent is not None
        assert source is not None
        transfer.is_over = True
        transfer.flow = None
        del parent.uploads[transfer]
        piece = offer.piece
        size = source.content.sizes[piece]
        self._count(parent, size)
        self.pieces_moved += 1
        parent.server.ended(transfer, size + WRAP_BYTES, complete=True)
        corrupt = source.stored.get(piece, False)
        if child.store(piece, corrupt=corrupt):
            form = NO_DIGEST if offer.sha256 else offer.digest
            digest = source.content.digest(piece, form, corrupt=corrupt)
            event = PieceFetched(effect.fetch, size, digest)
        else:
            event = PieceFailed(effect.fetch, FetchFailure.STORE_FULL, "no space left")
        if self._is_instant:
            transfer.tell(event)
        else:
            kept_s = child.host.kept_s(self._world.now, size, self._scenario)
            self._world.at(kept_s, transfer.tell, event)

    def _watch(self, transfer: PieceTransfer) -> None:
        """It stands still: give it up unless that changes in time."""
        flow = transfer.flow
        assert flow is not None
        seen = transfer, self._network.moved(flow)
        self._world.after(transfer.effect.stall_timeout_s, self._look_again, seen)

    def _look_again(self, seen: tuple[PieceTransfer, float]) -> None:
        transfer, moved = seen
        if transfer.flow is not None and not transfer.is_over:
            if self._network.moved(transfer.flow) > moved:
                return
            self.cancel(transfer)
            patience_s = transfer.effect.stall_timeout_s
            self.refuse(transfer, FetchFailure.STALLED, f"no byte for {patience_s:g} s")

    def _count(self, parent: Host, moved: int) -> None:
        if parent.is_supernode:
            self.bytes_from_supernode += moved
        else:
            self.bytes_from_peers += moved
