"""What a peer that talks in updates was told, and what it has yet to be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .ids import PieceIndex
    from .messages import Update


class OrderBook:
    """Where the conversation with one member stands.

    Answers may be lost: what was ordered, and is neither held nor under way although the member
    heard of it, will not come; what it did not hear of is ordered again.
    """

    def __init__(self) -> None:
        self._newest = self._told = self._held = 0
        self._untold: dict[PieceIndex, None] = {}
        self._rejected: list[PieceIndex] = []

    @property
    def has_news(self) -> bool:
        """Tell whether there is anything that no answer has said."""
        return bool(self._untold or self._rejected)

    def order(self, piece: PieceIndex) -> None:
        """Have the next answer name a piece that is to be fetched."""
        self._untold[piece] = None

    def reject(self, pieces: Iterable[PieceIndex]) -> None:
        """Have the next answer say that these are not what they should be."""
        self._rejected += pieces

    def is_newest(self, said: Update) -> bool:
        """Take in an update's number; false: it was overtaken by a later one."""
        if said.number <= self._newest:
            return False
        self._newest = said.number
        return True

    def missed(self, said: Update, in_flight: Iterable[PieceIndex]) -> list[PieceIndex]:
        """Return what of the pieces in flight the member knows of and does not have under way."""
        under_way = frozenset(said.under_way)
        gone = [piece for piece in in_flight if piece not in under_way]
        if said.heard >= self._told:
            return [piece for piece in gone if piece not in self._untold]
        self._untold |= dict.fromkeys(gone)
        return []

    def hold(self) -> None:
        """The newest update is the one that waits for an answer now."""
        self._held = self._newest

    def take(self) -> tuple[list[PieceIndex], tuple[PieceIndex, ...]]:
        """Return what is to be ordered and what is rejected, for the answer to what is held."""
        told = list(self._untold), tuple(self._rejected)
        self._untold, self._rejected, self._told = {}, [], self._held
        return told
