"""One download that a peer server serves.

Its life is ``LIFE``; the drawing in this folder's README is made from it.
"""

from __future__ import annotations

from dataclasses import field
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from .ids import NO_PEER, TaskId
from .records import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .ids import ExchangeId, NodeAddress, PeerId

_NO_TASK: Final = TaskId("")


class ServedPhase(Enum):
    """Where a served download stands."""

    GROWING = auto()
    """Its dfget still fetches pieces."""
    FINISHED = auto()
    """Its dfget is done with it, well or not; the file is ours to delete."""
    FORGOTTEN = auto()


class ServedTrigger(Enum):
    """What moves a served download from phase to phase."""

    CHECKED = auto()
    REPORTED = auto()
    EXPIRED = auto()
    WITHDRAWN = auto()


LIFE: Final[Mapping[ServedPhase, Mapping[ServedTrigger, ServedPhase]]] = {
    ServedPhase.GROWING: {
        ServedTrigger.CHECKED: ServedPhase.GROWING,
        ServedTrigger.REPORTED: ServedPhase.FINISHED,
        ServedTrigger.EXPIRED: ServedPhase.FORGOTTEN,
        ServedTrigger.WITHDRAWN: ServedPhase.FORGOTTEN,
    },
    ServedPhase.FINISHED: {
        ServedTrigger.CHECKED: ServedPhase.GROWING,
        ServedTrigger.REPORTED: ServedPhase.FINISHED,
        ServedTrigger.EXPIRED: ServedPhase.FORGOTTEN,
        ServedTrigger.WITHDRAWN: ServedPhase.FORGOTTEN,
    },
    ServedPhase.FORGOTTEN: {},
}


@dataclass(slots=True)
class Served:
    """One name in a peer server's table; ``task``, ``peer`` and ``node`` as its dfget reported.

    ``used_at``: the latest of check, rate, upload, finish and modification of the file.
    """

    used_at: float
    phase: ServedPhase = ServedPhase.GROWING
    task: TaskId = _NO_TASK
    peer: PeerId = NO_PEER
    node: NodeAddress | None = None
    bytes_sent: int = 0
    uploads: dict[ExchangeId, None] = field(default_factory=dict["ExchangeId", None])

    def move(self, trigger: ServedTrigger) -> None:
        """Go on to the next phase; a trigger that the phase does not know is a bug of ours."""
        self.phase = LIFE[self.phase][trigger]
