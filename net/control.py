"""The supernode's control port: which call it is, who answers it, and how long that took."""

from __future__ import annotations

import logging
from functools import partial
from time import perf_counter, time_ns
from typing import TYPE_CHECKING

import trio

from ..engine.errors import RemoteProtocolError
from ..engine.messages import (
    Code,
    Orders,
    Refused,
    Register,
    Registered,
    ReportMetrics,
    Update,
)
from ..engine.peer_records import TableFull
from ..engine.wire.native import CONTENT_TYPE, UPDATE, decode_update, encode_orders
from ..engine.wire.v1 import CallError, decode_request, encode_reply
from ..engine.wire.v1_paths import METHODS
from .exchanges import Asked
from .http import HttpResponse, text_response
from .rest.replies import RestError, error_reply
from .rest.routes import Call, Prompt, Route, not_found, wrong_method

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.messages import Reply, Request
    from .exchanges import Exchanges
    from .http import HttpRequest, Pending
    from .rest.api import RestApi
    from .rest.metrics import CallStats, Metrics
    from .rest.node import Node

_log = logging.getLogger(__name__)


class ControlPort:
    """Hands each call to its route; the paths of the legacy API are found at one look."""

    def __init__(self, rest: RestApi, exchanges: Exchanges) -> None:
        legacy = _LegacyCalls(rest.node, rest.metrics, exchanges)
        self._router = rest.router(legacy.routes, _NativeCalls(exchanges).routes)
        self.requests = 0

    def prompt(
        self, request: HttpRequest, answer: Callable[[HttpResponse], None]
    ) -> HttpResponse | Pending | None:
        """Answer a call, later if the engine holds it; ``None``: ``serve`` has to."""
        found = self._router.find(request.target.partition("?")[0])
        if found is None:
            self.requests += 1
            return not_found()
        endpoint, names = found
        handler = endpoint.methods.get(request.method)
        if handler is None:
            self.requests += 1
            return wrong_method()
        if not isinstance(handler, Prompt):
            return None
        self.requests += 1
        counted = _Counted(endpoint.stats, request, answer)
        response = handler.answer(Call(request, names), counted.answered)
        if isinstance(response, HttpResponse):
            counted.count(response)
        return response

    async def serve(self, request: HttpRequest) -> HttpResponse:
        """Answer one call; the connection's task waits here while the engine holds it."""
        answered = trio.Event()
        responses: list[HttpResponse] = []

        def hear(response: HttpResponse) -> None:
            responses.append(response)
            answered.set()

        found = self.prompt(request, hear)
        if isinstance(found, HttpResponse):
            return found
        if found is None:
            return await self._serve(request)
        try:
            await answered.wait()
        finally:
            found.withdraw()
        return responses[0]

    async def _serve(self, request: HttpRequest) -> HttpResponse:
        self.requests += 1
        found = self._router.find(request.target.partition("?")[0])
        assert found is not None
        endpoint, names = found
        handler = endpoint.methods[request.method]
        assert not isinstance(handler, Prompt)
        counted = _Counted(endpoint.stats, request)
        try:
            response = await handler(Call(request, names))
        except RestError as error:
            response = error_reply(error)
        counted.count(response)
        return response


class _Counted:
    """One call on its way: counted when it is answered."""

    __slots__ = ("_answer", "_begun_s", "_request_bytes", "_stats")

    def __init__(
        self,
        stats: CallStats,
        request: HttpRequest,
        answer: Callable[[HttpResponse], None] | None = None,
    ) -> None:
        self._stats, self._answer = stats, answer
        self._request_bytes = request.head_bytes + len(request.body)
        self._begun_s = perf_counter()

    def answered(self, response: HttpResponse) -> None:
        """Count an answer and pass it on."""
        assert self._answer is not None
        self.count(response)
        self._answer(response)

    def count(self, response: HttpResponse) -> None:
        """Count an answer."""
        duration_s = perf_counter() - self._begun_s
        self._stats.observe(
            response.status, self._request_bytes, response.content_length, duration_s
        )


class _LegacyCalls:
    """The calls of dfget (protocol 1), which are answered with HTTP 200 whatever they are."""

    def __init__(self, node: Node, metrics: Metrics, exchanges: Exchanges) -> None:
        self._node, self._metrics, self._exchanges = node, metrics, exchanges
        ask = Prompt(self._ask)
        self.routes = tuple(Route(how, path, ask) for path, how in METHODS.items())

    def _ask(self, call: Call, answer: Callable[[HttpResponse], None]) -> HttpResponse | Pending:
        request = call.request
        try:
            asked = decode_request(request.method, request.target, request.headers, request.body)
        except CallError as error:
            return _respond(*encode_reply(None, Refused(error.code, str(error))))
        return _put(self._exchanges, asked, partial(self._response, asked), answer)

    def _response(self, asked: Request, reply: Reply) -> HttpResponse:
        assert not isinstance(reply, Orders), "orders answer updates alone"
        assert not isinstance(asked, Update), "updates are not of this form"
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

    def __init__(self, exchanges: Exchanges) -> None:
        self._exchanges = exchanges
        self.routes = (Route("POST", UPDATE, Prompt(self._update)),)

    def _update(self, call: Call, answer: Callable[[HttpResponse], None]) -> HttpResponse | Pending:
        try:
            said = decode_update(call.request.body)
        except RemoteProtocolError as error:
            return _orders(Refused(Code.BAD_PARAMETER, str(error)))
        return _put(self._exchanges, said, _orders, answer)


def _put(
    exchanges: Exchanges,
    asked: Request,
    response: Callable[[Reply], HttpResponse],
    answer: Callable[[HttpResponse], None],
) -> HttpResponse | Pending:
    """Put a question and return its answer; one that is held is given to ``answer``."""
    found = exchanges.put(asked, partial(_deliver, response, answer))
    return found if isinstance(found, Asked) else response(found)


def _deliver(
    response: Callable[[Reply], HttpResponse],
    answer: Callable[[HttpResponse], None],
    reply: Reply,
) -> None:
    try:
        found = response(reply)
    except Exception:
        _log.exception("cannot write down %s", type(reply).__name__)
        found = text_response(500, "internal error")
    answer(found)


def _orders(reply: Reply) -> HttpResponse:
    return _respond(200, CONTENT_TYPE, encode_orders(reply))


def _respond(status: int, content_type: str, body: bytes) -> HttpResponse:
    return HttpResponse(status, (body,), content_type)
