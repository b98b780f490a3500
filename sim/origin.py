"""The origin: a server of all files behind one uplink, and what may be wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

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
    from .host import Replica
    from .links import Flow, Network
    from .scenario import Scenario
    from .ways import Ways
    from .world import World

    Tell: TypeAlias = Callable[[OriginEvent], None]

_CONNECT_TIMEOUT_S: Final = 10.0
_STALL_TIMEOUT_S: Final = 30.0
"""Those of the reader in production."""


class OriginRead:
    """One ``ReadOrigin`` under way: its pieces come one after the other.

    The first ``cached`` pieces lie on the reader's disk; ``breaks_at`` is the piece in the middle
    of which the connection will break, -1: none.
    """

    __slots__ = (
        *("breaks_at", "cached", "effect", "flow", "is_over", "layout", "next", "replica"),
        *("told_s", "tell"),
    )

    def __init__(
        self, replica: Replica, effect: ReadOrigin, layout: PieceLayout, tell: Tell, cached: int
    ) -> None:
        self.replica, self.effect, self.layout, self.tell = replica, effect, layout, tell
        self.cached = cached
        self.next = PieceIndex(effect.first_byte // layout.content_size)
        self.flow: Flow | None = None
        self.is_over = False
        self.breaks_at = -1
        self.told_s = 0.0

    @property
    def end(self) -> int:
        """Number of the piece behind the last one wanted."""
        last = self.effect.last_byte
        if last is None:
            return self.layout.count
        return min(self.layout.count, -(-(last + 1) // self.layout.content_size))


class Origin:
    """Answers reads, and counts the bytes that were read."""

    def __init__(self, world: World, network: Network, ways: Ways, scenario: Scenario) -> None:
        self._world, self._network, self._ways, self._scenario = world, network, ways, scenario
        self._link = Link(scenario.origin_rate)
        latency_s = scenario.origin_latency_s
        self._head_s = 2 * (scenario.latency_s if latency_s is None else latency_s)
        self._rng = world.rng("origin")
        self._reads: dict[OriginRead, None] = {}
        self._is_up = True
        self.bytes_read = 0

    def read(
        self, replica: Replica, effect: ReadOrigin, tell: Tell, *, cached: int = 0
    ) -> OriginRead:
        """Read as the effect says; ``tell`` hears of the head, each piece, and the end.

        The first ``cached`` pieces need not be read if the origin's content is still the same.
        """
        size, content = effect.piece_size, replica.content
        if isinstance(size, PieceSizePolicy):
            size = content.piece_size
        layout = PieceLayout(content.length, size)
        read = OriginRead(replica, effect, layout, tell, cached)
        self._reads[read] = None
        self._world.after(self._head_s, self._open, read)
        return read

    def cancel(self, read: OriginRead) -> None:
        """Give it up; nobody is told."""
        if not read.is_over:
            self._end(read)
            if read.flow is not None:
                self.bytes_read += self._network.cancel(read.flow)

    def go_down(self) -> None:
        """Break all connections and accept none."""
        self._is_up = False
        for read in [read for read in self._reads if read.flow is not None]:
            self.cancel(read)
            self._fail(read, OriginFailure.SHORT, "the connection broke")

    def come_up(self) -> None:
        """Accept connections again."""
        self._is_up = True

    def review(self) -> None:
        """Ways were cut or healed, links stopped or started: hold or move what is under way."""
        for read in self._reads:
            if read.flow is not None and self._network.review(read.flow, self._reaches(read)):
                self._watch(read)

    # --- inside ---

    def _open(self, read: OriginRead) -> None:
        if read.is_over:
            return
        effect, scenario, content = read.effect, self._scenario, read.replica.content
        room = read.replica.host.free_bytes()
        needed = content.length - sum(content.sizes[piece] for piece in read.replica.stored)
        if not self._is_up:
            self._fail(read, OriginFailure.UNREACHABLE, "connection refused")
        elif not self._reaches(read):
            self._world.after(_CONNECT_TIMEOUT_S, self._give_up, read)
        elif scenario.origin_errors and self._rng.random() < scenario.origin_errors:
            self._fail(read, OriginFailure.STATUS, "503 Service Unavailable", status=503)
        elif effect.validator not in ("", content.validator):
            self._fail(read, OriginFailure.CHANGED, "another ETag", status=412)
        elif read.next and not scenario.origin_ranges:
            self._fail(read, OriginFailure.CHANGED, "no range where one was asked for", status=200)
        elif needed > room:
            self._fail(read, OriginFailure.STORE_FULL, f"{room} bytes are free", needed=needed)
        else:
            self._begin(read)

    def _give_up(self, read: OriginRead) -> None:
        if not read.is_over:
            reason = f"no connection in {_CONNECT_TIMEOUT_S:g} s"
            self._fail(read, OriginFailure.UNREACHABLE, reason)

    def _begin(self, read: OriginRead) -> None:
        scenario, layout, fetch = self._scenario, read.layout, read.effect.fetch
        ranged, validator = scenario.origin_ranges, read.replica.content.validator
        first = max(read.cached, read.next)
        part = (read.end - first) / layout.count
        if scenario.origin_drops and self._rng.random() >= (1 - scenario.origin_drops) ** part:
            read.breaks_at = self._rng.randrange(first, read.end)
        read.tell(OriginOpened(fetch, layout.length, layout.piece_size, ranged, validator))
        while read.next < read.cached and not read.is_over:
            self._tell_of(read, read.next)
            read.next = PieceIndex(read.next + 1)
        if not read.is_over:
            self._read_on(read)

    def _read_on(self, read: OriginRead) -> None:
        size, host = read.layout.size(read.next), read.replica.host
        breaks = read.next == read.breaks_at
        come, size = (self._broke, size // 2) if breaks else (self._came, size)
        via = self._ways.from_origin(host)
        read.flow = self._network.start(self._link, host.down, size, come, read, via)
        if not host.down.rate_bytes_per_s or not self._reaches(read):
            self._watch(read)

    def _broke(self, read: OriginRead) -> None:
        self.bytes_read += read.layout.size(read.next) // 2
        read.flow = None
        self._fail(read, OriginFailure.SHORT, "the connection broke")

    def _came(self, read: OriginRead) -> None:
        piece, replica = read.next, read.replica
        size = read.layout.size(piece)
        self.bytes_read += size
        read.next, read.flow = PieceIndex(piece + 1), None
        replica.store(piece)
        read.told_s = replica.host.kept_s(self._world.now, size, self._scenario)
        if read.told_s > self._world.now:
            self._world.at(read.told_s, lambda _: self._tell_of(read, piece), None)
        else:
            self._tell_of(read, piece)
        if read.is_over:
            return
        if read.next < read.end:
            self._read_on(read)
        elif read.told_s > self._world.now:
            self._world.at(read.told_s, self._finish, read)
        else:
            self._finish(read)

    def _finish(self, read: OriginRead) -> None:
        if read.is_over:
            return
        self._end(read)
        effect, content = read.effect, read.replica.content
        whole = effect.first_byte == 0 and read.next >= read.layout.count
        digest = content.md5 if whole and effect.wants_md5 else ""
        read.tell(OriginEnded(effect.fetch, read.layout.length, digest))

    def _tell_of(self, read: OriginRead, piece: PieceIndex) -> None:
        if not read.is_over:
            size, digest = read.layout.size(piece), read.replica.content.sha256(piece)
            read.tell(OriginPieceStored(read.effect.fetch, piece, size, digest))

    def _fail(
        self,
        read: OriginRead,
        failure: OriginFailure,
        reason: str,
        *,
        status: int = 0,
        needed: int = 0,
    ) -> None:
        self._end(read)
        read.tell(OriginFailed(read.effect.fetch, failure, reason, status, needed))

    def _end(self, read: OriginRead) -> None:
        read.is_over = True
        self._reads.pop(read, None)

    def _reaches(self, read: OriginRead) -> bool:
        return self._ways.carry_data(0, read.replica.host.side)

    def _watch(self, read: OriginRead) -> None:
        assert read.flow is not None
        seen = read, read.flow, self._network.moved(read.flow)
        self._world.after(_STALL_TIMEOUT_S, self._look_again, seen)

    def _look_again(self, seen: tuple[OriginRead, Flow, float]) -> None:
        read, flow, moved = seen
        if read.flow is flow and not read.is_over and self._network.moved(flow) <= moved:
            self.cancel(read)
            self._fail(read, OriginFailure.STALLED, f"no byte for {_STALL_TIMEOUT_S:g} s")
