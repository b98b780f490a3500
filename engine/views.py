"""What a supernode shows of its tasks and downloads to those who only look (protocol 2.2)."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from .cdn import CdnPhase
from .events import OriginFailure
from .records import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .ids import PeerId, PieceIndex, TaskId
    from .members import Member
    from .messages import Register
    from .task import Task


class CdnStatus(Enum):
    """Where the supernode's copy of a task stands, in Dragonfly's words."""

    WAITING = "WAITING"
    """The origin has not answered."""
    RUNNING = "RUNNING"
    FAILED = "FAILED"
    SUCCESS = "SUCCESS"
    SOURCE_ERROR = "SOURCE_ERROR"
    """The origin does not have it, refuses it, or cannot be reached."""


class DownloadStatus(Enum):
    """Where a peer stands with its download, in Dragonfly's words."""

    WAITING = "WAITING"
    """It has not asked for a piece."""
    RUNNING = "RUNNING"
    FAILED = "FAILED"
    SUCCESS = "SUCCESS"


@dataclass(frozen=True, slots=True)
class TaskView:
    """One task as it stands; ``wanted`` is the registration that made it.

    ``length`` -1: unknown.  ``wrapped_length`` and ``piece_total`` are 0 until the copy is
    complete.  ``md5`` is that of the content, empty if nobody has computed it.
    """

    task: TaskId
    wanted: Register
    status: CdnStatus
    length: int
    wrapped_length: int
    piece_size: int
    piece_total: int
    md5: str


@dataclass(frozen=True, slots=True)
class Census:
    """How many tasks there are in each state, and downloads by caller label and state."""

    tasks: dict[CdnStatus, int]
    downloads: dict[tuple[str, DownloadStatus], int]


class InFlight(NamedTuple):
    """A piece that ``child`` is to get from ``parent``, which may be the supernode's own copy."""

    child: PeerId
    piece: PieceIndex
    parent: PeerId


def view_of(task: Task) -> TaskView:
    """Return what there is to see of a task."""
    copy = task.cdn
    whole = copy.layout if copy.phase is CdnPhase.COMPLETE else None
    return TaskView(
        task=task.id,
        wanted=task.wanted,
        status=_copy_status(task),
        length=copy.length,
        wrapped_length=whole.wrapped_length if whole is not None else 0,
        piece_size=copy.piece_size,
        piece_total=whole.count if whole is not None else 0,
        md5=copy.md5,
    )


def census_of(tasks: Iterable[Task]) -> Census:
    """Count all tasks and their members."""
    found = Census({}, {})
    for task in tasks:
        status = _copy_status(task)
        found.tasks[status] = found.tasks.get(status, 0) + 1
        for member in task.swarm.by_peer.values():
            key = member.call_system, _download_status(task, member)
            found.downloads[key] = found.downloads.get(key, 0) + 1
    return found


def in_flight_in(tasks: Iterable[Task]) -> list[InFlight]:
    """List every piece that is taken to be under way."""
    return [
        InFlight(member.peer, piece, flight.sender)
        for task in tasks
        for member in task.swarm.by_peer.values()
        for piece, flight in member.fetching.items()
    ]


_STATUSES: Final = {
    CdnPhase.OPENING: CdnStatus.WAITING,
    CdnPhase.READING: CdnStatus.RUNNING,
    CdnPhase.BACKING_OFF: CdnStatus.RUNNING,
    CdnPhase.COMPLETE: CdnStatus.SUCCESS,
    CdnPhase.FAILED: CdnStatus.FAILED,
}
_NO_SUCH_CONTENT: Final = (401, 404, 407)


def _copy_status(task: Task) -> CdnStatus:
    copy = task.cdn
    if copy.failure is not None and (
        copy.failure.failure is OriginFailure.UNREACHABLE or copy.failure.status in _NO_SUCH_CONTENT
    ):
        return CdnStatus.SOURCE_ERROR
    if copy.phase is CdnPhase.OPENING and copy.piece_size:
        return CdnStatus.RUNNING
    return _STATUSES[copy.phase]


def _download_status(task: Task, member: Member) -> DownloadStatus:
    if task.swarm.is_complete(member):
        return DownloadStatus.SUCCESS
    if task.failed_at is not None:
        return DownloadStatus.FAILED
    if member.has or member.in_flight or member.exchange is not None:
        return DownloadStatus.RUNNING
    return DownloadStatus.WAITING
