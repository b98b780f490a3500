"""Questions to an engine that answers when it has something to say."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import trio

from ..engine.events import Dropped, Requested
from ..engine.ids import ExchangeId

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.effects import Answer
    from ..engine.messages import Command, Reply, Request


class Asked:
    """A question that has no answer yet; ``withdraw`` it if nobody waits any more."""

    __slots__ = ("_exchanges", "answered", "exchange")

    def __init__(
        self, exchanges: Exchanges, exchange: ExchangeId, answered: Callable[[Reply], None]
    ) -> None:
        self._exchanges, self.exchange, self.answered = exchanges, exchange, answered

    def withdraw(self) -> None:
        """Want no answer any more; one that has come makes no difference."""
        self._exchanges.withdraw(self.exchange)


class Exchanges:
    """Turns each question into an event, and its ``Answer`` into a call.

    ``tell`` takes the events; what answers at once may do so before it returns.
    """

    def __init__(self, tell: Callable[[Requested | Dropped], None]) -> None:
        self._tell = tell
        self._ids = count(1)
        self._waiting: dict[ExchangeId, Asked] = {}
        self._told: ExchangeId | None = None
        self._reply: Reply | None = None

    def answer(self, effect: Answer) -> None:
        """Perform an ``Answer``; whoever asks no longer misses it."""
        if effect.exchange == self._told:
            self._reply = effect.reply
        elif (asked := self._waiting.pop(effect.exchange, None)) is not None:
            asked.answered(effect.reply)

    def put(self, request: Request | Command, answered: Callable[[Reply], None]) -> Reply | Asked:
        """Put a question; return the reply, or what ``answered`` will be called for.

        Not to be called from ``answered``, which must not raise.
        """
        exchange = self._told = ExchangeId(next(self._ids))
        self._tell(Requested(exchange, request))
        reply, self._told, self._reply = self._reply, None, None
        if reply is not None:
            return reply
        asked = self._waiting[exchange] = Asked(self, exchange, answered)
        return asked

    async def ask(self, request: Request | Command) -> Reply:
        """Put a question and wait for the reply; cancelled, it is withdrawn."""
        answered = trio.Event()
        replies: list[Reply] = []

        def hear(reply: Reply) -> None:
            replies.append(reply)
            answered.set()

        found = self.put(request, hear)
        if not isinstance(found, Asked):
            return found
        try:
            await answered.wait()
        finally:
            found.withdraw()
        return replies[0]

    def withdraw(self, exchange: ExchangeId) -> None:
        """Take a question back if it has no answer yet."""
        if self._waiting.pop(exchange, None) is not None:
            self._tell(Dropped(exchange))
