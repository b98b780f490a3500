"""``/preheats``: what is read ahead, and how far it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..http import HttpResponse
from .bodies import PreheatCreate, read_body
from .replies import JSON_TYPE, RestError, json_reply, list_reply, present, rfc3339_ms
from .routes import Route

if TYPE_CHECKING:
    from .preheats import Preheat, Preheats
    from .routes import Call


class PreheatCalls:
    """The calls about preheats."""

    def __init__(self, preheats: Preheats) -> None:
        self._preheats = preheats
        self.routes = (
            Route("POST", "/preheats", self._create),
            Route("GET", "/preheats", self._list),
            Route("GET", "/preheats/{id}", self._get),
            Route("DELETE", "/preheats/{id}", self._delete),
        )

    async def _create(self, call: Call) -> HttpResponse:
        preheat = self._preheats.create(read_body(PreheatCreate, call.request.body))
        return json_reply({"ID": preheat.id}, 201)

    async def _list(self, _: Call) -> HttpResponse:
        return list_reply(map(_record, self._preheats))

    async def _get(self, call: Call) -> HttpResponse:
        name = call.names["id"]
        preheat = self._preheats.get(name)
        if preheat is None:
            raise RestError(404, f"{name} doesn't exists")
        found = {
            "ID": preheat.id,
            "finishTime": rfc3339_ms(preheat.finished_ms),
            "startTime": rfc3339_ms(preheat.started_ms),
            "status": preheat.status.value,
            **present(errorMsg=preheat.error),
        }
        return json_reply(found)

    async def _delete(self, call: Call) -> HttpResponse:
        """Forget a preheat; one that is not known is no error, as in 1.0.6."""
        self._preheats.delete(call.names["id"])
        return HttpResponse(200, (b"true\n",), JSON_TYPE)


def _record(preheat: Preheat) -> dict[str, object]:
    return {
        "ID": preheat.id,
        "URL": preheat.url,
        "Type": preheat.kind,
        "Filter": preheat.filter,
        "Identifier": preheat.identifier,
        "Headers": preheat.headers or None,
        "ParentID": preheat.parent,
        "Children": preheat.children or None,
        "Status": preheat.status.value,
        "StartTime": preheat.started_ms,
        "FinishTime": preheat.finished_ms,
        "ErrorMsg": preheat.error,
    }
