"""How a registration stands to the task of its id: the same content, and is its failure final."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .events import OriginFailure
from .messages import Code, Refused

if TYPE_CHECKING:
    from .events import OriginFailed
    from .messages import Register, Reply
    from .task import Task

_DENIED: Final = (401, 403, 407)
_TRANSIENT_FAIL_S: Final = 10.0
"""How long a failure that may pass keeps the origin from being asked again."""
_OTHERWISE_S: Final = 1.0
"""The same if the next registration shows another right to read, or other trust."""


def is_other_content(known: Register, wanted: Register) -> bool:
    """Tell whether two registrations of one task id are not for the same content."""
    return (known.task_url, known.md5, known.identifier if not known.md5 else "") != (
        wanted.task_url,
        wanted.md5,
        wanted.identifier if not wanted.md5 else "",
    )


def conflict(task: Task) -> Refused:
    """Return what whoever wants other content under this id is told."""
    text = f"task {task.id} stands for another url or digest"
    return Refused(Code.TASK_CONFLICT, text)


def may_ask_again(task: Task, wanted: Register, now: float, fail_access_s: float) -> bool:
    """Tell whether a task has failed, and its origin may be asked again for this registration."""
    if task.failed_at is None:
        return False
    failure = task.cdn.failure
    assert failure is not None
    pause_s = fail_access_s if failure.failure is OriginFailure.STATUS else _TRANSIENT_FAIL_S
    if _asks_otherwise(task, failure, wanted):
        pause_s = _OTHERWISE_S
    return now - task.failed_at >= min(pause_s, fail_access_s)


def cannot_join(task: Task, wanted: Register) -> Reply:
    """Return what is told of a task whose copy has failed."""
    failure = task.cdn.failure
    assert failure is not None
    if wanted.dfdaemon and failure.status in (401, 407):
        return Refused(Code.NEED_AUTH, failure.reason)
    # Another supernode may have room; with an origin that fails none is better off.
    code = Code.SYSTEM_ERROR if failure.failure.is_ours else Code.URL_UNREACHABLE
    return Refused(code, failure.reason)


def _asks_otherwise(task: Task, failure: OriginFailed, wanted: Register) -> bool:
    """Tell whether what failed may work in the way of another registration."""
    known = task.wanted
    if failure.failure is OriginFailure.STATUS and failure.status not in _DENIED:
        return False
    return (known.raw_url, known.headers, known.insecure, known.root_cas) != (
        wanted.raw_url,
        wanted.headers,
        wanted.insecure,
        wanted.root_cas,
    )
