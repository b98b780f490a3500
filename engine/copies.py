"""What a supernode has asked of origins and of its disk, for all tasks at once.

Methods answer through ``out``, a list of effects, and return the tasks that have moved on, whose
registrations may now be answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .cdn import CdnPhase
from .effects import CancelFetch, DeleteCopy, ExpectMany
from .events import CopyDeleted, DiskSurveyed, Freshness
from .fleet import Fleet
from .gc import DiskCollector
from .ids import FetchId

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .config import SupernodeConfig
    from .effects import SupernodeEffect
    from .events import OriginChecked, OriginEvent
    from .ids import TaskId
    from .messages import Register
    from .task import Task


class Copies:
    """The reads and checks under way, and the collection of what the disk need not keep.

    ``tasks`` are those in memory; it is the caller's and only looked at.
    """

    def __init__(self, config: SupernodeConfig, tasks: Mapping[TaskId, Task]) -> None:
        self._config, self._tasks = config, tasks
        self._reads: dict[FetchId, Task] = {}
        self._checks: dict[FetchId, Task] = {}
        self._disk = DiskCollector(config)
        self._fleet = Fleet()
        self._next_fetch = 1

    # --- origins ---

    def open(self, task: Task, now: float, out: list[SupernodeEffect]) -> None:
        """Begin or resume the read of a task."""
        fetch = self._new_fetch()
        self._reads[fetch] = task
        out.append(task.cdn.open(fetch, few_hosts=self._fleet.is_small(now)))

    def wanted_by(self, host: str, now: float, out: list[SupernodeEffect]) -> None:
        """A host asks for a task: the more hosts there are, the smaller are pieces."""
        was_small = self._fleet.is_small(now)
        self._fleet.saw(host, now)
        if was_small and not self._fleet.is_small(now):
            out += [
                ExpectMany(fetch)
                for fetch, task in self._reads.items()
                if task.cdn.phase is CdnPhase.OPENING
            ]

    def origin(self, event: OriginEvent, now: float, out: list[SupernodeEffect]) -> Sequence[Task]:
        """Take in what a read brought."""
        task = self._reads.get(event.fetch)
        if task is None:
            return ()
        task.active_at = now
        task.origin(event, now, out)
        if task.cdn.reads_as is None:
            del self._reads[event.fetch]
        if task.cdn.lacks_room and not self._disk.urge(out):
            task.made_room(False, now, out)
        _discard_useless(task, out)
        return (task,)

    def is_in_doubt(
        self, task: Task, wanted: Register, now: float, out: list[SupernodeEffect]
    ) -> bool:
        """Tell whether the origin has yet to say that its content is what this copy is.

        If it last said so long ago it is asked, with the rights of whoever wants it now.  A digest
        given with the task makes that superfluous.
        """
        if task in self._checks.values():
            return True
        if task.cdn.phase is not CdnPhase.COMPLETE or task.wanted.md5:
            return False
        if now - task.cdn.validated_at < self._config.revalidate_s:
            return False
        fetch = self._new_fetch()
        self._checks[fetch] = task
        out.append(task.cdn.recheck(fetch, wanted))
        return True

    def checked(self, event: OriginChecked, now: float) -> tuple[Task | None, bool]:
        """Take in what the origin says; return the task in question and whether it has changed."""
        task = self._checks.pop(event.fetch, None)
        is_other = event.freshness is Freshness.CHANGED
        if task is not None and not is_other:
            task.cdn.validated_at = now
        return task, is_other

    def give_up(self, task: Task, out: list[SupernodeEffect]) -> None:
        """Read and check a task no more."""
        if task.cdn.reads_as is not None:
            del self._reads[task.cdn.reads_as]
        out += task.cdn.give_up()
        for fetch, checked in list(self._checks.items()):
            if checked is task:
                del self._checks[fetch]
                out.append(CancelFetch(fetch))

    # --- the disk ---

    def disk(
        self, event: DiskSurveyed | CopyDeleted, now: float, out: list[SupernodeEffect]
    ) -> Sequence[Task]:
        """Take in a step of a collection."""
        match event:
            case DiskSurveyed():
                made_room = self._disk.surveyed(event, self._in_use(), self._needed(), now, out)
            case CopyDeleted():
                made_room = self._disk.deleted(event, now, out)
        if made_room is None:
            return ()
        waiting = self._waiting()
        for task in waiting:
            task.made_room(made_room, now, out)
            _discard_useless(task, out)
        return waiting

    def tick(self, now: float, out: list[SupernodeEffect]) -> None:
        """Look at the disk when it is time."""
        self._disk.tick(now, out)

    def deadline(self) -> float:
        """Return when ``tick`` has something to do."""
        return self._disk.deadline()

    def check(self) -> None:
        """Assert what holds between the fields."""
        self._disk.check()
        for task in (*self._reads.values(), *self._checks.values()):
            assert self._tasks.get(task.id) is task
        assert len(set(self._checks.values())) == len(self._checks)
        for task in self._tasks.values():
            fetch = task.cdn.reads_as
            assert fetch is None or self._reads[fetch] is task

    def _new_fetch(self) -> FetchId:
        fetch = FetchId(self._next_fetch)
        self._next_fetch += 1
        return fetch

    def _waiting(self) -> list[Task]:
        return [task for task in self._tasks.values() if task.cdn.lacks_room]

    def _needed(self) -> int:
        needs = [task.cdn.needed_bytes for task in self._waiting()]
        return sum(needs) if all(needs) else 0

    def _in_use(self) -> dict[TaskId, None]:
        alive = [task for task in self._tasks.values() if task.cdn.phase is not CdnPhase.FAILED]
        return {task.id: None for task in alive}


def _discard_useless(task: Task, out: list[SupernodeEffect]) -> None:
    if task.cdn.is_useless:
        out.append(DeleteCopy(task.id))
