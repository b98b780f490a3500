"""The contract that every engine keeps and every driver relies on.

Push in, list out: time and chance come in as arguments, I/O goes out as data.  Three laws:

1. an early or repeated ``tick`` is harmless;
2. after ``tick(now)``, ``deadline() > now``, so a driver never spins;
3. a ``now`` older than the latest one seen counts as the latest.

And one for drivers: when an alarm set for ``due`` goes off, call ``tick(max(now, due))``, since
rounding may wake them an instant early.  Time is float seconds from any epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

EventT = TypeVar("EventT", contravariant=True)
EffectT = TypeVar("EffectT", covariant=True)


class Engine(Protocol[EventT, EffectT]):
    """A state machine that a host task in ``net`` and a node in ``sim`` both drive."""

    def handle(self, event: EventT, now: float) -> Sequence[EffectT]:
        """Take in what happened and return what to do, in order; ends as ``tick`` does."""
        ...

    def tick(self, now: float) -> Sequence[EffectT]:
        """Do whatever is due at ``now``."""
        ...

    def deadline(self) -> float:
        """Return when ``tick`` is next needed; ``inf``: only an event can matter."""
        ...

    def check(self) -> None:
        """Recount every invariant from scratch and assert it."""
        ...
