"""Questions to an engine that answers when it has something to say."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import trio

from ..engine.events import Dropped, Requested
from ..engine.ids import ExchangeId
from ..engine.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.effects import Answer
    from ..engine.messages import Command, Reply, Request


@dataclass(slots=True)
class _Waiting:
    answered: trio.Event | None = None
    reply: Reply | None = None


class Exchanges:
    """Turns each question into an event and waits for its ``Answer``.

    ``tell`` takes the events; what answers at once may do so before it returns.
    """

    def __init__(self, tell: Callable[[Requested | Dropped], None]) -> None:
        self._tell = tell
        self._ids = count(1)
        self._waiting: dict[ExchangeId, _Waiting] = {}

    def answer(self, effect: Answer) -> None:
        """Perform an ``Answer``; whoever asks no longer misses it."""
        if (waiting := self._waiting.get(effect.exchange)) is not None:
            waiting.reply = effect.reply
            if waiting.answered is not None:
                waiting.answered.set()

    async def ask(self, request: Request | Command) -> Reply:
        """Put a question; cancelled, it is withdrawn."""
        exchange = ExchangeId(next(self._ids))
        waiting = self._waiting[exchange] = _Waiting()
        self._tell(Requested(exchange, request))
        if waiting.reply is not None:
            del self._waiting[exchange]
            return waiting.reply
        waiting.answered = trio.Event()
        try:
            await waiting.answered.wait()
        finally:
            del self._waiting[exchange]
            if waiting.reply is None:
                self._tell(Dropped(exchange))
        assert waiting.reply is not None
        return waiting.reply
