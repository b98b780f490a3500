"""Pieces on their way from host to host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from ..engine.events import FetchFailure, PieceFailed, PieceFetched
from ..engine.piece import NO_DIGEST, WRAP_BYTES
from .relays import Relays
from .ways import ramp_s

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..engine.effects import FetchPiece
    from ..engine.ids import PieceIndex
    from .host import Host, Replica
    from .links import Flow, Network
    from .scenario import Scenario
    from .ways import Ways
    from .world import World

    Fetched: TypeAlias = Callable[[PieceFetched | PieceFailed], None]

_KNOCK_S: Final = 1.0
"""How often a connection that does not come about is tried again."""


class PieceTransfer:
    """One ``FetchPiece`` under way.

    ``source`` has, or will have, what it asked for.  ``upstream`` is what brings a relay's bytes to
    its parent, until they are found good there.
    """

    __slots__ = (
        *("asked_s", "child", "effect", "flow", "is_over", "is_relay", "parent", "source"),
        *("tell", "upstream"),
    )

    def __init__(self, child: Replica, effect: FetchPiece, tell: Fetched, asked_s: float) -> None:
        self.child, self.effect, self.tell, self.asked_s = child, effect, tell, asked_s
        self.parent: Host | None = None
        self.source: Replica | None = None
        self.upstream: PieceTransfer | None = None
        self.flow: Flow | None = None
        self.is_over = self.is_relay = False


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
        self._relays = Relays(world, self)
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
        """A server grants the request; false, and it is refused, if the piece is not there.

        Nor may it be on its way, or going to be, in a download that relays.
        """
        parent, piece = transfer.parent, transfer.effect.offer.piece
        assert parent is not None
        source = parent.replicas.get(transfer.effect.offer.path)
        if source is None or not (piece in source.serves or source.relays):
            self.refuse(transfer, FetchFailure.NOT_FOUND, "416")
            return False
        transfer.source = source
        parent.uploads[transfer] = None
        if piece not in source.serves:
            self._relays.take(transfer)
            return True
        self._start(transfer)
        if not (parent.up.rate_bytes_per_s and transfer.child.host.down.rate_bytes_per_s):
            self._watch(transfer)
        return True

    def refuse(self, transfer: PieceTransfer, failure: FetchFailure, reason: str) -> None:
        """A server, or the lack of one, turns the request down."""
        transfer.is_over = True
        event = PieceFailed(transfer.effect.fetch, failure, reason)
        self._world.after(self._way_s(transfer), transfer.tell, event)

    def cancel(self, transfer: PieceTransfer) -> None:
        """Give it up; nobody but the server is told, and those that it was passed on to."""
        was_over, transfer.is_over = transfer.is_over, True
        self._relays.ended(transfer)
        parent = transfer.parent
        if was_over or parent is None:
            return
        if transfer not in parent.uploads:
            parent.server.dropped(transfer)
            return
        del parent.uploads[transfer]
        flow = transfer.flow
        moved = self._network.cancel(flow) if flow is not None else int(self._moved(transfer))
        self._relays.forget(transfer)
        self._count(parent, moved)
        parent.server.ended(transfer, moved, complete=False)

    def kept(self, replica: Replica, piece: PieceIndex) -> None:
        """A download found a piece good, and serves it from now on."""
        self._relays.kept(replica, piece)

    def ended(self, transfer: PieceTransfer) -> None:
        """The download has made of a fetch what it could."""
        self._relays.ended(transfer)

    def lost(self, replica: Replica) -> None:
        """A download has ended, or its file was removed: nothing is on its way any more."""
        self._relays.lost(replica)

    def cut_off(self, parent: Host) -> None:
        """All uploads of a host break, as its connections do when it dies."""
        for transfer in list(parent.uploads):
            self.fail(transfer, FetchFailure.SHORT, "the connection broke")

    def review(self) -> None:
        """Ways were cut or healed, links stopped or started: hold or move what is under way."""
        for parent in self._hosts.values():
            for transfer in parent.uploads:
                if transfer.flow is None:
                    self._world.after(0.0, self._deliver, transfer)
                elif self._network.review(transfer.flow, self._reaches(transfer)):
                    self._watch(transfer)

    # --- for relays ---

    def begin(self, transfer: PieceTransfer, upstream: Flow | None = None) -> None:
        """Start to send what was waited for, no faster than ``upstream`` brings it."""
        flow = self._start(transfer, upstream)
        self._network.review(flow, self._reaches(transfer))
        self._watch(transfer)

    def release(self, transfer: PieceTransfer) -> None:
        """Let the last byte of a relay go, too."""
        if transfer.flow is not None:
            self._network.detach(transfer.flow)
        self._world.after(self._way_s(transfer), self._complete, transfer)

    def fail(self, transfer: PieceTransfer, failure: FetchFailure, reason: str) -> None:
        """Break an upload off, unless it is over."""
        if not transfer.is_over:
            self.cancel(transfer)
            self.refuse(transfer, failure, reason)

    # --- inside ---

    def _way_s(self, transfer: PieceTransfer) -> float:
        """Return how long it takes from the parent to the child."""
        if transfer.parent is None or self._is_alike:
            return self._latency_s
        return self._ways.latency_s(transfer.parent, transfer.child.host)

    def _reaches(self, transfer: PieceTransfer) -> bool:
        assert transfer.parent is not None
        return self._ways.carry_data(transfer.parent.side, transfer.child.host.side)

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

    def _start(self, transfer: PieceTransfer, upstream: Flow | None = None) -> Flow:
        parent, source, child = transfer.parent, transfer.source, transfer.child.host
        assert parent is not None
        assert source is not None
        via = () if self._is_alike else self._ways.between(parent, child)
        size = source.content.sizes[transfer.effect.offer.piece] + WRAP_BYTES
        transfer.flow = flow = self._network.start(
            parent.up, child.down, size, self._arrived, transfer, via, upstream
        )
        self._relays.began(transfer)
        return flow

    def _complete(self, transfer: PieceTransfer) -> None:
        transfer.upstream = None
        self._deliver(transfer)

    def _deliver(self, transfer: PieceTransfer) -> None:
        """Send the last byte of a relay, if that is all that is missing, and the way is open."""
        is_held = transfer.is_relay and transfer.upstream is None and transfer.flow is None
        if is_held and not transfer.is_over and self._reaches(transfer):
            self._arrived(transfer)

    def _arrived(self, transfer: PieceTransfer) -> None:
        if transfer.upstream is not None:
            # All but the last byte: that waits for the parent to find the piece good.
            transfer.flow = None
            self._watch(transfer)
            return
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
        # A relay's bytes were never read from the disk, and its parent found them good.
        corrupt = not transfer.is_relay and source.stored.get(piece, False)
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
        seen = transfer, self._moved(transfer)
        self._world.after(transfer.effect.stall_timeout_s, self._look_again, seen)

    def _look_again(self, seen: tuple[PieceTransfer, float]) -> None:
        transfer, moved = seen
        if transfer.is_over:
            return
        if self._moved(transfer) <= moved:
            patience_s = transfer.effect.stall_timeout_s
            self.fail(transfer, FetchFailure.STALLED, f"no byte for {patience_s:g} s")
        elif transfer.upstream is not None:
            self._watch(transfer)

    def _moved(self, transfer: PieceTransfer) -> float:
        """Return the bytes that have come through so far."""
        if transfer.flow is not None:
            return self._network.moved(transfer.flow)
        if not transfer.is_relay:
            return 0
        return transfer.child.content.sizes[transfer.effect.offer.piece] + WRAP_BYTES - 1

    def _count(self, parent: Host, moved: int) -> None:
        if parent.is_supernode:
            self.bytes_from_supernode += moved
        else:
            self.bytes_from_peers += moved
