"""Registrations that wait until an origin has answered, each until its time is up."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

from .timers import Timers

if TYPE_CHECKING:
    from .ids import ExchangeId
    from .messages import Register
    from .task import Task


class Joining(NamedTuple):
    """One registration that is held."""

    exchange: ExchangeId
    task: Task
    wanted: Register


class Joinings:
    """All registrations held, in the order in which they came."""

    def __init__(self) -> None:
        self._held: dict[ExchangeId, Joining] = {}
        self._timers: Timers[ExchangeId] = Timers()

    def hold(self, joining: Joining, until: float) -> None:
        """Hold one more; ``inf``: until it is released."""
        self._held[joining.exchange] = joining
        self._timers.set(joining.exchange, until)

    def release(self, exchange: ExchangeId) -> bool:
        """Hold one no longer; tell whether it was held."""
        self._timers.cancel(exchange)
        return self._held.pop(exchange, None) is not None

    def release_all(self, task: Task) -> list[Joining]:
        """Hold those of a task no longer and return them."""
        found = [joining for joining in self._held.values() if joining.task is task]
        for joining in found:
            self.release(joining.exchange)
        return found

    def pop_due(self, now: float) -> list[Joining]:
        """Hold those whose time is up no longer and return them."""
        return [self._held.pop(exchange) for exchange in self._timers.pop_due(now)]

    def deadline(self) -> float:
        """Return when the next one's time is up."""
        return self._timers.next() if self._held else inf

    def check(self) -> None:
        """Assert that no time runs for what is not held."""
        assert len(self._timers) == sum(exchange in self._timers for exchange in self._held)
