"""Which copies on the supernode's disk have to go, and when (protocol 6.5, the intent of Java's).

The disk is measured at intervals.  Less room than one mark, and a few copies go, those unused for
longest first; less than another, and all go that nobody uses.  A write that finds the disk full
has the second happen at once.
"""

from __future__ import annotations

from enum import Enum, auto
from math import inf
from typing import TYPE_CHECKING, Final

from .effects import DeleteCopy, SurveyDisk

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from .config import SupernodeConfig
    from .effects import SupernodeEffect
    from .events import CopyDeleted, DiskSurveyed, FoundCopy
    from .ids import TaskId

_GIB: Final = 1 << 30
_STRAY_KEEP_S: Final = 3600.0
"""A copy without a log may be one that somebody is just making; one so old is not."""


class Pressure(Enum):
    """How badly room is needed."""

    NONE = auto()
    YOUNG = auto()
    FULL = auto()


def pressure(config: SupernodeConfig, free_bytes: int, total_bytes: int) -> Pressure:
    """Return what so much free space means; a disk of unknown size is left in peace."""
    young = config.young_gc_bytes or min(total_bytes // 4, 100 * _GIB)
    full = _full_mark(config, total_bytes)
    if not total_bytes or free_bytes >= max(young, full + 1):
        return Pressure.NONE
    return Pressure.FULL if free_bytes <= full else Pressure.YOUNG


def doomed(
    config: SupernodeConfig,
    under: Pressure,
    copies: Iterable[FoundCopy],
    kept: Container[TaskId],
) -> list[TaskId]:
    """Return the copies to delete, none of those ``kept`` or in use.

    Copies used regularly come after all others, the biggest first; the others by how long they
    were idle.  Without a readable log a copy is of no use to anybody, and goes once it is old.
    """
    idle = [copy for copy in copies if not copy.in_use and copy.task not in kept]
    strays = [copy.task for copy in idle if not copy.readable and copy.idle_s >= _STRAY_KEEP_S]
    rare: list[FoundCopy] = []
    regular: list[FoundCopy] = []
    for copy in idle:
        if copy.readable:
            overdue_s = copy.idle_s - copy.interval_s
            is_regular = copy.interval_s > 0 and overdue_s <= config.interval_threshold_s
            (regular if is_regular else rare).append(copy)
    rare.sort(key=lambda copy: (-copy.idle_s, copy.task))
    regular.sort(key=lambda copy: (-copy.size_bytes, copy.task))
    candidates = [copy.task for copy in (*rare, *regular)]
    match under:
        case Pressure.NONE:
            return []
        case Pressure.YOUNG:
            share = -(-len(candidates) * config.clean_ratio // 10)
            return strays + candidates[:share]
        case Pressure.FULL:
            return strays + candidates


def doomed_for(
    config: SupernodeConfig, needed_bytes: int, found: DiskSurveyed, kept: Container[TaskId]
) -> list[TaskId]:
    """Return the copies to delete for a write that needs so much room, 0: nobody knows how much.

    None if all that could go would not be enough: others may still want it.
    """
    copies = found.copies or ()
    order = doomed(config, Pressure.FULL, copies, kept)
    if not needed_bytes:
        return order
    sizes = {copy.task: copy.size_bytes for copy in copies}
    if found.free_bytes + sum([sizes[task] for task in order]) < needed_bytes:
        return []
    lacking = needed_bytes + _full_mark(config, found.total_bytes) - found.free_bytes
    count = 0
    while count < len(order) and lacking > 0:
        lacking -= sizes[order[count]]
        count += 1
    return order[:count]


def _full_mark(config: SupernodeConfig, total_bytes: int) -> int:
    return config.full_gc_bytes or min(total_bytes // 20, 5 * _GIB)


class _Step(Enum):
    RESTING = auto()
    MEASURING = auto()
    LISTING = auto()
    DELETING = auto()


class DiskCollector:
    """Measures the disk, lists the copies on it and has some deleted, one collection at a time."""

    def __init__(self, config: SupernodeConfig) -> None:
        self._config = config
        self._step = _Step.RESTING
        self._due: float | None = None
        self._under = Pressure.NONE
        self._urged = False
        self._deleting: dict[TaskId, None] = {}
        self._made_room = False

    def tick(self, now: float, out: list[SupernodeEffect]) -> None:
        """Begin a collection when it is time; the first ``now`` starts the clock."""
        if self._due is None:
            interval_s = self._config.gc_disk_interval_s
            self._due = now + self._config.gc_initial_delay_s if interval_s else inf
        if self._step is _Step.RESTING and self._due <= now:
            self._step = _Step.MEASURING
            out.append(SurveyDisk(lists_copies=False))

    def deadline(self) -> float:
        """Return when the disk is to be looked at next."""
        return inf if self._due is None or self._step is not _Step.RESTING else self._due

    def urge(self, out: list[SupernodeEffect]) -> bool:
        """Make all the room there is, since a write failed; false if that is forbidden.

        The outcome comes from ``surveyed`` or ``deleted``.
        """
        if not self._config.gc_disk_interval_s:
            return False
        self._urged = True
        if self._step in (_Step.RESTING, _Step.MEASURING):
            self._list(Pressure.FULL, out)
        return True

    def surveyed(
        self,
        event: DiskSurveyed,
        kept: Container[TaskId],
        needed_bytes: int,
        now: float,
        out: list[SupernodeEffect],
    ) -> bool | None:
        """Take in how full the disk is, or what lies there; return as ``deleted`` does.

        ``needed_bytes`` is what writes that failed need, 0 if that is not known.
        """
        match self._step, event.copies:
            case _Step.MEASURING, None:
                under = pressure(self._config, event.free_bytes, event.total_bytes)
                if under is Pressure.NONE:
                    self._rest(now)
                else:
                    self._list(under, out)
            case _Step.LISTING, tuple() as copies:
                self._step = _Step.DELETING
                self._made_room = 0 < needed_bytes <= event.free_bytes
                if self._urged and self._under is Pressure.FULL:
                    gone = doomed_for(self._config, needed_bytes, event, kept)
                else:
                    gone = doomed(self._config, self._under, copies, kept)
                self._deleting = dict.fromkeys(gone)
                out += [DeleteCopy(task) for task in self._deleting]
                return self._over(now, out)
            case _:
                pass
        return None

    def deleted(self, event: CopyDeleted, now: float, out: list[SupernodeEffect]) -> bool | None:
        """Take in what became of a copy.

        When that ends a collection that was urged, return whether there is more room now.
        """
        if event.copy_of not in self._deleting:
            return None
        del self._deleting[event.copy_of]
        self._made_room |= event.gone
        return self._over(now, out)

    def check(self) -> None:
        """Assert what holds between the fields."""
        assert bool(self._deleting) == (self._step is _Step.DELETING)
        assert not self._urged or self._step in (_Step.LISTING, _Step.DELETING)

    def _list(self, under: Pressure, out: list[SupernodeEffect]) -> None:
        self._step, self._under = _Step.LISTING, under
        out.append(SurveyDisk(lists_copies=True))

    def _over(self, now: float, out: list[SupernodeEffect]) -> bool | None:
        if self._deleting:
            return None
        if self._urged and self._under is not Pressure.FULL:
            self._list(Pressure.FULL, out)
            return None
        urged, self._urged = self._urged, False
        self._rest(now)
        return self._made_room if urged else None

    def _rest(self, now: float) -> None:
        self._step, self._due = _Step.RESTING, now + self._config.gc_disk_interval_s
