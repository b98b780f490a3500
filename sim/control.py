"""What peers and supernodes say to each other: requests and replies that take their time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..engine.events import Dropped, ExchangeFailed, Replied, Requested
from ..engine.ids import ExchangeId
from .host import Queue

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.effects import Answer, Send
    from ..engine.ids import NodeAddress
    from ..engine.messages import Reply
    from .host import Host
    from .scenario import Scenario
    from .ways import Ways
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
    """One exchange; ``waiting`` are all open ones with the same timeout, in order."""

    __slots__ = (
        *("asked", "caller", "due", "host", "is_over", "number", "reply", "station", "waiting"),
    )

    def __init__(
        self,
        number: ExchangeId,
        caller: Caller,
        host: Host,
        asked: Send,
        station: _Station | None,
        due: float,
        waiting: dict[_Call, None],
    ) -> None:
        self.number, self.caller, self.host, self.asked = number, caller, host, asked
        self.station, self.due, self.waiting = station, due, waiting
        self.reply: Reply | None = None
        self.is_over = False
        waiting[self] = None

    def end(self) -> None:
        """Nobody waits for the answer any more."""
        self.is_over = True
        del self.waiting[self]


class _Station:
    """A supernode's control port."""

    __slots__ = ("host", "queue", "supernode")

    def __init__(self, supernode: Callee, host: Host) -> None:
        self.supernode, self.host, self.queue = supernode, host, Queue()


class Control:
    """Carries exchanges: each message takes its time, and no answer within the timeout fails."""

    def __init__(self, world: World, scenario: Scenario, ways: Ways) -> None:
        self._world, self._scenario, self._ways = world, scenario, ways
        latency_s = scenario.control_latency_s
        self._latency_s = scenario.latency_s if latency_s is None else latency_s
        self._is_plain = ways.are_alike and not (scenario.jitter_s or scenario.message_loss)
        rate = scenario.supernode_messages_per_s
        self._service_s = 1 / rate if rate else 0.0
        self._message_cpu_s = scenario.message_cpu_s
        self._rng = world.rng("control")
        self._stations: dict[NodeAddress, _Station] = {}
        self._open: dict[ExchangeId, _Call] = {}
        """Exchanges that a supernode has seen and not answered."""
        self._timers: dict[float, dict[_Call, None]] = {}
        self._count = 0

    def attach(self, address: NodeAddress, supernode: Callee, host: Host) -> None:
        """Let ``supernode`` hear all requests to ``address``."""
        self._stations[address] = _Station(supernode, host)

    def ask(self, caller: Caller, host: Host, asked: Send) -> None:
        """Put a request from ``host``; the caller hears the outcome."""
        self._count += 1
        timeout_s = asked.timeout_s
        waiting = self._timers.get(timeout_s)
        if waiting is None:
            waiting = self._set_timer(timeout_s)
        station, due = self._stations.get(asked.node), self._world.now + timeout_s
        call = _Call(ExchangeId(self._count), caller, host, asked, station, due, waiting)
        if self._is_plain:
            self._world.after(self._latency_s, self._arrive, call)
        else:
            self._carry(call, self._arrive, is_request=True)

    def answer(self, answer: Answer) -> None:
        """Carry a supernode's answer back."""
        call = self._open.pop(answer.exchange, None)
        if call is None:
            return
        call.reply = answer.reply
        if self._is_plain:
            self._world.after(self._latency_s, self._reply, call)
        else:
            self._carry(call, self._reply, is_request=False)

    def hang_up(self, caller: Caller) -> None:
        """A caller died: what it said a moment ago is lost, and its open exchanges break."""
        for waiting in self._timers.values():
            for call in [call for call in waiting if call.caller is caller]:
                self._end(call)

    def cut_off(self, supernode: Callee) -> None:
        """A supernode died: whoever waits for an answer of it learns that."""
        for call in [call for call in self._open.values() if _callee(call) is supernode]:
            del self._open[call.number]
            self._carry(call, self._refuse, is_request=False)

    def _carry(self, call: _Call, do: Callable[[_Call], object], *, is_request: bool) -> None:
        """Have one message arrive, or not."""
        if self._is_plain or call.station is None:
            self._world.after(self._latency_s, do, call)
            return
        scenario, there = self._scenario, call.station.host
        sender, receiver = (call.host, there) if is_request else (there, call.host)
        loss = scenario.message_loss
        if not self._ways.carry_message(sender, receiver) or (loss and self._rng.random() < loss):
            return
        latency_s = self._latency_s
        if scenario.control_latency_s is None:
            latency_s = self._ways.latency_s(sender, receiver)
        if scenario.jitter_s:
            latency_s += self._rng.random() * scenario.jitter_s
        self._world.after(latency_s, do, call)

    def _arrive(self, call: _Call) -> None:
        if call.is_over:
            return
        station = call.station
        if station is None or not station.supernode.is_up:
            self._carry(call, self._refuse, is_request=False)
        elif self._service_s:
            taken_s = station.queue.done_s(self._world.now, self._service_s)
            self._world.at(taken_s, self._take_in, call)
        else:
            self._take_in(call)

    def _take_in(self, call: _Call) -> None:
        supernode = _callee(call)
        if supernode.is_up and not call.is_over:
            self._open[call.number] = call
            supernode.handle(Requested(call.number, call.asked.request))

    def _reply(self, call: _Call) -> None:
        if call.is_over:
            return
        call.end()
        if self._message_cpu_s:
            done_s = call.host.cpu.done_s(self._world.now, self._message_cpu_s)
            self._world.at(done_s, _hear, call)
        else:
            _hear(call)

    def _refuse(self, call: _Call) -> None:
        if not call.is_over:
            call.end()
            reason = f"{call.asked.node}: connection refused"
            call.caller.handle(ExchangeFailed(call.asked.exchange, reason))

    def _end(self, call: _Call) -> None:
        call.end()
        self._carry(call, self._drop, is_request=True)

    def _drop(self, call: _Call) -> None:
        if self._open.pop(call.number, None) is not None:
            _callee(call).handle(Dropped(call.number))

    def _set_timer(self, timeout_s: float) -> dict[_Call, None]:
        # Timeouts of equal length come due in the order they were set, and hardly any ever does:
        # a queue of its own for each length costs nothing on the agenda.
        waiting = self._timers[timeout_s] = {}
        self._world.after(timeout_s, self._ring, timeout_s)
        return waiting

    def _ring(self, timeout_s: float) -> None:
        now, waiting = self._world.now, self._timers[timeout_s]
        while waiting:
            call = next(iter(waiting))
            if call.due > now:
                self._world.at(call.due, self._ring, timeout_s)
                return
            self._end(call)
            reason = f"{call.asked.node}: no answer in {timeout_s:g} s"
            call.caller.handle(ExchangeFailed(call.asked.exchange, reason))
        del self._timers[timeout_s]


def _callee(call: _Call) -> Callee:
    assert call.station is not None
    return call.station.supernode


def _hear(call: _Call) -> None:
    assert call.reply is not None
    call.caller.handle(Replied(call.asked.exchange, call.reply))
