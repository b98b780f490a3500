"""What peers and the supernode say to each other: requests and replies that take their time."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

from ..engine.events import Dropped, ExchangeFailed, Replied, Requested
from ..engine.ids import ExchangeId

if TYPE_CHECKING:
    from ..engine.effects import Answer, Send
    from ..engine.messages import Reply
    from .world import World


class Caller(Protocol):
    """Who puts requests and hears the answers."""

    def handle(self, event: Replied | ExchangeFailed, /) -> None:
        """Take in how a request ended."""
        ...


class Callee(Protocol):
    """Who hears requests, and answers them by ``Control.answer``."""

    @property
    def is_up(self) -> bool:
        """Tell whether connections are accepted."""
        ...

    def handle(self, event: Requested | Dropped, /) -> None:
        """Take in a request, or that nobody waits for the answer to one."""
        ...


class _Call:
    __slots__ = ("asked", "caller", "due", "is_over", "number", "reply")

    def __init__(self, number: ExchangeId, caller: Caller, asked: Send, due: float) -> None:
        self.number, self.caller, self.asked, self.due = number, caller, asked, due
        self.reply: Reply | None = None
        self.is_over = False


class Control:
    """Carries exchanges: ``latency_s`` each way, and no answer within the timeout is a failure."""

    def __init__(self, world: World, latency_s: float) -> None:
        self._world, self._latency_s = world, latency_s
        self._supernode: Callee | None = None
        self._open: dict[ExchangeId, _Call] = {}
        """Exchanges that the supernode has seen and not answered."""
        self._timers: dict[float, deque[_Call]] = {}
        self._count = 0

    def attach(self, supernode: Callee) -> None:
        """Let ``supernode`` hear all requests."""
        self._supernode = supernode

    def ask(self, caller: Caller, asked: Send) -> None:
        """Put a request; the caller hears the outcome."""
        self._count += 1
        call = _Call(ExchangeId(self._count), caller, asked, self._world.now + asked.timeout_s)
        self._world.after(self._latency_s, self._arrive, call)
        self._set_timer(call)

    def answer(self, answer: Answer) -> None:
        """Carry the supernode's answer back."""
        call = self._open.pop(answer.exchange, None)
        if call is not None:
            call.reply = answer.reply
            self._world.after(self._latency_s, self._reply, call)

    def hang_up(self, caller: Caller) -> None:
        """A caller died: what it said a moment ago is lost, and its open exchanges break."""
        for calls in self._timers.values():
            for call in calls:
                if call.caller is caller:
                    self._end(call)

    def cut_off(self) -> None:
        """The supernode died: whoever waits for an answer of it learns that."""
        for call in self._open.values():
            self._world.after(self._latency_s, self._refuse, call)
        self._open.clear()

    def _arrive(self, call: _Call) -> None:
        if call.is_over:
            return
        assert self._supernode is not None
        if self._supernode.is_up:
            self._open[call.number] = call
            self._supernode.handle(Requested(call.number, call.asked.request))
        else:
            self._world.after(self._latency_s, self._refuse, call)

    def _reply(self, call: _Call) -> None:
        if not call.is_over:
            call.is_over = True
            assert call.reply is not None
            call.caller.handle(Replied(call.asked.exchange, call.reply))

    def _refuse(self, call: _Call) -> None:
        if not call.is_over:
            call.is_over = True
            reason = f"{call.asked.node}: connection refused"
            call.caller.handle(ExchangeFailed(call.asked.exchange, reason))

    def _end(self, call: _Call) -> None:
        if not call.is_over:
            call.is_over = True
            self._world.after(self._latency_s, self._drop, call.number)

    def _drop(self, number: ExchangeId) -> None:
        if self._open.pop(number, None) is not None and self._supernode is not None:
            self._supernode.handle(Dropped(number))

    def _set_timer(self, call: _Call) -> None:
        # Timeouts of equal length come due in the order they were set, and hardly any ever does:
        # a queue of its own for each length costs nothing on the agenda.
        timeout_s = call.asked.timeout_s
        calls = self._timers.get(timeout_s)
        if calls is None:
            calls = self._timers[timeout_s] = deque()
            self._world.after(timeout_s, self._ring, timeout_s)
        while calls and calls[0].is_over:
            calls.popleft()
        calls.append(call)

    def _ring(self, timeout_s: float) -> None:
        now, calls = self._world.now, self._timers[timeout_s]
        while calls and (calls[0].is_over or calls[0].due <= now):
            call = calls.popleft()
            if not call.is_over:
                self._end(call)
                reason = f"{call.asked.node}: no answer in {timeout_s:g} s"
                call.caller.handle(ExchangeFailed(call.asked.exchange, reason))
        if calls:
            self._world.at(calls[0].due, self._ring, timeout_s)
        else:
            del self._timers[timeout_s]
