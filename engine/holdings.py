"""What one download has: how its file is cut, and which pieces are verified on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .bits import each
from .events import HeldPiece
from .ids import PieceIndex
from .piece import PieceLayout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .piece import Digest


class Holdings:
    """The pieces of one file on this host."""

    def __init__(self) -> None:
        self.layout: PieceLayout | None = None
        self._count = -1
        """How many pieces the file has; -1 while that is unknown."""
        self.validator = ""
        self._held: dict[PieceIndex, HeldPiece] = {}
        self._mask = 0
        self.size = 0
        """Content bytes held."""
        self.wanted_from: int | None = None
        """The byte that somebody who reads in order waits for."""

    def lay_out(self, length: int, piece_size: int, validator: str, *, plain: bool = False) -> bool:
        """Cut the file so; return whether the pieces held so far fit and stay.

        They fit when the cut is the same, no length contradicts another, and the origin's
        content is not known to be another one.
        """
        before, layout = self.layout, PieceLayout(length, piece_size, plain)
        cut = piece_size, plain
        same_cut = before is not None and (before.piece_size, before.plain) == cut
        same_length = before is not None and (before.length < 0 or before.length == length)
        same_content = not self.validator or not validator or self.validator == validator
        fits = same_cut and same_length and same_content
        if not fits:
            self.clear()
        self.layout, self.validator = layout, validator or (self.validator if fits else "")
        self._count = layout.count if length >= 0 else -1
        return fits

    def clear(self) -> None:
        """Forget everything."""
        self.layout, self.validator = None, ""
        self._count = -1
        self._held.clear()
        self._mask = self.size = 0

    def keep(self, piece: PieceIndex, size: int, digest: Digest) -> None:
        """``piece`` is verified on disk."""
        if piece in self._held:
            self.drop(piece)
        self.size += size
        self._held[piece] = HeldPiece(piece, size, digest)
        self._mask |= 1 << piece

    def drop(self, piece: PieceIndex) -> None:
        """``piece`` is not what it should be."""
        if (held := self._held.pop(piece, None)) is not None:
            self.size -= held.size
            self._mask &= ~(1 << piece)

    def get(self, piece: PieceIndex) -> HeldPiece | None:
        """Return what is known of a piece that is held."""
        return self._held.get(piece)

    @property
    def wanted(self) -> PieceIndex | None:
        """The piece in which the byte lies that somebody waits for."""
        if self.wanted_from is None or self.layout is None:
            return None
        return PieceIndex(self.wanted_from // self.layout.content_size)

    @property
    def held(self) -> tuple[HeldPiece, ...]:
        """All pieces held, in the order in which they came."""
        return tuple(self._held.values())

    @property
    def is_complete(self) -> bool:
        """Tell whether every piece is held; never while the length is unknown."""
        return len(self._held) == self._count

    def missing_spans(self, most: int) -> Iterator[tuple[PieceIndex, PieceIndex]]:
        """Yield runs of missing pieces as (first, last), each at most ``most`` pieces long.

        What lies before the byte that somebody waits for comes last.
        """
        assert self.layout is not None
        missing = ~self._mask & ((1 << self.layout.count) - 1)
        before = (1 << (self.wanted or 0)) - 1
        yield from _spans(missing & ~before, most)
        yield from _spans(missing & before, most)

    def check(self) -> None:
        """Recount."""
        assert self._mask == sum(1 << piece for piece in self._held)
        assert self.size == sum(held.size for held in self._held.values())
        assert not self._held or self.layout is not None
        if self.layout is not None and self.layout.length >= 0:
            assert self._mask >> self.layout.count == 0
            for held in self._held.values():
                assert held.size == self.layout.size(held.piece)


def _spans(pieces: int, most: int) -> Iterator[tuple[PieceIndex, PieceIndex]]:
    first = last = -1
    for piece in each(pieces):
        if first >= 0 and (piece != last + 1 or piece - first >= most):
            yield PieceIndex(first), PieceIndex(last)
            first = piece
        elif first < 0:
            first = piece
        last = piece
    if first >= 0:
        yield PieceIndex(first), PieceIndex(last)
