"""The supernode: registers peers, keeps one swarm per task, and answers when there is something
to say.

A pull that finds nothing to do is *held*: its exchange stays open until the scheduler has work
for that peer, or until just before the peer would give up.  A registration is held until the
origin has said how long the file is.
"""

from __future__ import annotations

from collections import OrderedDict
from math import inf
from typing import TYPE_CHECKING, Final, assert_never

from msgspec import Struct

from .cdn import CdnPhase
from .copies import Copies
from .effects import Answer, DeleteCopy, ForgetTask
from .events import (
    CopyDeleted,
    CopyHashed,
    DiskSurveyed,
    Dropped,
    OriginChecked,
    OriginEnded,
    OriginFailed,
    OriginOpened,
    OriginPieceStored,
    PieceHashed,
    PieceVerified,
    Requested,
)
from .ids import ExchangeId, TaskId, is_cdn
from .joining import Joining, Joinings
from .messages import (
    Acknowledged,
    Code,
    DropTask,
    LeaveTask,
    PullPieces,
    PullStatus,
    Refused,
    Register,
    ReportMetrics,
    ReportPiece,
    ReportPieceError,
    ReportWhole,
    SettlePiece,
    Update,
    WarmTask,
)
from .standing import cannot_join, conflict, is_other_content, may_ask_again
from .task import Task
from .views import census_of, in_flight_in, view_of

if TYPE_CHECKING:
    from random import Random

    from .config import SupernodeConfig
    from .effects import SupernodeEffect
    from .events import SupernodeEvent
    from .members import Member
    from .messages import Command, Reply, Request
    from .views import Census, InFlight, TaskView

_SWEEP_S: Final = 1.0


class _Hold(Struct, frozen=True):
    due: float
    task: Task
    member: Member


