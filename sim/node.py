"""Runs one engine: what ``net.host`` does under trio, turned inside out for simulated time."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..engine.engine import Engine
    from .world import World

EventT = TypeVar("EventT")
EffectT = TypeVar("EffectT")


class Watch(Protocol):
    """Sees every engine call of every node, before its effects are performed."""

    def __call__(
        self, now: float, node: str, event: object | None, effects: Sequence[object], /
    ) -> None:
        """Take in one call; ``event`` ``None`` is a tick."""
        ...


class Node(Generic[EventT, EffectT]):
    """One engine, its one alarm, and its way into the world.

    ``perform`` must not call back at once: whatever an effect brings comes as a later event.
    """

    __slots__ = ("_alarm", "_paranoid", "_perform", "_watch", "_world", "engine", "is_up", "name")

    def __init__(
        self,
        world: World,
        name: str,
        engine: Engine[EventT, EffectT],
        perform: Callable[[EffectT], None],
        watch: Watch,
        *,
        paranoid: bool = False,
    ) -> None:
        self._world, self.name, self.engine = world, name, engine
        self._perform, self._watch, self._paranoid = perform, watch, paranoid
        self._alarm = inf
        self.is_up = True

    def handle(self, event: EventT) -> None:
        """Pass ``event`` to the engine and do what it asks for; a crashed node hears nothing."""
        if self.is_up:
            now = self._world.now
            self._act(now, event, self.engine.handle(event, now))

    def crash(self) -> None:
        """Hear and do nothing any more."""
        self.is_up = False

    def _act(self, now: float, event: EventT | None, effects: Sequence[EffectT]) -> None:
        self._watch(now, self.name, event, effects)
        if self._paranoid:
            self.engine.check()
        for effect in effects:
            self._perform(effect)
        due = self.engine.deadline()
        assert due > now, f"{self.name}: deadline {due} is not after {now}"
        if due < self._alarm:
            self._set_alarm(due)

    def _set_alarm(self, due: float) -> None:
        self._alarm = due
        if due < inf:
            self._world.at(due, self._ring, due)

    def _ring(self, due: float) -> None:
        # An alarm that was overtaken by an earlier one is ignored; one that came too early because
        # the deadline has moved on since is put off.  Both are cheaper than an alarm a call.
        if due != self._alarm or not self.is_up:
            return
        self._alarm = inf
        wanted = self.engine.deadline()
        if wanted > due:
            self._set_alarm(wanted)
        else:
            now = self._world.now
            self._act(now, None, self.engine.tick(max(now, due)))
