"""The supernode: registers peers, keeps one swarm per task, and answers when there is something
to say.

A pull that finds nothing to do is *held*: its exchange stays open until the scheduler has work
for that peer, or until just before the peer would give up.  A registration is held until the
origin has said how long the file is.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple, assert_never

from .cdn import CdnPhase
from .effects import Answer, ForgetTask
from .events import (
    Dropped,
    OriginEnded,
    OriginFailed,
    OriginFailure,
    OriginOpened,
    OriginPieceStored,
    PieceHashed,
    Requested,
)
from .ids import ExchangeId, FetchId, PeerId, TaskId, task_id
from .messages import (
    Acknowledged,
    Code,
    LeaveTask,
    PullPieces,
    PullStatus,
    Refused,
    Register,
    ReportMetrics,
    ReportPiece,
    ReportPieceError,
    TaskCompleted,
)
from .task import Task

if TYPE_CHECKING:
    from random import Random

    from .config import SupernodeConfig
    from .effects import SupernodeEffect
    from .events import OriginEvent, SupernodeEvent
    from .messages import Reply

_SWEEP_S: Final = 1.0
_TRANSIENT_FAIL_S: Final = 10.0
"""How long a failure that may pass keeps the origin from being asked again."""


class _Hold(NamedTuple):
    due: float
    exchange: ExchangeId
    task: TaskId
    peer: PeerId


class SupernodeEngine:
    """One supernode; see ``engine.Engine`` for the contract.

    Events are ``SupernodeEvent``, effects ``SupernodeEffect``.  ``rng`` breaks ties.
    """

    def __init__(self, config: SupernodeConfig, rng: Random) -> None:
        self._config, self._rng = config, rng
        self._now = -inf
        self._tasks: dict[TaskId, Task] = {}
        self._reads: dict[FetchId, Task] = {}
        self._joining: dict[ExchangeId, tuple[Task, Register]] = {}
        self._pulls: deque[_Hold] = deque()
        self._joins: deque[_Hold] = deque()
        self._next_sweep = inf
        self._next_fetch = 1

    @property
    def tasks(self) -> tuple[TaskId, ...]:
        """The tasks in memory."""
        return tuple(self._tasks)

    @property
    def peers(self) -> int:
        """How many peers are registered, counted once in each task."""
        return sum(len(task.swarm.by_peer) for task in self._tasks.values())

    def handle(self, event: SupernodeEvent, now: float) -> list[SupernodeEffect]:
        """Take in one event."""
        self._now = now = max(self._now, now)
        out: list[SupernodeEffect] = []
        match event:
            case Requested(exchange, request):
                match request:
                    case PullPieces():
                        self._pull(exchange, request, out)
                    case ReportPiece():
                        self._report(exchange, request, out)
                    case Register():
                        self._register(exchange, request, out)
                    case ReportPieceError():
                        self._report_error(request, out)
                        out.append(Answer(exchange, Acknowledged()))
                    case LeaveTask():
                        self._leave(request, out)
                        out.append(Answer(exchange, Acknowledged(Code.LEAVE_OK)))
                    case ReportMetrics():
                        out.append(Answer(exchange, Acknowledged()))
                    case _:
                        assert_never(request)
            case OriginOpened() | OriginPieceStored() | OriginEnded() | OriginFailed():
                self._origin(event, out)
            case PieceHashed(task, piece, md5):
                if (known := self._tasks.get(task)) is not None:
                    known.hashed(piece, md5, out)
            case Dropped(exchange):
                self._dropped(exchange, out)
            case _:
                assert_never(event)
        out += self.tick(now)
        return out

    def tick(self, now: float) -> list[SupernodeEffect]:
        """Answer holds that are due, resume origin reads, sweep away the silent and the idle."""
        self._now = now = max(self._now, now)
        out: list[SupernodeEffect] = []
        while self._pulls and self._pulls[0].due <= now:
            self._release_pull(self._pulls.popleft(), out)
        while self._joins and self._joins[0].due <= now:
            exchange = self._joins.popleft().exchange
            if self._joining.pop(exchange, None) is not None:
                waiting = Refused(Code.WAIT_AUTH, "the origin has not answered yet, ask again")
                out.append(Answer(exchange, waiting))
        if self._next_sweep <= now:
            self._sweep(out)
        return out

    def deadline(self) -> float:
        """Return when the next hold, retry or sweep is due."""
        due = self._next_sweep
        if self._pulls:
            due = min(due, self._pulls[0].due)
        if self._joins:
            due = min(due, self._joins[0].due)
        return due

    def check(self) -> None:
        """Recount every task; assert that whatever is held will be answered."""
        held = {hold.exchange for hold in self._pulls}
        for name, task in self._tasks.items():
            task.check()
            assert task.id == name
            fetch = task.cdn.reads_as
            assert fetch is None or self._reads[fetch] is task
            for member in task.swarm.by_peer.values():
                assert member.exchange is None or member.exchange in held
        assert {hold.exchange for hold in self._joins} >= set(self._joining)
        assert bool(self._tasks) == (self._next_sweep < inf)
        assert all(self._tasks.get(task.id) is task for task in self._reads.values())

    # --- registration ---

    def _register(self, exchange: ExchangeId, wanted: Register, out: list[SupernodeEffect]) -> None:
        name = task_id(wanted.task_url, md5=wanted.md5, identifier=wanted.identifier)
        task = self._tasks.get(name)
        if task is not None and task.failed_at is not None and self._may_ask_again(task):
            self._forget(task, out)
            task = None
        if task is None:
            task = Task(name, wanted, self._config, self._rng)
            self._tasks[name] = task
            self._open(task, out)
            self._next_sweep = min(self._next_sweep, self._now + _SWEEP_S)
        task.active_at = self._now
        if _is_other_content(task.wanted, wanted):
            refusal = Refused(Code.TASK_CONFLICT, f"task {name} stands for another url or digest")
            out.append(Answer(exchange, refusal))
        elif task.failed_at is not None:
            out.append(Answer(exchange, _cannot_join(task, wanted)))
        elif task.is_open:
            out.append(Answer(exchange, task.join(wanted, self._now, out)))
        else:
            self._joining[exchange] = task, wanted
            due = self._now + self._config.register_hold_s
            self._joins.append(_Hold(due, exchange, name, wanted.peer))

    def _answer_joins(self, task: Task, out: list[SupernodeEffect]) -> None:
        if not task.is_open and task.failed_at is None:
            return
        for exchange, (asked, wanted) in list(self._joining.items()):
            if asked is task:
                del self._joining[exchange]
                failed = task.failed_at is not None
                reply = _cannot_join(task, wanted) if failed else task.join(wanted, self._now, out)
                out.append(Answer(exchange, reply))

    def _may_ask_again(self, task: Task) -> bool:
        assert task.failed_at is not None
        assert task.cdn.failure is not None
        lasting = task.cdn.failure.failure is OriginFailure.STATUS
        pause = self._config.fail_access_s if lasting else _TRANSIENT_FAIL_S
        return self._now - task.failed_at >= min(pause, self._config.fail_access_s)

    # --- members ---

    def _pull(self, exchange: ExchangeId, asked: PullPieces, out: list[SupernodeEffect]) -> None:
        task = self._tasks.get(asked.task)
        member = task.swarm.by_peer.get(asked.peer) if task is not None else None
        if task is None or member is None:
            unknown = f"peer {asked.peer} is not registered for task {asked.task}"
            out.append(Answer(exchange, Refused(Code.TARGET_NOT_FOUND, unknown)))
            return
        task.active_at = self._now
        if asked.status is PullStatus.FINISHED:
            layout = task.cdn.layout
            length = layout.wrapped_length if layout is not None else 0
            out.append(Answer(exchange, TaskCompleted(task.cdn.md5, length)))
            return
        if task.failed_at is not None and not task.swarm.is_complete(member):
            out.append(Answer(exchange, task.failure_answer()))
            return
        task.pull(exchange, asked, member, self._now, out)
        if member.exchange == exchange:
            due = self._now + self._config.hold_s
            self._pulls.append(_Hold(due, exchange, task.id, member.peer))

    def _report(self, exchange: ExchangeId, said: ReportPiece, out: list[SupernodeEffect]) -> None:
        task = self._tasks.get(said.task)
        member = task.swarm.by_peer.get(said.peer) if task is not None else None
        if task is None or member is None:
            unknown = f"peer {said.peer} is not registered for task {said.task}"
            out.append(Answer(exchange, Refused(Code.TARGET_NOT_FOUND, unknown)))
            return
        task.active_at = self._now
        refusal = task.report(said, member, self._now, out)
        out.append(Answer(exchange, refusal or Acknowledged(Code.REPORT_OK)))

    def _report_error(self, said: ReportPieceError, out: list[SupernodeEffect]) -> None:
        if (task := self._tasks.get(said.task)) is None:
            return
        member, parent = task.swarm.by_peer.get(said.peer), task.swarm.by_peer.get(said.parent)
        if member is not None and parent is not None and member is not parent:
            task.accuse(member, parent, said.piece, out)

    def _leave(self, said: LeaveTask, out: list[SupernodeEffect]) -> None:
        task = self._tasks.get(said.task)
        if task is not None and (member := task.swarm.by_peer.get(said.peer)) is not None:
            task.leave(member, out)

    def _release_pull(self, hold: _Hold, out: list[SupernodeEffect]) -> None:
        task = self._tasks.get(hold.task)
        member = task.swarm.by_peer.get(hold.peer) if task is not None else None
        if task is not None and member is not None and member.exchange == hold.exchange:
            task.release(member, self._now, out)

    def _dropped(self, exchange: ExchangeId, out: list[SupernodeEffect]) -> None:
        if self._joining.pop(exchange, None) is not None:
            return
        for hold in self._pulls:
            if hold.exchange == exchange and (task := self._tasks.get(hold.task)) is not None:
                member = task.swarm.by_peer.get(hold.peer)
                if member is not None and member.exchange == exchange:
                    task.lost(member, out)
                return

    # --- origin reads and the end of tasks ---

    def _open(self, task: Task, out: list[SupernodeEffect]) -> None:
        fetch = FetchId(self._next_fetch)
        self._next_fetch += 1
        self._reads[fetch] = task
        out.append(task.cdn.open(fetch))

    def _origin(self, event: OriginEvent, out: list[SupernodeEffect]) -> None:
        task = self._reads.get(event.fetch)
        if task is None:
            return
        task.active_at = self._now
        task.origin(event, self._now, out)
        if task.cdn.reads_as is None:
            del self._reads[event.fetch]
        if task.cdn.retry_at is not None:
            self._next_sweep = min(self._next_sweep, task.cdn.retry_at)
        self._answer_joins(task, out)

    def _sweep(self, out: list[SupernodeEffect]) -> None:
        self._next_sweep = inf
        for task in list(self._tasks.values()):
            if task.cdn.retry_at is not None and task.cdn.retry_at <= self._now:
                self._open(task, out)
            task.sweep(self._now, out)
            idle_s = self._now - task.active_at
            if idle_s >= self._config.task_expire_s and task.cdn.phase in _AT_REST:
                self._forget(task, out)
            elif task.cdn.retry_at is not None:
                self._next_sweep = min(self._next_sweep, task.cdn.retry_at)
        if self._tasks:
            self._next_sweep = min(self._next_sweep, self._now + _SWEEP_S)

    def _forget(self, task: Task, out: list[SupernodeEffect]) -> None:
        out += task.cdn.give_up()
        del self._tasks[task.id]
        out.append(ForgetTask(task.id))
        if not self._tasks:
            self._next_sweep = inf


_AT_REST: Final = (CdnPhase.COMPLETE, CdnPhase.FAILED)


def _is_other_content(known: Register, wanted: Register) -> bool:
    return (known.task_url, known.md5, known.identifier if not known.md5 else "") != (
        wanted.task_url,
        wanted.md5,
        wanted.identifier if not wanted.md5 else "",
    )


def _cannot_join(task: Task, wanted: Register) -> Reply:
    failure = task.cdn.failure
    assert failure is not None
    needs_auth = wanted.dfdaemon and failure.status in (401, 407)
    code = Code.NEED_AUTH if needs_auth else Code.URL_UNREACHABLE
    return Refused(code, failure.reason)
