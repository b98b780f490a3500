"""The MD5s of one copy: only v1 peers need them, so they are made when the first of them comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .cdn import CdnPhase
from .effects import HashCopy, HashPiece
from .piece import WRAP_BYTES

if TYPE_CHECKING:
    from .cdn import CdnCopy
    from .effects import SupernodeEffect
    from .ids import PieceIndex, TaskId


class CopyMd5s:
    """Those of the wrapped pieces and of the content, as far as they are asked for and known."""

    def __init__(self, task: TaskId, copy: CdnCopy) -> None:
        self._task, self._copy = task, copy
        self._pieces: dict[PieceIndex, str] = {}
        self._offered: dict[PieceIndex, str] = {}  # with the lengths, once those are known
        self._are_wanted = self._is_hashing = False

    @property
    def is_settled(self) -> bool:
        """Tell whether the MD5 of the content is known, or nobody is finding it out."""
        if self._copy.md5:
            return True
        return not self._is_hashing and self._copy.phase in (CdnPhase.COMPLETE, CdnPhase.FAILED)

    def want(self, out: list[SupernodeEffect]) -> None:
        """Have everything hashed that is here, and from now on whatever comes."""
        if self._are_wanted or self._copy.is_source:
            return
        self._are_wanted = True
        size = self._copy.piece_size
        out += [HashPiece(self._task, piece, size) for piece in self._copy.digests]
        self.completed(out)

    def stored(self, piece: PieceIndex, out: list[SupernodeEffect]) -> None:
        """A piece of the copy has come."""
        if self._are_wanted:
            out.append(HashPiece(self._task, piece, self._copy.piece_size))

    def completed(self, out: list[SupernodeEffect]) -> None:
        """The copy may be complete now."""
        if self._are_wanted and self._copy.phase is CdnPhase.COMPLETE and not self._copy.md5:
            self._is_hashing = True
            out.append(HashCopy(self._task, self._copy.length))

    def hashed(self, piece: PieceIndex, md5: str) -> None:
        """The MD5 of a wrapped piece is known."""
        self._pieces[piece] = md5
        self._offered.pop(piece, None)

    def hashed_whole(self, md5: str) -> bool:
        """The MD5 of the content is known; false: that was of a copy before this one."""
        if not self._is_hashing:
            return False
        self._is_hashing = False
        self._copy.hashed(md5)
        return True

    def of(self, piece: PieceIndex) -> str:
        """Return the MD5 of a wrapped piece in hex, empty: not known."""
        return self._pieces.get(piece, "")

    def offered(self, piece: PieceIndex) -> str:
        """Return ``<hex>:<wrapped length>`` as offers have it, empty: not known."""
        if (offered := self._offered.get(piece)) is not None:
            return offered
        if not (known := self._pieces.get(piece)):
            return ""
        if (layout := self._copy.layout) is None:
            return f"{known}:{self._copy.piece_size}"
        found = self._offered[piece] = f"{known}:{layout.size(piece) + WRAP_BYTES}"
        return found
