"""Supernodes answer every request, once and in time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...engine.effects import Answer
from ...engine.events import Dropped, Requested
from .checker import Checker, Violation

if TYPE_CHECKING:
    from ...engine.ids import ExchangeId
    from .checker import Call

_IN_TIME_S: Final = 4.5
"""Registrations are held for 4 s, pulls for 2 s; peers give up after 5 s."""


class Answers(Checker):
    """No request waits for longer than may be, and no answer is without a request."""

    def __init__(self) -> None:
        self._open: dict[str, dict[ExchangeId, float]] = {}
        """When each request came, by supernode, the oldest first."""

    def see(self, call: Call) -> None:
        """Pair answers with requests."""
        if not call.is_supernode:
            return
        waiting = self._open.setdefault(call.node, {})
        match call.event:
            case Requested(exchange):
                waiting[exchange] = call.now
            case Dropped(exchange):
                waiting.pop(exchange, None)
            case _:
                pass
        for effect in call.effects:
            if isinstance(effect, Answer) and waiting.pop(effect.exchange, None) is None:
                raise Violation(f"answers exchange {effect.exchange}, which is not open")
        oldest = next(iter(waiting.items()), None)
        if oldest is not None and call.now - oldest[1] > _IN_TIME_S:
            raise Violation(f"has not answered exchange {oldest[0]} since {oldest[1]:.3f} s")

    def crashed(self, node: str) -> None:
        """The dead owe nothing."""
        self._open.pop(node, None)
