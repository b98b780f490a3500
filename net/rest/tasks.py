"""``/tasks``: what is known of a task; a download of one; the end of one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ...engine.ids import PeerId, TaskId, task_url
from ...engine.messages import (
    Code,
    DropTask,
    Refused,
    Register,
    Registered,
    ReportWhole,
)
from ...engine.redact import Redactor
from .bodies import TaskCreate, TaskUpdate, header_lines, read_body
from .replies import RestError, empty_reply, json_reply, present
from .routes import Route

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...engine.messages import Reply
    from ...engine.views import TaskView
    from ..http import HttpResponse
    from .node import Node
    from .routes import Call

_TRUE: Final = ("1", "t", "T", "TRUE", "true", "True")
_TASK_ID: Final = re.compile(r"[0-9a-f]{64}")
_STATUSES: Final[Mapping[Code, int]] = {
    Code.BAD_PARAMETER: 400,
    Code.TARGET_NOT_FOUND: 404,
    Code.TASK_CONFLICT: 409,
    Code.CDN_FAILED: 502,
    Code.URL_UNREACHABLE: 502,
    Code.NEED_AUTH: 502,
    Code.WAIT_AUTH: 503,
}
_RETRY: Final = (("Retry-After", "1"),)


class TaskCalls:
    """The calls about tasks."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.routes = (
            Route("GET", "/tasks/{id}", self._get),
            Route("DELETE", "/tasks/{id}", self._delete),
            Route("POST", "/tasks", self._create),
            Route("PUT", "/tasks/{id}", self._update),
        )

    async def _get(self, call: Call) -> HttpResponse:
        return json_reply(_shown(self._node.task(TaskId(call.names["id"]))))

    async def _delete(self, call: Call) -> HttpResponse:
        """Forget a task; one that is not known is no error, as in 1.0.6."""
        task = call.names["id"]
        if _TASK_ID.fullmatch(task):
            full = call.query.get("full", "") in _TRUE
            await self._node.ask(DropTask(TaskId(task), full))
        return empty_reply()

    async def _create(self, call: Call) -> HttpResponse:
        """Register a download of the peer that the body names."""
        asked = read_body(TaskCreate, call.request.body)
        peer = self._node.record(asked.peer_id)
        wanted = _registration(asked, peer.ip, peer.host_name, peer.port)
        if asked.task_id and asked.task_id != wanted.task:
            raise RestError(400, f"taskId {asked.task_id[:80]!r}: the id of this is {wanted.task}")
        reply = await self._node.ask(wanted)
        if not isinstance(reply, Registered):
            raise refusal(reply)
        self._node.records.own(peer.id, reply.task, wanted.peer)
        made = {
            "ID": reply.task,
            "fileLength": reply.length,
            "pieceSize": reply.piece_size,
            "cdnSource": reply.cdn_source,
        }
        return json_reply(made, 201)

    async def _update(self, call: Call) -> HttpResponse:
        """Take in that a peer has the whole task."""
        asked = read_body(TaskUpdate, call.request.body)
        task = self._node.task(TaskId(call.names["id"])).task
        record = self._node.record(asked.peer_id).id
        peer = self._node.records.download(record, task)
        if not peer:
            raise RestError(404, f"peer {record} has no download of task {task}")
        reply = await self._node.ask(ReportWhole(task, peer))
        if isinstance(reply, Refused):
            raise refusal(reply)
        return empty_reply()


def refusal(reply: Reply) -> RestError:
    """Return the error that says what the engine refused, and why."""
    assert isinstance(reply, Refused), reply
    status = _STATUSES.get(reply.code, 500)
    return RestError(status, reply.message, _RETRY if reply.code is Code.WAIT_AUTH else ())


def _registration(asked: TaskCreate, ip: str, host_name: str, port: int) -> Register:
    return Register(
        raw_url=asked.raw_url,
        task_url=asked.task_url or task_url(asked.raw_url, tuple(asked.filter)),
        peer=PeerId(asked.cid),
        ip=ip,
        host_name=host_name,
        port=port,
        path=asked.path,
        node_host=asked.supernode_ip,
        md5=asked.md5,
        identifier="" if asked.md5 else asked.identifier,
        call_system=asked.call_system,
        headers=header_lines(asked.headers),
        dfdaemon=asked.dfdaemon,
    )


def _shown(task: TaskView) -> dict[str, object]:
    """Return a task without the secrets of whoever registered it."""
    wanted, redactor = task.wanted, Redactor()
    headers: dict[str, str] = {}
    for line in wanted.headers:
        name, _, value = redactor.header_line(line).partition(":")
        headers[name.strip()] = value.strip()
    return present(
        ID=task.task,
        cdnStatus=task.status.value,
        fileLength=task.wrapped_length,
        headers=headers,
        httpFileLength=task.length,
        identifier=wanted.identifier,
        md5=wanted.md5,
        pieceSize=task.piece_size,
        pieceTotal=task.piece_total,
        rawURL=redactor.text(wanted.raw_url),
        realMd5=task.md5,
        taskURL=redactor.text(wanted.task_url),
    )
