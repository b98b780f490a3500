"""Which piece next: rarest first, random among equals.  Told and asked; it never decides alone.

Rarity counts the copies that peers hold *and* those in flight to them, since counting only what
has arrived makes everybody fetch the same rare piece at once (performance 2.2, B).  The
supernode's own copy is not counted.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING, cast

from .bits import after, draw
from .ids import PieceIndex

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random


class Picker:
    """Copies of each piece of one task, kept as one set of pieces per number of copies."""

    def __init__(self) -> None:
        self._copies: list[int] = []
        self._pieces: dict[int, int] = {}  # copies -> set of pieces, no empty sets
        self._levels: list[int] = []  # keys of _pieces, ascending

    def add(self, piece: PieceIndex) -> None:
        """Make room for ``piece`` and all pieces before it, with no copies yet."""
        while len(self._copies) <= piece:
            self._enter(len(self._copies), 0)
            self._copies.append(0)

    def copies(self, piece: PieceIndex) -> int:
        """Return how many peers hold ``piece`` or are getting it."""
        return self._copies[piece]

    def gained(self, piece: PieceIndex) -> None:
        """A peer holds ``piece`` now, or has begun to fetch it."""
        self._move(piece, 1)

    def lost(self, piece: PieceIndex) -> None:
        """A copy counted by ``gained`` is no more."""
        self._move(piece, -1)

    def at_most(self, copies: int) -> int:
        """Return the set of pieces with at most ``copies`` copies."""
        pieces = 0
        for level in self._levels:
            if level > copies:
                break
            pieces |= self._pieces[level]
        return pieces

    def rarest(self, among: int, rng: Random) -> PieceIndex:
        """Return one of the rarest pieces of a set that is not empty."""
        for level in self._levels:
            if here := self._pieces[level] & among:
                return PieceIndex(draw(here, rng))
        raise AssertionError("a set of unknown pieces")

    def by_rarity(self, among: int, rng: Random) -> Iterator[PieceIndex]:
        """Yield the pieces of a set, rarest first, from a random one on among equals."""
        for level in self._levels:
            if not (here := self._pieces[level] & among):
                continue
            first = draw(here, rng)
            yield PieceIndex(first)  # mostly the only one that is asked for
            if here & here - 1:
                yield from cast("Iterator[PieceIndex]", after(here, first))

    def check(self) -> None:
        """Assert that the sets agree with the counts."""
        assert self._levels == sorted(self._pieces)
        assert all(self._pieces.values())
        counted: dict[int, int] = {}
        for piece, copies in enumerate(self._copies):
            assert copies >= 0
            counted[copies] = counted.get(copies, 0) | 1 << piece
        assert counted == self._pieces

    def _move(self, piece: PieceIndex, more: int) -> None:
        before, pieces, bit = self._copies[piece], self._pieces, 1 << piece
        copies = before + more
        if left := pieces[before] ^ bit:
            pieces[before] = left
        else:
            del pieces[before]
            del self._levels[bisect_left(self._levels, before)]
        self._copies[piece] = copies
        if (there := pieces.get(copies)) is not None:
            pieces[copies] = there | bit
        else:
            self._enter(piece, copies)

    def _enter(self, piece: int, copies: int) -> None:
        assert copies >= 0
        if copies not in self._pieces:
            insort(self._levels, copies)
            self._pieces[copies] = 0
        self._pieces[copies] |= 1 << piece
