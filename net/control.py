"""The supernode's control port: which call it is, who answers it, and how long that took."""

from __future__ import annotations

from time import time_ns
from typing import TYPE_CHECKING

import trio

from ..engine.errors import RemoteProtocolError
from ..engine.messages import Code, Orders, Refused, Register, Registered, ReportMetrics
from ..engine.peer_records import TableFull
from ..engine.wire.native import CONTENT_TYPE, UPDATE, decode_update, encode_orders
from ..engine.wire.v1 import CallError, decode_request, encode_reply
from ..engine.wire.v1_paths import METHODS
from .http import HttpResponse
from .rest.replies import RestError, error_reply
from .rest.routes import Call, Route, not_found, wrong_method

if TYPE_CHECKING:
    from .http import HttpRequest
    from .rest.api import RestApi
    from .rest.metrics import Metrics
    from .rest.node import Node


class ControlPort:
    """Hands each call to its route; the paths of the legacy API are found at one look."""

    def __init__(self, rest: RestApi) -> None:
        legacy, native = _LegacyCalls(rest.node, rest.metrics), _NativeCalls(rest.node)
        self._router = rest.router(legacy.routes, native.routes)
        self.requests = 0

    async def serve(self, request: HttpRequest) -> HttpResponse:
        """Answer one call; the connection's task waits here while the engine holds it."""
        self.requests += 1
        found = self._router.find(request.target.partition("?")[0])
        if found is None:
            return not_found()
        endpoint, names = found
        handler = endpoint.methods.get(request.method)
        if handler is None:
            return wrong_method()
        begun_s = trio.current_time()
        try:
            response = await handler(Call(request, names))
        except RestError as error:
            response = error_reply(error)
        endpoint.stats.observe(request, response, trio.current_time() - begun_s)
        return response


class _LegacyCalls:
    """The calls of dfget (protocol 1), which are answered with HTTP 200 whatever they are."""

    def __init__(self, node: Node, metrics: Metrics) -> None:
        self._node, self._metrics = node, metrics
        self.routes = tuple(Route(how, path, self._answer) for path, how in METHODS.items())

    async def _answer(self, call: Call) -> HttpResponse:
        request = call.request
        try:
            asked = decode_request(request.method, request.target, request.headers, request.body)
        except CallError as error:
            return _respond(*encode_reply(None, Refused(error.code, str(error))))
        reply = await self._node.ask(asked)
        assert not isinstance(reply, Orders), "orders answer updates alone"
        if isinstance(asked, Register) and isinstance(reply, Registered):
            self._note(asked, reply)
        elif isinstance(asked, ReportMetrics):
            self._metrics.downloaded(asked)
        return _respond(*encode_reply(asked, reply))

    def _note(self, asked: Register, reply: Registered) -> None:
        """Write down that a download has begun."""
        self._metrics.tasks_registered.add()
        self._metrics.registered.of(asked.call_system).add()
        records = self._node.records
        try:
            made = records.add(
                asked.ip, asked.host_name, asked.port, asked.version, time_ns(), lasts=False
            )
        except TableFull:
            return  # the list is short of one; the download is not
        records.own(made.id, reply.task, asked.peer)


class _NativeCalls:
    """The call of our own peers (``engine.wire.native``)."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.routes = (Route("POST", UPDATE, self._update),)

    async def _update(self, call: Call) -> HttpResponse:
        try:
            said = decode_update(call.request.body)
        except RemoteProtocolError as error:
            return _respond(200, CONTENT_TYPE, encode_orders(_not_understood(error)))
        return _respond(200, CONTENT_TYPE, encode_orders(await self._node.ask(said)))


def _not_understood(error: RemoteProtocolError) -> Refused:
    return Refused(Code.BAD_PARAMETER, str(error))


def _respond(status: int, content_type: str, body: bytes) -> HttpResponse:
    return HttpResponse(status, (body,), content_type)
