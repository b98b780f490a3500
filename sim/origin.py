"""The origin: a server of one file behind one uplink."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from ..engine.events import (
    OriginEnded,
    OriginFailed,
    OriginFailure,
    OriginOpened,
    OriginPieceStored,
)
from ..engine.ids import PieceIndex
from ..engine.piece import PieceLayout, PieceSizePolicy
from .links import Link

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.effects import ReadOrigin
    from ..engine.events import OriginEvent
    from .host import Content, Host
    from .links import Flow, Network
    from .scenario import Scenario
    from .world import World

    Tell: TypeAlias = Callable[[OriginEvent], None]


class OriginRead:
    """One ``ReadOrigin`` under way: its pieces come one after the other."""

    __slots__ = ("effect", "flow", "host", "is_over", "layout", "next", "tell")

    def __init__(self, host: Host, effect: ReadOrigin, layout: PieceLayout, tell: Tell) -> None:
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


class Origin:
    """Answers reads, and counts the bytes that were read."""

    def __init__(
        self, world: World, network: Network, scenario: Scenario, content: Content
    ) -> None:
        self._world, self._network, self._content = world, network, content
        self._link = Link(scenario.origin_bytes_per_s or scenario.supernode_bytes_per_s)
        self._head_s = 2 * scenario.latency_s
        self.bytes_read = 0

    def read(self, host: Host, effect: ReadOrigin, tell: Tell) -> OriginRead:
        """Read as the effect says; ``tell`` hears of the head, each piece, and the end."""
        size = effect.piece_size
        if isinstance(size, PieceSizePolicy):
            size = self._content.piece_size
        read = OriginRead(host, effect, PieceLayout(self._content.length, size), tell)
        self._world.after(self._head_s, self._open, read)
        return read

    def cancel(self, read: OriginRead) -> None:
        """Give it up; nobody is told."""
        if not read.is_over:
            read.is_over = True
            if read.flow is not None:
                self.bytes_read += self._network.cancel(read.flow)

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
        if not read.is_over:
            self._read_on(read)

    def _read_on(self, read: OriginRead) -> None:
        size = read.layout.size(read.next)
        read.flow = self._network.start(self._link, read.host.down, size, self._stored, read)

    def _stored(self, read: OriginRead) -> None:
        effect, piece = read.effect, read.next
        size = read.layout.size(piece)
        self.bytes_read += size
        read.host.disk[piece] = False
        read.next = PieceIndex(piece + 1)
        read.flow = None
        ends = read.next >= read.end
        read.tell(OriginPieceStored(effect.fetch, piece, size, self._content.sha256(piece)))
        if read.is_over:
            return
        if ends:
            read.is_over = True
            whole = effect.first_byte == 0 and read.next >= read.layout.count
            digest = self._content.md5 if whole and effect.wants_md5 else ""
            read.tell(OriginEnded(effect.fetch, read.layout.length, digest))
        else:
            self._read_on(read)
