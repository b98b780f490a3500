"""What is counted while a supernode works; cheap to feed, read by ``exposition`` alone.

The thousands of calls a second that a busy supernode answers pay for a few additions each; the
library that writes Prometheus' format is not even imported before somebody asks for it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from dataclasses import field
from functools import partial
from time import perf_counter, time
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from ...engine.effects import DeleteCopy, ForgetTask, ReadOrigin
from ...engine.events import OriginFailed, Requested
from ...engine.messages import PullPieces, Update
from ...engine.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ...engine.effects import SupernodeEffect
    from ...engine.engine import Engine
    from ...engine.events import OriginEvent, SupernodeEvent
    from ...engine.ids import PeerId, TaskId
    from ...engine.messages import ReportMetrics

_CALL_S: Final = (0.1, 0.2, 0.4, 1.0, 3.0, 8.0, 20.0, 60.0, 120.0)
_SIZE_BYTES: Final = tuple(100.0 * 10**step for step in range(8))
_DOWNLOAD_S: Final = (10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_SCHEDULE_MS: Final = tuple(0.02 * 2**step for step in range(6))

_MAX_SERIES: Final = 2000
"""Label values come from strangers: above so many sets of them the rest counts as one."""
_OTHERS: Final = "others"
_REPORTS_KNOWN: Final = 4096

ValueT = TypeVar("ValueT")


class Histogram:
    """How many values lay up to each bound, and above the last; and the sum of all values."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Sum:
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, amount: float = 1) -> None:
        """Let it grow."""
        self.value += amount


class Series(Generic[ValueT]):
    """A sum or histogram for each set of label values."""

    def __init__(self, make: Callable[[], ValueT]) -> None:
        self._make = make
        self._found: dict[tuple[str, ...], ValueT] = {}

    def of(self, *labels: str) -> ValueT:
        """Return what counts for these label values."""
        if (found := self._found.get(labels)) is None:
            if len(self._found) >= _MAX_SERIES:
                labels = (_OTHERS,) * len(labels)
            found = self._found.setdefault(labels, self._make())
        return found

    def __iter__(self) -> Iterator[tuple[tuple[str, ...], ValueT]]:
        return iter(self._found.items())


class CallStats:
    """The calls of one path; ``name`` is the path as its route has it."""

    __slots__ = ("duration_s", "name", "request_bytes", "response_bytes", "statuses")

    def __init__(self, name: str) -> None:
        self.name = name
        self.statuses: dict[int, int] = {}
        self.duration_s = Histogram(_CALL_S)
        self.request_bytes = Histogram(_SIZE_BYTES)
        self.response_bytes = Histogram(_SIZE_BYTES)

    def observe(
        self, status: int, request_bytes: int, response_bytes: int, duration_s: float
    ) -> None:
        """Count one call that was answered."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.duration_s.observe(duration_s)
        self.request_bytes.observe(request_bytes)
        self.response_bytes.observe(response_bytes)


@dataclass(slots=True)
class Metrics:
    """All counts of one supernode, by the names that Dragonfly gives them (protocol 2.2)."""

    calls: list[CallStats] = field(default_factory=list[CallStats])
    tasks_registered: Sum = field(default_factory=Sum)
    registered: Series[Sum] = field(default_factory=partial(Series[Sum], Sum))
    failed: Series[Sum] = field(default_factory=partial(Series[Sum], Sum))
    schedule_ms: Series[Histogram] = field(
        default_factory=partial(Series[Histogram], partial(Histogram, _SCHEDULE_MS))
    )
    download_s: Series[Histogram] = field(
        default_factory=partial(Series[Histogram], partial(Histogram, _DOWNLOAD_S))
    )
    download_bytes: Series[Sum] = field(default_factory=partial(Series[Sum], Sum))
    downloads: Series[Sum] = field(default_factory=partial(Series[Sum], Sum))
    downloads_failed: Series[Sum] = field(default_factory=partial(Series[Sum], Sum))
    copies_begun: Sum = field(default_factory=Sum)
    reads: Sum = field(default_factory=Sum)
    reads_failed: Sum = field(default_factory=Sum)
    tasks_collected: Sum = field(default_factory=Sum)
    peers_collected: Sum = field(default_factory=Sum)
    copies_deleted: Sum = field(default_factory=Sum)
    copy_deleted_at: float = 0.0
    """Unix time of the last deletion, 0 for none."""
    _copies: dict[TaskId, None] = field(default_factory=dict["TaskId", None])
    _reported: OrderedDict[tuple[TaskId, PeerId], None] = field(
        default_factory=OrderedDict["tuple[TaskId, PeerId]", None]
    )

    def stats_of(self, path: str) -> CallStats:
        """Return what counts the calls of one more path."""
        found = CallStats(path)
        self.calls.append(found)
        return found

    def downloaded(self, said: ReportMetrics) -> None:
        """Count a finished download.  A dfget says so twice; the second time does not count."""
        if (known := (said.task, said.peer)) in self._reported:
            return
        self._reported[known] = None
        if len(self._reported) > _REPORTS_KNOWN:
            self._reported.popitem(last=False)
        labels = said.call_system, said.ip
        self.downloads.of(*labels).add()
        if said.success:
            self.download_s.of(*labels).observe(said.duration_s)
            self.download_bytes.of(*labels).add(max(0, said.length))
        else:
            self.downloads_failed.of(*labels, said.back_source_reason).add()
            self.failed.of(said.call_system).add()

    def performed(self, effect: SupernodeEffect) -> None:
        """Count what the engine wants done."""
        match effect:
            case ReadOrigin(task=task):
                self.reads.add()
                if task not in self._copies:
                    self._copies[task] = None
                    self.copies_begun.add()
            case ForgetTask(task):
                self._copies.pop(task, None)
                self.tasks_collected.add()
            case DeleteCopy():
                self.copies_deleted.add()
                self.copy_deleted_at = time()
            case _:
                pass

    def read_said(self, event: OriginEvent) -> None:
        """Count reads of origins that failed."""
        if isinstance(event, OriginFailed):
            self.reads_failed.add()


class ScheduleTimer:
    """The supernode's engine, with the time that it takes over each pull."""

    def __init__(
        self, engine: Engine[SupernodeEvent, SupernodeEffect], found: Series[Histogram]
    ) -> None:
        self._engine, self._found = engine, found
        self.tick, self.deadline, self.check = engine.tick, engine.deadline, engine.check

    def handle(self, event: SupernodeEvent, now: float) -> Sequence[SupernodeEffect]:
        """Let the engine handle an event."""
        if not isinstance(event, Requested) or not isinstance(event.request, PullPieces | Update):
            return self._engine.handle(event, now)
        begun = perf_counter()
        effects = self._engine.handle(event, now)
        address = event.request.peer.partition("-")[0]  # that is how a cid begins
        self._found.of(address).observe((perf_counter() - begun) * 1000)
        return effects
