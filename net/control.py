"""The supernode's control port: Dragonfly calls in, replies out when the engine has them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

import trio

from ..engine.errors import RemoteProtocolError
from ..engine.events import Dropped, Requested
from ..engine.ids import ExchangeId
from ..engine.messages import Refused, Register
from ..engine.wire.v1 import CallError, decode_request, encode_reply
from .http import HttpRequest, HttpResponse, text_response

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.effects import Answer
    from ..engine.messages import Reply


@dataclass(slots=True)
class _Waiting:
    answered: trio.Event
    reply: Reply | None = None


class ControlPort:
    """Turns each call into an event and waits for its ``Answer``.

    ``post`` takes the events; ``stats`` gives the JSON for ``/damselfly/stats``.
    """

    def __init__(
        self, post: Callable[[Requested | Dropped], None], stats: Callable[[], bytes]
    ) -> None:
        self._post, self._stats = post, stats
        self._ids = count(1)
        self._waiting: dict[ExchangeId, _Waiting] = {}
        self.requests = 0

    def answer(self, effect: Answer) -> None:
        """Perform an ``Answer``; a client that is gone misses it."""
        if (waiting := self._waiting.get(effect.exchange)) is not None:
            waiting.reply = effect.reply
            waiting.answered.set()

    async def serve(self, request: HttpRequest) -> HttpResponse:
        """Answer one call; the connection's task waits here while the engine holds it."""
        self.requests += 1
        if request.method == "GET" and request.target == "/_ping":
            return HttpResponse(200, (b"OK",), "text/plain; charset=utf-8")
        if request.method == "GET" and request.target == "/damselfly/stats":
            return HttpResponse(200, (self._stats(),), "application/json")
        try:
            asked = decode_request(request.method, request.target, request.headers, request.body)
        except CallError as error:
            return _respond(*encode_reply(None, Refused(error.code, str(error))))
        except RemoteProtocolError as error:
            return text_response(error.status_hint, str(error))
        if isinstance(asked, Register) and not asked.ip:
            asked = replace(asked, ip=request.client_host)
        return _respond(*encode_reply(asked, await self._ask(Requested(self._next(), asked))))

    async def _ask(self, event: Requested) -> Reply:
        waiting = self._waiting[event.exchange] = _Waiting(trio.Event())
        self._post(event)
        try:
            await waiting.answered.wait()
        finally:
            del self._waiting[event.exchange]
            if waiting.reply is None:
                self._post(Dropped(event.exchange))
        assert waiting.reply is not None
        return waiting.reply

    def _next(self) -> ExchangeId:
        return ExchangeId(next(self._ids))


def _respond(status: int, content_type: str, body: bytes) -> HttpResponse:
    return HttpResponse(status, (body,), content_type)
