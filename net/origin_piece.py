"""One piece that a peer reads from the origin itself (protocol 4.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..engine.effects import FetchPiece, ReadOrigin
from ..engine.events import (
    FetchFailure,
    OriginFailed,
    OriginFailure,
    OriginPieceStored,
    PieceFailed,
    PieceFetched,
)
from ..engine.ids import TaskId

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..engine.events import OriginEvent
    from ..engine.piece import PieceLayout

_FAILURES: Final[Mapping[OriginFailure, FetchFailure]] = {
    OriginFailure.UNREACHABLE: FetchFailure.UNREACHABLE,
    OriginFailure.STATUS: FetchFailure.REFUSED,
    OriginFailure.CHANGED: FetchFailure.REFUSED,
    OriginFailure.BAD_ANSWER: FetchFailure.REFUSED,
    OriginFailure.SHORT: FetchFailure.SHORT,
    OriginFailure.STALLED: FetchFailure.STALLED,
    OriginFailure.STORE_FULL: FetchFailure.STORE_FULL,
    OriginFailure.STORE_FAILED: FetchFailure.STORE_FAILED,
}


def read_of(
    effect: FetchPiece,
    layout: PieceLayout,
    *,
    headers: tuple[str, ...],
    validator: str,
    insecure: bool,
    root_cas: tuple[str, ...],
) -> ReadOrigin:
    """Return the read that brings the piece, if the origin's content is still the same."""
    offer = effect.offer
    first = layout.offset(offer.piece)
    return ReadOrigin(
        fetch=effect.fetch,
        task=TaskId(""),
        url=offer.path,
        headers=headers,
        piece_size=offer.piece_size,
        first_byte=first,
        last_byte=first + layout.size(offer.piece) - 1,
        validator=validator,
        insecure=insecure,
        root_cas=root_cas,
        plain=True,
    )


class OriginPiece:
    """Makes of the events of that read the one that a ``FetchPiece`` comes back as."""

    def __init__(self, effect: FetchPiece) -> None:
        self._effect = effect
        self.event: PieceFetched | PieceFailed | None = None

    def take(self, event: OriginEvent) -> None:
        """Take in what the read brought."""
        match event:
            case OriginPieceStored(fetch, _, size, digest):
                self.event = PieceFetched(fetch, size, digest)
            case OriginFailed(fetch, failure, reason):
                where = f"piece {self._effect.offer.piece} from the origin"
                self.event = PieceFailed(fetch, _FAILURES[failure], f"{where}: {reason}")
            case _:
                pass
