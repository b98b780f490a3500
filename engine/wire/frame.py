"""Dragonfly's wrapped piece: a view of plain content, made while sending (protocol 3.2 and 4.1).

A wrapped piece is ``uint32 head | content | 0x7f``.  The views here are tuples of ``Part``: bytes
to send as they are, and ranges of the plain file to send from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from ..errors import RemoteProtocolError
from ..ids import PieceIndex
from ..piece import HEAD_BYTES, WRAP_BYTES
from ..records import dataclass

if TYPE_CHECKING:
    from ..piece import PieceLayout

TAIL: Final = b"\x7f"
_CONTENT_MASK: Final = 0xFFFFFF
_HEAD_MASK: Final = 0xFFFFFFFF
_MAX_DIGITS: Final = 18  # always fits the signed 64 bits of a Go program


@dataclass(frozen=True, slots=True)
class ContentSlice:
    """``count`` bytes of the plain file from ``offset`` on; never empty."""

    offset: int
    count: int


Part: TypeAlias = bytes | ContentSlice


class RangeError(RemoteProtocolError):
    """A well-formed range of which the file has no byte: HTTP 416."""

    def __init__(self, message: str) -> None:
        super().__init__(message, status_hint=416)


def piece_head(content_size: int, piece_size: int) -> bytes:
    """Return the 4 bytes before the content of a piece; ``piece_size`` is the wrapped size."""
    return ((content_size | piece_size << 4) & _HEAD_MASK).to_bytes(HEAD_BYTES, "big")


def wrap(content: bytes, piece_size: int) -> bytes:
    """Return the whole wrapped piece around ``content``."""
    return piece_head(len(content), piece_size) + content + TAIL


def parse_head(head: bytes) -> int:
    """Return the content length that the first 4 bytes of a wrapped piece announce.

    Right for piece sizes that are multiples of 1 MiB, as all in practice are; with others the
    two halves of the head overlap.  Raises ``RemoteProtocolError`` on fewer than 4 bytes.
    """
    if len(head) < HEAD_BYTES:
        raise RemoteProtocolError(f"piece head of {len(head)} bytes: expected {HEAD_BYTES}")
    return int.from_bytes(head[:HEAD_BYTES], "big") & _CONTENT_MASK


def wrapped_parts(layout: PieceLayout, first: int, last: int) -> tuple[Part, ...]:
    """Return bytes ``first`` to ``last`` of all wrapped pieces laid end to end (the CDN file).

    ``last`` beyond the end is clipped, as nginx does.  While the length is unknown every piece
    counts as full, and a range must keep to one piece.  Raises ``RangeError``.
    """
    size = layout.piece_size
    if layout.length >= 0:
        end = min(last + 1, layout.wrapped_length)
    elif first // size == last // size:
        end = last + 1
    else:
        raise RangeError(f"bytes {first}-{last}: one piece at a time while the length is unknown")
    if not 0 <= first < end:
        raise RangeError(f"bytes {first}-{last}: none of them in this file")
    parts: list[Part] = []
    while first < end:
        piece, begin = divmod(first, size)
        stop = min(end, (piece + 1) * size)
        _cut(layout, PieceIndex(piece), begin, stop - piece * size, parts)
        first = stop
    return tuple(parts)


def upload_parts(
    first: int, last: int, piece_index: int, file_size: int, piece_size: int
) -> tuple[Part, ...]:
    """Return what a peer server answers to a piece request with these headers (protocol 3.2).

    ``first`` and ``last`` are the ``Range`` of the request, ``piece_index`` and ``piece_size`` its
    ``pieceNum`` and ``pieceSize``; ``file_size`` counts plain bytes.  Raises ``RangeError`` also
    for a start beyond the end, where Dragonfly sends garbage.
    """
    offset = first - WRAP_BYTES * piece_index
    room = last - first + 1 - WRAP_BYTES
    if piece_index < 0 or offset < 0 or room < 0 or offset >= max(file_size, 1):
        raise RangeError("range not satisfiable")
    count = min(room, file_size - offset)
    head = piece_head(count, piece_size)
    return (head, ContentSlice(offset, count), TAIL) if count else (head, TAIL)


def plain_parts(first: int, last: int, file_size: int) -> tuple[Part, ...]:
    """Return the answer to a piece request with ``cdnSource: source``: content, not wrapped.

    Raises ``RangeError`` for a start at or beyond the end.
    """
    if not 0 <= first < file_size:
        raise RangeError("range not satisfiable")
    return (ContentSlice(first, min(last + 1, file_size) - first),)


def parse_range(header: str) -> tuple[int, int]:
    """Return first and last byte of a peer server's ``Range`` header (protocol 3.2).

    The unit is not looked at.  Raises ``RemoteProtocolError`` (400) for anything but two numbers,
    the second above the first.
    """
    _, mark, bounds = header.partition("=")
    if not mark or "=" in bounds:
        raise RemoteProtocolError(f"invalid range: {header}")
    first_text, mark, last_text = bounds.partition("-")
    if not mark or "-" in last_text:
        raise RemoteProtocolError(f"invalid range: {bounds}")
    first, last = parse_number("range start", first_text), parse_number("range end", last_text)
    if last <= first:
        raise RemoteProtocolError(f"invalid range: {bounds}")
    return first, last


def parse_number(name: str, text: str) -> int:
    """Return the number in a header such as ``pieceNum``; raises ``RemoteProtocolError`` (400)."""
    number = decimal(text)
    if number is None:
        raise RemoteProtocolError(f"{name} {text[:40]!r}: expected a decimal number")
    return number


def decimal(text: str) -> int | None:
    """Return the number that ``text`` writes in at most 18 ASCII digits, else ``None``."""
    if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS:
        return int(text)
    return None


def _cut(layout: PieceLayout, piece: PieceIndex, begin: int, end: int, parts: list[Part]) -> None:
    count, offset = layout.size(piece), layout.offset(piece)
    if begin < HEAD_BYTES:
        parts.append(piece_head(count, layout.piece_size)[begin:end])
    low, high = max(begin - HEAD_BYTES, 0), min(end - HEAD_BYTES, count)
    if low < high:
        parts.append(ContentSlice(offset + low, high - low))
    if end > HEAD_BYTES + count:
        parts.append(TAIL)
