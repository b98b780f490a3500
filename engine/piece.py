"""How a file is cut: content offsets, Dragonfly's wrapped ranges, digests, and sizes by policy.

A *wrapped* piece is a 4-byte head, the content and one closing byte (protocol 4.1), so a piece
of ``piece_size`` bytes on the wire carries ``piece_size - 5`` bytes of the file.  A *plain* one,
of a file that peers read from the origin themselves, is bytes of the file alone (protocol 4.3).
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Final, NewType

from .errors import ConfigError
from .records import dataclass

if TYPE_CHECKING:
    from .ids import PieceIndex

MIB: Final = 1 << 20
WRAP_BYTES: Final = 5
HEAD_BYTES: Final = 4
MAX_PIECE_SIZE: Final = 15 * MIB
UNKNOWN_LENGTH: Final = -1

Digest = NewType("Digest", str)
"""``sha256:<hex>`` of a piece's content, ``md5:<hex>`` of a wrapped piece, or empty: unknown."""

NO_DIGEST: Final = Digest("")


class DigestForm(IntEnum):
    """Which piece digest a peer asks for: MD5 of the wrapped piece, or SHA-256 of its content."""

    MD5_WRAPPED = 0
    SHA256 = 1


class PieceSizePolicy(Enum):
    """Who decides how large a piece is."""

    ADAPTIVE = "adaptive"
    DRAGONFLY = "dragonfly"

    def piece_size(self, length: int, *, few_hosts: bool = False) -> int:
        """Return the wrapped piece size for a file of ``length`` bytes (-1: unknown).

        Dragonfly's formula is protocol 5.3.  The adaptive one keeps to 1 MiB while that makes at
        most 512 pieces, since small pieces bring a swarm nearest to its bound (performance 2.2);
        but a swarm of ``few_hosts`` has little to gain from more than 64 pieces, of up to 4 MiB,
        and every piece costs its hosts CPU time.
        """
        if self is PieceSizePolicy.DRAGONFLY:
            extra = max(0, length // (100 * MIB) - 2) if length > 200 * MIB else 0
            return min(4 * MIB + extra * MIB, MAX_PIECE_SIZE)
        if length < 0:
            return 4 * MIB
        least = -(-length // (512 * MIB))
        if few_hosts:
            least = max(least, min(length // (64 * MIB), 4))
        return min(max(1, least) * MIB, MAX_PIECE_SIZE)


@dataclass(frozen=True, slots=True)
class PieceLayout:
    """Where each piece of one file lies; ``length`` is -1 while nobody knows it."""

    length: int
    piece_size: int
    plain: bool = False

    def __post_init__(self) -> None:
        if not WRAP_BYTES < self.piece_size <= MAX_PIECE_SIZE:
            raise ConfigError(
                f"piece size {self.piece_size}: expected {WRAP_BYTES + 1} to {MAX_PIECE_SIZE} bytes"
            )

    @property
    def wrap_bytes(self) -> int:
        """What is around the content of each piece on the wire."""
        return 0 if self.plain else WRAP_BYTES

    @property
    def content_size(self) -> int:
        """Bytes of the file in every piece but the last."""
        return self.piece_size if self.plain else self.piece_size - WRAP_BYTES

    @property
    def count(self) -> int:
        """Number of pieces; an empty file has one empty piece."""
        assert self.length >= 0, "the length is not known"
        return max(1, -(-self.length // self.content_size))

    @property
    def wrapped_length(self) -> int:
        """Size of all pieces laid end to end as they are on the wire."""
        return self.length + self.wrap_bytes * self.count

    def offset(self, piece: PieceIndex) -> int:
        """First byte of ``piece`` in the plain file."""
        return piece * self.content_size

    def size(self, piece: PieceIndex) -> int:
        """Content bytes of ``piece``; the full size while the length is unknown."""
        full = self.content_size
        left = self.length - piece * full
        return full if left >= full or self.length < 0 else max(0, left)

    def wrapped_range(self, piece: PieceIndex) -> tuple[int, int]:
        """First and last byte of a piece on the wire, never shortened for the last piece."""
        return piece * self.piece_size, (piece + 1) * self.piece_size - 1


def length_of_wrapped(wrapped_length: int, piece_size: int) -> int:
    """Return the content length of a file whose wrapped pieces fill ``wrapped_length`` bytes."""
    return wrapped_length - WRAP_BYTES * max(1, -(-wrapped_length // piece_size))
