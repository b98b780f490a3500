"""A simulated machine: its address, its access links, its disk; and the file everybody wants."""

from __future__ import annotations

from functools import cache
from hashlib import md5, sha256
from typing import TYPE_CHECKING

from ..engine.ids import PieceIndex
from ..engine.piece import Digest
from .links import Link

if TYPE_CHECKING:
    from ..engine.piece import PieceLayout
    from .transfers import PieceTransfer, Server


class Content:
    """The one true file.  Its bytes exist only as the digests that they would have."""

    def __init__(self, layout: PieceLayout) -> None:
        self.length, self.piece_size = layout.length, layout.piece_size
        self.sizes = tuple(layout.size(PieceIndex(piece)) for piece in range(layout.count))
        """Content bytes of each piece."""
        self.md5 = md5(b"file").hexdigest()
        self.validator = '"v1"'

    def digest(self, piece: PieceIndex, like: Digest, *, corrupt: bool = False) -> Digest:
        """Return the digest of a piece in the form of ``like``, a SHA-256 where that is empty."""
        return _digest("md5" if like.startswith("md5:") else "sha256", piece, corrupt)

    def sha256(self, piece: PieceIndex) -> Digest:
        """Return the right SHA-256 of a piece."""
        return _digest("sha256", piece, False)


@cache
def _digest(form: str, piece: PieceIndex, corrupt: bool) -> Digest:
    text = f"{'corrupt ' if corrupt else ''}piece {piece}".encode()
    return Digest(f"{form}:{(md5 if form == 'md5' else sha256)(text).hexdigest()}")


class Host:
    """Where bytes come from and go to.

    ``disk`` tells of each piece on it whether its bytes are bad; ``serves`` are those that others
    may have.  ``server`` answers whoever asks, while the host ``listens``; ``uploads`` are the
    pieces it is sending.
    """

    __slots__ = (
        "disk",
        "down",
        "ip",
        "is_supernode",
        "listens",
        "port",
        "server",
        "serves",
        "up",
        "uploads",
    )

    def __init__(
        self,
        ip: str,
        port: int,
        up_bytes_per_s: float,
        down_bytes_per_s: float,
        *,
        is_supernode: bool,
    ) -> None:
        self.ip, self.port, self.is_supernode = ip, port, is_supernode
        self.up, self.down = Link(up_bytes_per_s), Link(down_bytes_per_s)
        self.listens = True
        self.disk: dict[PieceIndex, bool] = {}
        self.serves: dict[PieceIndex, None] = {}
        self.server: Server
        self.uploads: dict[PieceTransfer, None] = {}
