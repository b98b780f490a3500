"""What the REST API needs of the supernode that it belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from ...engine.ids import NO_PEER, cdn_peer_id, is_cdn
from ...engine.peer_records import NO_RECORD, RecordId
from ...engine.records import dataclass
from .replies import RestError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...engine.ids import PeerId, TaskId
    from ...engine.messages import Command, Reply, Request
    from ...engine.peer_records import PeerRecord, PeerRecords
    from ...engine.views import TaskView

Ask: TypeAlias = "Callable[[Request | Command], Awaitable[Reply]]"


@dataclass(frozen=True, slots=True)
class Node:
    """One supernode as its REST API sees it.

    ``ask`` puts a question to its engine, ``view`` looks at one task.  ``itself`` is its own
    record, under which it offers its own copies; ``ip`` is the address in their cid.
    """

    ask: Ask
    view: Callable[[TaskId], TaskView | None]
    records: PeerRecords
    itself: PeerRecord
    ip: str

    def task(self, task: TaskId) -> TaskView:
        """Return a task; ``RestError`` 404 if it is not in memory."""
        found = self.view(task)
        if found is None:
            raise RestError(404, f"task {task[:80]} is not in memory: register it first")
        return found

    def record(self, name: str) -> PeerRecord:
        """Return a record; ``RestError`` 404 if there is none of that name."""
        found = self.records.get(RecordId(name))
        if found is None:
            raise RestError(404, f"peer {name[:80]} is not registered here")
        return found

    def record_of(self, task: TaskId, peer: PeerId) -> RecordId:
        """Return the name of the record behind a parent, empty if it is gone."""
        return self.itself.id if is_cdn(peer) else self.records.owner(task, peer)

    def parent(self, task: TaskId, name: str) -> PeerId:
        """Return the parent behind the name of a record, empty if it has nothing of this task."""
        if name == NO_RECORD:
            return NO_PEER
        if name == self.itself.id:
            return cdn_peer_id(self.ip, task)
        return self.records.download(RecordId(name), task)