class SupernodeEngine:
    """One supernode; see ``engine.Engine`` for the contract.

    Events are ``SupernodeEvent``, effects ``SupernodeEffect``.  ``rng`` breaks ties.
    """

    def __init__(self, config: SupernodeConfig, rng: Random) -> None:
        self._config, self._rng = config, rng
        self._now = -inf
        self._tasks: dict[TaskId, Task] = {}
        self._copies = Copies(config, self._tasks)
        self._joinings = Joinings()
        self._warmings = Joinings()
        self._pulls: OrderedDict[ExchangeId, _Hold] = OrderedDict()
        self._next_sweep = inf
        self._gc_at = -inf
        self._has_begun = False
        self._due = self._others_due = inf
        self.copies_failed = 0

    @property
    def tasks(self) -> tuple[TaskId, ...]:
        """The tasks in memory."""
        return tuple(self._tasks)

    @property
    def peers(self) -> int:
        """How many peers are registered, counted once in each task."""
        return sum(len(task.swarm.by_peer) for task in self._tasks.values())

    def view(self, task: TaskId) -> TaskView | None:
        """Return what there is to see of a task in memory."""
        found = self._tasks.get(task)
        return view_of(found) if found is not None else None

    def census(self) -> Census:
        """Count tasks and downloads by state."""
        return census_of(self._tasks.values())

    def in_flight(self) -> list[InFlight]:
        """List what peers are taken to be fetching."""
        return in_flight_in(self._tasks.values())

    def handle(self, event: SupernodeEvent, now: float) -> list[SupernodeEffect]:
        """Take in one event."""
        if now < self._now:
            now = self._now
        self._now = now
        out: list[SupernodeEffect] = []
        is_talk = False
        match event:
            case Requested():
                is_talk = self._requested(event.exchange, event.request, out)
            case OriginOpened() | OriginPieceStored() | OriginEnded() | OriginFailed():
                for moved in self._copies.origin(event, now, out):
                    self._moved(moved, out)
            case PieceHashed(task, piece, md5):
                if (known := self._tasks.get(task)) is not None:
                    known.hashed(piece, md5, now, out)
            case CopyHashed(task, md5):
                if (known := self._tasks.get(task)) is not None:
                    known.hashed_whole(md5, now, out)
            case PieceVerified():
                self._verified(event, out)
            case OriginChecked():
                self._checked(event, out)
            case DiskSurveyed() | CopyDeleted():
                for moved in self._copies.disk(event, now, out):
                    self._moved(moved, out)
            case Dropped(exchange):
                self._dropped(exchange, out)
            case _:
                assert_never(event)
        self._settle_holds(out, is_talk=is_talk)
        if self._due <= now or not self._has_begun:
            out += self.tick(now)
        return out

    def _requested(
        self, exchange: ExchangeId, request: Request | Command, out: list[SupernodeEffect]
    ) -> bool:
        """Take in a question; tell whether it is talk within a swarm, as most of them are."""
        match request:
            case ReportPiece():
                self._report(exchange, request, out)
                return True
            case PullPieces():
                self._pull(exchange, request, out)
                return True
            case Update():
                self._update(exchange, request, out)
                return True
            case Register():
                self._register(exchange, request, out)
            case ReportPieceError():
                self._report_error(request, out)
                out.append(Answer(exchange, Acknowledged()))
            case LeaveTask():
                self._leave(request, out)
                out.append(Answer(exchange, Acknowledged(Code.LEAVE_OK)))
            case ReportMetrics():
                self._over(request, out)
                out.append(Answer(exchange, Acknowledged()))
            case WarmTask(wanted):
                self._warm(exchange, wanted, out)
            case DropTask():
                self._drop_at_will(request, out)
                out.append(Answer(exchange, Acknowledged()))
            case SettlePiece() | ReportWhole():
                self._settle(exchange, request, out)
            case _:
                assert_never(request)
        return False

    def tick(self, now: float) -> list[SupernodeEffect]:
        """Answer holds that are due, resume origin reads, sweep away the silent and the idle."""
        self._now = now = max(self._now, now)
        self._has_begun = True
        out: list[SupernodeEffect] = []
        while self._pulls and next(iter(self._pulls.values())).due <= now:
            _, hold = self._pulls.popitem(last=False)
            hold.task.release(hold.member, now, out)
        for exchange, task, wanted in self._joinings.pop_due(now):
            reply: Reply = Refused(Code.WAIT_AUTH, "the origin has not answered yet, ask again")
            if task.is_open:  # only not sure whether the origin still has this content
                reply = task.join(wanted, now, out)
            out.append(Answer(exchange, reply))
        if self._next_sweep <= now:
            self._sweep(out)
        self._copies.tick(now, out)
        self._settle_holds(out)
        return out

    def deadline(self) -> float:
        """Return when the next hold, retry or sweep is due."""
        return self._due

    def check(self) -> None:
        """Recount every task; assert that whatever is held will be answered."""
        held: set[ExchangeId] = set()
        for name, task in self._tasks.items():
            task.check()
            assert task.id == name
            for member in task.swarm.by_peer.values():
                if member.exchange is not None:
                    held.add(member.exchange)
                    assert self._pulls[member.exchange].member is member
        assert held == self._pulls.keys()
        assert self._others_due == self._next_but_pulls()
        assert self._due == self._next_due()
        assert bool(self._tasks) == (self._next_sweep < inf)
        self._joinings.check()
        self._warmings.check()
        self._copies.check()

    # --- registration ---

    def _register(self, exchange: ExchangeId, wanted: Register, out: list[SupernodeEffect]) -> None:
        self._copies.wanted_by(wanted.ip, self._now, out)
        task = self._task_for(wanted, out)
        if is_other_content(task.wanted, wanted):
            out.append(Answer(exchange, conflict(task)))
        elif task.failed_at is not None:
            out.append(Answer(exchange, cannot_join(task, wanted)))
        elif task.is_open and not self._copies.is_in_doubt(task, wanted, self._now, out):
            out.append(Answer(exchange, task.join(wanted, self._now, out)))
        else:
            is_known = task.is_open
            hold_s = self._config.revalidate_wait_s if is_known else self._config.register_hold_s
            self._joinings.hold(Joining(exchange, task, wanted), self._now + hold_s)

    def _warm(self, exchange: ExchangeId, wanted: Register, out: list[SupernodeEffect]) -> None:
        task = self._task_for(wanted, out)
        if is_other_content(task.wanted, wanted):
            out.append(Answer(exchange, conflict(task)))
            return
        self._warmings.hold(Joining(exchange, task, wanted), inf)
        if not task.is_complete or not self._copies.is_in_doubt(task, wanted, self._now, out):
            self._answer_warmings(task, out)

    def _task_for(self, wanted: Register, out: list[SupernodeEffect]) -> Task:
        task = self._tasks.get(wanted.task)
        pause_s = self._config.fail_access_s
        if task is not None and may_ask_again(task, wanted, self._now, pause_s):
            self._forget(task, out)
            task = None
        if task is None:
            task = self._begin(wanted, out)
        task.active_at = self._now
        return task

    def _begin(self, wanted: Register, out: list[SupernodeEffect]) -> Task:
        task = self._tasks[wanted.task] = Task(wanted.task, wanted, self._config, self._rng)
        self._copies.open(task, self._now, out)
        self._next_sweep = min(self._next_sweep, self._now + _SWEEP_S)
        if self._gc_at == -inf:
            self._gc_at = self._now + self._config.gc_initial_delay_s
        return task

    def _answer_joins(self, task: Task, out: list[SupernodeEffect]) -> None:
        if not task.is_open and task.failed_at is None:
            return
        failed = task.failed_at is not None
        for exchange, _, wanted in self._joinings.release_all(task):
            reply = cannot_join(task, wanted) if failed else task.join(wanted, self._now, out)
            out.append(Answer(exchange, reply))

    def _answer_warmings(self, task: Task, out: list[SupernodeEffect]) -> None:
        if task.failed_at is None and not task.is_complete:
            return
        for exchange, _, wanted in self._warmings.release_all(task):
            failed = task.failed_at is not None
            out.append(
                Answer(exchange, cannot_join(task, wanted) if failed else task.answers.completion())
            )

    # --- members ---

    def _pull(self, exchange: ExchangeId, asked: PullPieces, out: list[SupernodeEffect]) -> None:
        if (found := self._known(exchange, asked, out)) is None:
            return
        task, member = found
        if asked.status is _FINISHED:
            out.append(Answer(exchange, task.answers.completion()))
        elif not self._has_failed(exchange, task, member, out):
            task.pull(exchange, asked, member, self._now, out)
            self._hold(exchange, task, member)

    def _update(self, exchange: ExchangeId, said: Update, out: list[SupernodeEffect]) -> None:
        if (found := self._known(exchange, said, out)) is None:
            return
        task, member = found
        if not self._has_failed(exchange, task, member, out):
            task.update(exchange, said, member, self._now, out)
            self._hold(exchange, task, member)

    def _report(self, exchange: ExchangeId, said: ReportPiece, out: list[SupernodeEffect]) -> None:
        if (found := self._known(exchange, said, out)) is None:
            return
        task, member = found
        refusal = task.report(said, member, self._now, out)
        out.append(Answer(exchange, refusal or _REPORT_OK))

    def _known(
        self,
        exchange: ExchangeId,
        said: PullPieces | Update | ReportPiece,
        out: list[SupernodeEffect],
    ) -> tuple[Task, Member] | None:
        """Find who says this, or answer that nobody knows them."""
        task = self._tasks.get(said.task)
        member = task.swarm.by_peer.get(said.peer) if task is not None else None
        if task is None or member is None:
            unknown = f"peer {said.peer} is not registered for task {said.task}"
            out.append(Answer(exchange, Refused(Code.TARGET_NOT_FOUND, unknown)))
            return None
        task.active_at = self._now
        return task, member

    def _has_failed(
        self, exchange: ExchangeId, task: Task, member: Member, out: list[SupernodeEffect]
    ) -> bool:
        if task.failed_at is None or task.swarm.is_complete(member):
            return False
        out.append(Answer(exchange, task.answers.failure()))
        return True

    def _hold(self, exchange: ExchangeId, task: Task, member: Member) -> None:
        if member.exchange == exchange:
            due = self._now + self._config.hold_s
            self._pulls[exchange] = _Hold(due, task, member)

    def _settle_holds(self, out: list[SupernodeEffect], *, is_talk: bool = False) -> None:
        """Forget what is answered, and find out when something is due.

        Talk within a swarm has no influence but on what is held.
        """
        if pulls := self._pulls:
            for effect in out:
                if isinstance(effect, Answer):
                    pulls.pop(effect.exchange, None)
        if not is_talk:
            self._others_due = self._next_but_pulls()
        self._due = self._next_due()

    def _next_due(self) -> float:
        due = self._others_due
        if self._pulls and (held := next(iter(self._pulls.values())).due) < due:
            return held
        return due

    def _next_but_pulls(self) -> float:
        return min(self._next_sweep, self._joinings.deadline(), self._copies.deadline())

    def _report_error(self, said: ReportPieceError, out: list[SupernodeEffect]) -> None:
        if (task := self._tasks.get(said.task)) is None:
            return
        member, parent = task.swarm.by_peer.get(said.peer), task.swarm.by_peer.get(said.parent)
        if member is not None and parent is not None and member is not parent:
            task.accuse(member, parent, said.piece, out)
        elif member is not None and is_cdn(said.parent):
            if said.piece is None:
                task.cdn.validated_at = -inf  # the next to register has the origin asked
            else:
                task.doubt(said.piece, self._now, out)

    def _settle(
        self, exchange: ExchangeId, said: SettlePiece | ReportWhole, out: list[SupernodeEffect]
    ) -> None:
        task = self._tasks.get(said.task)
        member = task.swarm.by_peer.get(said.peer) if task is not None else None
        if task is None or member is None:
            unknown = f"peer {said.peer} is not registered for task {said.task}"
            out.append(Answer(exchange, Refused(Code.TARGET_NOT_FOUND, unknown)))
            return
        task.active_at = self._now
        if isinstance(said, SettlePiece):
            task.settle(said, member, self._now, out)
        else:
            task.report_whole(member, self._now, out)
        out.append(Answer(exchange, Acknowledged()))

    def _over(self, said: ReportMetrics, out: list[SupernodeEffect]) -> None:
        task = self._tasks.get(said.task)
        member = task.swarm.by_peer.get(said.peer) if task is not None else None
        if task is not None and member is not None:
            task.ended(member, self._now, out)

    def _leave(self, said: LeaveTask, out: list[SupernodeEffect]) -> None:
        task = self._tasks.get(said.task)
        if task is not None and (member := task.swarm.by_peer.get(said.peer)) is not None:
            task.leave(member, self._now, out)

    def _dropped(self, exchange: ExchangeId, out: list[SupernodeEffect]) -> None:
        if self._joinings.release(exchange) or self._warmings.release(exchange):
            return
        if (hold := self._pulls.pop(exchange, None)) is not None:
            hold.task.lost(hold.member, self._now, out)

    # --- copies and the end of tasks ---

    def _moved(self, task: Task, out: list[SupernodeEffect]) -> None:
        if task.cdn.retry_at is not None:
            self._next_sweep = min(self._next_sweep, task.cdn.retry_at)
        self.copies_failed += task.failed_at is not None
        self._answer_joins(task, out)
        self._answer_warmings(task, out)

    def _checked(self, event: OriginChecked, out: list[SupernodeEffect]) -> None:
        task, has_changed = self._copies.checked(event, self._now)
        if task is not None and has_changed:
            waiting, warming = self._joinings.release_all(task), self._warmings.release_all(task)
            self._drop(task, "the content at the origin has changed", out, full=True)
            for joining in waiting:
                self._register(joining.exchange, joining.wanted, out)
            for joining in warming:
                self._warm(joining.exchange, joining.wanted, out)
        elif task is not None:
            self._answer_joins(task, out)
            self._answer_warmings(task, out)

    def _verified(self, event: PieceVerified, out: list[SupernodeEffect]) -> None:
        task = self._tasks.get(event.task)
        if task is not None and not event.intact and event.piece in task.cdn.digests:
            why = f"piece {event.piece} of the supernode's copy is damaged"
            self._drop(task, why, out, full=True)

    def _sweep(self, out: list[SupernodeEffect]) -> None:
        self._next_sweep = inf
        for task in list(self._tasks.values()):
            if task.cdn.retry_at is not None and task.cdn.retry_at <= self._now:
                self._copies.open(task, self._now, out)
            task.sweep(self._now, out)
            if task.cdn.retry_at is not None:
                self._next_sweep = min(self._next_sweep, task.cdn.retry_at)
        if self._gc_at <= self._now:
            self._collect(out)
        if self._tasks:
            self._next_sweep = min(self._next_sweep, self._now + _SWEEP_S)

    def _collect(self, out: list[SupernodeEffect]) -> None:
        """Let go of tasks that nobody asks for, and of peers that are of no use."""
        self._gc_at = self._now + self._config.gc_meta_interval_s
        for task in list(self._tasks.values()):
            idle_s = self._now - task.active_at
            if idle_s >= self._config.task_expire_s and task.cdn.phase in _AT_REST:
                self._forget(task, out)
            else:
                task.remove_silent(self._now, out)

    def _drop_at_will(self, asked: DropTask, out: list[SupernodeEffect]) -> None:
        if (task := self._tasks.get(asked.task)) is not None:
            self._drop(task, "the task was deleted", out, full=asked.full)
        elif asked.full:
            out.append(DeleteCopy(asked.task))

    def _drop(self, task: Task, why: str, out: list[SupernodeEffect], *, full: bool) -> None:
        """Forget a task whoever wants it, and with ``full`` its files; all may register again."""
        task.dismiss(why, out)
        gone = Refused(Code.TARGET_NOT_FOUND, why)
        for waiting in (self._joinings, self._warmings):
            out += [Answer(held.exchange, gone) for held in waiting.release_all(task)]
        self._forget(task, out)
        if full:
            out.append(DeleteCopy(task.id))

    def _forget(self, task: Task, out: list[SupernodeEffect]) -> None:
        self._copies.give_up(task, out)
        gone = Refused(Code.TARGET_NOT_FOUND, f"task {task.id} was given up")
        out += [Answer(held.exchange, gone) for held in self._warmings.release_all(task)]
        del self._tasks[task.id]
        out.append(ForgetTask(task.id))
        if not self._tasks:
            self._next_sweep = inf


_FINISHED: Final = PullStatus.FINISHED
_REPORT_OK: Final = Acknowledged(Code.REPORT_OK)
_AT_REST: Final = (CdnPhase.COMPLETE, CdnPhase.FAILED)
