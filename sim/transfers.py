"""Bulk bytes: pieces from host to host, and reads of the origin."""

from __future__ import annotations

from collections import Counter
from enum import Enum, auto
from typing import TYPE_CHECKING, TypeAlias

from ..engine.events import (
    FetchFailure,
    OriginEnded,
    OriginFailed,
    OriginFailure,
    OriginOpened,
    OriginPieceStored,
    PieceFailed,
    PieceFetched,
)
from ..engine.ids import PieceIndex
from ..engine.piece import WRAP_BYTES, PieceLayout, PieceSizePolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..engine.effects import FetchPiece, ReadOrigin
    from ..engine.events import OriginEvent
    from .host import Content, Host
    from .links import Flow, Link, Network
    from .scenario import Scenario
    from .world import World

    Fetched: TypeAlias = Callable[[PieceFetched | PieceFailed], None]
    OriginSaid: TypeAlias = Callable[[OriginEvent], None]


class Source(Enum):
    """Where bytes came from."""

    ORIGIN = auto()
    SUPERNODE = auto()
    PEER = auto()


class PieceTransfer:
    """One ``FetchPiece`` under way."""

    __slots__ = ("child", "effect", "flow", "is_over", "parent", "tell")

    def __init__(self, child: Host, effect: FetchPiece, tell: Fetched) -> None:
        self.child, self.effect, self.tell = child, effect, tell
        self.parent: Host | None = None
        self.flow: Flow | None = None
        self.is_over = False

    @property
    def source(self) -> Source:
        """Where its bytes come from."""
        is_cdn = self.parent is not None and self.parent.is_supernode
        return Source.SUPERNODE if is_cdn else Source.PEER


class OriginRead:
    """One ``ReadOrigin`` under way: its pieces come one after the other."""

    __slots__ = ("effect", "flow", "host", "is_over", "layout", "next", "tell")
    source = Source.ORIGIN

    def __init__(
        self, host: Host, effect: ReadOrigin, layout: PieceLayout, tell: OriginSaid
    ) -> None:
        self.host, self.effect, self.layout, self.tell = host, effect, layout, tell
        self.next = PieceIndex(effect.first_byte // layout.content_size)
        self.flow: Flow | None = None
        self.is_over = False

    @property
    def end(self) -> int:
        """Number of the piece behind the last one wanted."""
        last = self.effect.last_byte
        if last is None:
            return self.layout.count
        return min(self.layout.count, -(-(last + 1) // self.layout.content_size))


class Transfers:
    """Performs what engines ask for in bytes, and counts the bytes (of content)."""

    def __init__(
        self,
        world: World,
        network: Network,
        scenario: Scenario,
        content: Content,
        hosts: Mapping[tuple[str, int], Host],
        origin: Link,
    ) -> None:
        self._world, self._network, self._content = world, network, content
        self._hosts, self._origin = hosts, origin
        self._latency_s = scenario.latency_s
        self._first_byte_s = 2 * scenario.latency_s + scenario.dead_time_s
        self.bytes_from: Counter[Source] = Counter()
        self.pieces_moved = 0

    def fetch(self, child: Host, effect: FetchPiece, tell: Fetched) -> PieceTransfer:
        """Get one piece from the parent that the effect names, then ``tell``."""
        transfer = PieceTransfer(child, effect, tell)
        self._world.after(self._first_byte_s, self._begin, transfer)
        return transfer

    def read_origin(self, host: Host, effect: ReadOrigin, tell: OriginSaid) -> OriginRead:
        """Read the origin as the effect says; ``tell`` hears of its head, each piece, its end."""
        size = effect.piece_size
        if isinstance(size, PieceSizePolicy):
            size = self._content.piece_size
        layout = PieceLayout(self._content.length, size)
        read = OriginRead(host, effect, layout, tell)
        self._world.after(2 * self._latency_s, self._open, read)
        return read

    def cancel(self, under_way: PieceTransfer | OriginRead) -> None:
        """Give it up; nobody is told."""
        if under_way.is_over:
            return
        under_way.is_over = True
        if isinstance(under_way, PieceTransfer) and under_way.parent is not None:
            del under_way.parent.uploads[under_way]
        if under_way.flow is not None:
            self.bytes_from[under_way.source] += self._network.cancel(under_way.flow)

    def cut_off(self, parent: Host) -> None:
        """All uploads of a host break, as its connections do when it dies."""
        for transfer in list(parent.uploads):
            self.cancel(transfer)
            self._fail(transfer, FetchFailure.SHORT, "the connection broke")

    # --- pieces ---

    def _begin(self, transfer: PieceTransfer) -> None:
        if transfer.is_over:
            return
        offer = transfer.effect.offer
        parent = self._hosts.get((offer.host, offer.port))
        if parent is None or not parent.is_up:
            transfer.is_over = True
            self._fail(transfer, FetchFailure.UNREACHABLE, "connection refused")
        elif offer.piece not in parent.serves:
            transfer.is_over = True
            self._fail(transfer, FetchFailure.NOT_FOUND, "404")
        else:
            transfer.parent = parent
            parent.uploads[transfer] = None
            size = self._content.sizes[offer.piece] + WRAP_BYTES
            transfer.flow = self._network.start(
                parent.up, transfer.child.down, size, self._arrived, transfer
            )

    def _arrived(self, transfer: PieceTransfer) -> None:
        parent, effect = transfer.parent, transfer.effect
        assert parent is not None
        transfer.is_over = True
        transfer.flow = None
        del parent.uploads[transfer]
        piece = effect.offer.piece
        size = self._content.sizes[piece]
        self.bytes_from[transfer.source] += size
        self.pieces_moved += 1
        corrupt = parent.disk[piece]
        transfer.child.disk[piece] = corrupt
        digest = self._content.digest(piece, effect.offer.digest, corrupt=corrupt)
        transfer.tell(PieceFetched(effect.fetch, size, digest))

    def _fail(self, transfer: PieceTransfer, failure: FetchFailure, reason: str) -> None:
        event = PieceFailed(transfer.effect.fetch, failure, reason)
        self._world.after(self._latency_s, transfer.tell, event)

    # --- the origin ---

    def _open(self, read: OriginRead) -> None:
        if read.is_over:
            return
        effect = read.effect
        validator = self._content.validator
        if effect.validator not in ("", validator):
            read.is_over = True
            read.tell(OriginFailed(effect.fetch, OriginFailure.CHANGED, "another ETag", 412))
            return
        layout = read.layout
        read.tell(OriginOpened(effect.fetch, layout.length, layout.piece_size, True, validator))
        self._read_on(read)

    def _read_on(self, read: OriginRead) -> None:
        size = read.layout.size(read.next)
        read.flow = self._network.start(self._origin, read.host.down, size, self._stored, read)

    def _stored(self, read: OriginRead) -> None:
        effect, piece = read.effect, read.next
        size = read.layout.size(piece)
        self.bytes_from[Source.ORIGIN] += size
        read.host.disk[piece] = False
        read.next = PieceIndex(piece + 1)
        read.flow = None
        ends = read.next >= read.end
        read.is_over = ends
        read.tell(OriginPieceStored(effect.fetch, piece, size, self._content.sha256(piece)))
        if ends:
            whole = effect.first_byte == 0 and read.next >= read.layout.count
            digest = self._content.md5 if whole and effect.wants_md5 else ""
            read.tell(OriginEnded(effect.fetch, read.layout.length, digest))
        elif not read.is_over:
            self._read_on(read)
