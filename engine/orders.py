"""Which of several pieces next: small classes with that one question to answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .bits import draw, each, lowest, turn
from .ids import PieceIndex

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from .picker import Picker


class PieceOrder(Protocol):
    """An order of pieces, given as sets."""

    def first(self, pieces: int, /) -> PieceIndex:
        """Return the next piece of a set that is not empty."""
        ...

    def each(self, pieces: int, /) -> Iterator[PieceIndex]:
        """Yield all pieces of a set in order."""
        ...


class RarestFirst:
    """The piece of which there are fewest copies, those in flight counted; random among equals."""

    def __init__(self, picker: Picker, rng: Random) -> None:
        self._picker, self._rng = picker, rng

    def first(self, pieces: int) -> PieceIndex:
        """Return one of the rarest."""
        return self._picker.rarest(pieces, self._rng)

    def each(self, pieces: int) -> Iterator[PieceIndex]:
        """Yield the rarest first."""
        return self._picker.by_rarity(pieces, self._rng)


class RandomOrder:
    """Any piece."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def first(self, pieces: int) -> PieceIndex:
        """Return some piece."""
        return PieceIndex(draw(pieces, self._rng))

    def each(self, pieces: int) -> Iterator[PieceIndex]:
        """Yield them from a random one on."""
        return map(PieceIndex, turn(pieces, self._rng))


class Sequential:
    """From the front, as whoever plays the file wants them."""

    def first(self, pieces: int) -> PieceIndex:
        """Return the first piece of the file."""
        return PieceIndex(lowest(pieces))

    def each(self, pieces: int) -> Iterator[PieceIndex]:
        """Yield them from the front."""
        return map(PieceIndex, each(pieces))
