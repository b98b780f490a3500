"""An engine in a harness that holds it to its contract at every call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from damselfly.engine.engine import Engine

EventT = TypeVar("EventT")
EffectT = TypeVar("EffectT")
FoundT = TypeVar("FoundT")


class Driven(Generic[EventT, EffectT]):
    """Calls an engine, recounts its invariants and asserts the three laws after each call."""

    def __init__(self, engine: Engine[EventT, EffectT]) -> None:
        self.engine = engine
        self.now = 0.0

    def at(self, now: float, *events: EventT) -> list[EffectT]:
        """Tell of events, or of none: a tick; return all effects."""
        out: list[EffectT] = []
        if not events:
            out += self.engine.tick(now)
            self._laws(now)
        for event in events:
            out += self.engine.handle(event, now)
            self._laws(now)
        return out

    def until_due(self) -> list[EffectT]:
        """Let time pass until the engine's own deadline, and tick."""
        return self.at(self.engine.deadline())

    def _laws(self, now: float) -> None:
        self.now = max(self.now, now)
        self.engine.check()
        assert not list(self.engine.tick(self.now)), "a repeated tick is harmless"
        assert not list(self.engine.tick(self.now - 1)), "an old now counts as the latest"
        assert self.engine.deadline() > self.now, "progress: no driver spins"
        self.engine.check()


def only(kind: type[FoundT], effects: list[EffectT]) -> list[FoundT]:
    """Return the effects of one kind."""
    return [effect for effect in effects if isinstance(effect, kind)]


def one(kind: type[FoundT], effects: list[EffectT]) -> FoundT:
    """Return the only effect of one kind."""
    found = only(kind, effects)
    assert len(found) == 1, effects
    return found[0]
