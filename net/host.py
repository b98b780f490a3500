"""Runs one engine: one task owns it, everybody else posts events.

The owner takes events from an inbox, calls the engine, performs the effects, and sleeps until the
next event or the engine's deadline.  Nothing is awaited between taking an event and the last of
its effects, so the engine is never entered twice and needs no lock.  Performing is synchronous:
whatever has to wait runs in tasks of its own, which end by posting an event.
"""

from __future__ import annotations

import os
from collections import deque
from math import inf
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..engine.engine import Engine

EventT = TypeVar("EventT")
EffectT = TypeVar("EffectT")
RecordedT = TypeVar("RecordedT", contravariant=True)
_AT_A_STRETCH: Final = 64
"""Events handled before other tasks get a turn."""


class Record(Protocol[RecordedT]):
    """Takes down what an engine was told and what it wanted; ``None`` is a tick."""

    def __call__(self, now: float, event: RecordedT | None, effects: Sequence[object], /) -> object:
        """Write one record."""
        ...


class Host(Generic[EventT, EffectT]):
    """The owner of one engine in one trio loop.

    ``perform`` carries out one effect without waiting.  ``record`` sees every call.
    ``paranoid`` (or the environment's ``DAMSELFLY_CHECK=1``) checks the engine after each call.
    """

    def __init__(
        self,
        engine: Engine[EventT, EffectT],
        perform: Callable[[EffectT], None],
        *,
        record: Record[EventT] | None = None,
        paranoid: bool = False,
    ) -> None:
        self._engine, self._perform, self._record = engine, perform, record
        self._paranoid = paranoid or os.environ.get("DAMSELFLY_CHECK") == "1"
        self._inbox: deque[EventT] = deque()
        self._wake = trio.Event()
        self._sleeps_until = -inf
        self._failure: Exception | None = None

    def post(self, event: EventT) -> None:
        """Hand over an event; never waits."""
        self._inbox.append(event)
        self._wake.set()

    def tell(self, event: EventT) -> None:
        """Hand over an event, and have it handled before this returns if the owner sleeps.

        Saves two turns of the loop where the answer is among the effects.  Not to be called from
        ``perform``.
        """
        if self._inbox or self._sleeps_until == -inf:
            self.post(event)
            return
        until, self._sleeps_until = self._sleeps_until, -inf
        try:
            self._step(event, trio.current_time())
        except Exception as error:
            self._failure = error  # the owner's to raise
            self._wake.set()
            return
        if self._inbox or self._engine.deadline() < until:
            self._wake.set()
        else:
            self._sleeps_until = until

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the engine until cancelled."""
        task_status.started()
        self._step(None, trio.current_time())
        while True:
            for _ in range(min(len(self._inbox), _AT_A_STRETCH)):
                self._step(self._inbox.popleft(), trio.current_time())
            if self._inbox:
                await trio.lowlevel.checkpoint()
                continue
            due = self._sleeps_until = self._engine.deadline()
            self._wake = trio.Event()
            with trio.move_on_at(due):
                await self._wake.wait()
            self._sleeps_until = -inf
            if self._failure is not None:
                raise self._failure
            if not self._inbox and trio.current_time() >= due < inf:
                self._step(None, max(trio.current_time(), due))

    def _step(self, event: EventT | None, now: float) -> None:
        engine = self._engine
        effects = engine.tick(now) if event is None else engine.handle(event, now)
        if self._paranoid:
            engine.check()
        if self._record is not None:
            self._record(now, event, effects)
        for effect in effects:
            self._perform(effect)
