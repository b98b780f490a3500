"""``/peers``: who is registered, by hand or by a download."""

from __future__ import annotations

from time import time_ns
from typing import TYPE_CHECKING, Final

from ...engine.messages import LeaveTask
from ...engine.peer_records import TableFull
from ...engine.wire.frame import decimal
from .bodies import PeerCreate, read_body
from .replies import RestError, empty_reply, json_reply, list_reply, present, rfc3339_ms
from .routes import Route

if TYPE_CHECKING:
    from ...engine.peer_records import PeerRecord
    from ..http import HttpResponse
    from .node import Node
    from .routes import Call

_DIRECTIONS: Final = ("ASC", "DESC")
_MAX_PAGE: Final = 1 << 31


class PeerCalls:
    """The calls about peers."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.routes = (
            Route("POST", "/peers", self._create),
            Route("DELETE", "/peers/{id}", self._delete),
            Route("GET", "/peers/{id}", self._get),
            Route("GET", "/peers", self._list),
        )

    async def _create(self, call: Call) -> HttpResponse:
        asked = read_body(PeerCreate, call.request.body)
        try:
            made = self._node.records.add(
                asked.ip, asked.host_name, asked.port, asked.version, time_ns()
            )
        except TableFull as error:
            raise RestError(503, str(error)) from None
        return json_reply({"ID": made.id}, 201)

    async def _get(self, call: Call) -> HttpResponse:
        return json_reply(_shown(self._node.record(call.names["id"])))

    async def _list(self, call: Call) -> HttpResponse:
        query = call.query
        number, size = (_natural(query, name) for name in ("pageNum", "pageSize"))
        direction = query.get("sortDirect") or "ASC"
        if direction.upper() not in _DIRECTIONS:
            raise RestError(400, f"sortDirect {direction[:40]!r}: expected ASC or DESC")
        newest_first = direction.upper() == "DESC"
        found = self._node.records.page(number, size, newest_first=newest_first)
        return list_reply(map(_shown, found))

    async def _delete(self, call: Call) -> HttpResponse:
        """Forget a record, and send nobody to its downloads any more."""
        record = self._node.record(call.names["id"])
        if record is self._node.itself:
            raise RestError(409, f"peer {record.id} is this supernode itself: it stays")
        for task, peer in self._node.records.remove(record.id).items():
            await self._node.ask(LeaveTask(task, peer))
        return empty_reply()


def _shown(record: PeerRecord) -> dict[str, object]:
    return {
        "ID": record.id,
        "IP": record.ip,
        "created": rfc3339_ms(record.created_ns // 1_000_000),
        "hostName": record.host_name,
        **present(port=record.port, version=record.version),
    }


def _natural(query: dict[str, str], name: str) -> int:
    text = query.get(name) or "0"
    number = decimal(text)
    if number is None or number > _MAX_PAGE:
        raise RestError(400, f"{name} {text[:40]!r}: expected a natural number")
    return number
