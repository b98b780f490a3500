"""A heat map as a PNG with one pixel a cell, small enough to stand in the page itself."""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..recorder import HeatMap

SCALE_COLOURS: Final = (
    *((68, 1, 84), (72, 40, 120), (62, 74, 137), (49, 104, 142), (38, 130, 142)),
    *((31, 158, 137), (53, 183, 121), (110, 206, 88), (181, 222, 43), (253, 231, 37)),
)
"""From early to late, evenly spaced: viridis, which is read alike by all eyes and in grey."""
_INDEXED: Final = 3
_BLANK: Final = 0
"""The palette's transparent entry; the others, 1 to 255, are the scale."""


def data_uri(heat: HeatMap, latest_s: float) -> str:
    """Return the picture as a ``data:`` URI; ``latest_s`` is where the colours end."""
    return f"data:image/png;base64,{b64encode(_png(heat, latest_s)).decode()}"


def _png(heat: HeatMap, latest_s: float) -> bytes:
    """Return an indexed PNG (RFC 2083)."""
    factor = 254 / latest_s if latest_s > 0 else 0.0
    indexes = bytes(
        _BLANK if when is None else 1 + min(254, round(when * factor)) for when in heat.arrived_s
    )
    width, height = max(1, heat.columns), max(1, heat.rows)
    rows = b"".join(
        b"\0" + indexes[row * width : (row + 1) * width].ljust(width, b"\0")
        for row in range(height)
    )
    palette = bytes(3) + b"".join(bytes(_colour(number / 254)) for number in range(255))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, _INDEXED, 0, 0, 0)),
            _chunk(b"PLTE", palette),
            _chunk(b"tRNS", b"\0"),
            _chunk(b"IDAT", zlib.compress(rows, 9)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _colour(place: float) -> tuple[int, int, int]:
    """Return the colour at a place from 0 to 1 of the scale."""
    below = min(int(place * (len(SCALE_COLOURS) - 1)), len(SCALE_COLOURS) - 2)
    part = place * (len(SCALE_COLOURS) - 1) - below
    pairs = zip(SCALE_COLOURS[below], SCALE_COLOURS[below + 1], strict=True)
    red, green, blue = (round(low + part * (high - low)) for low, high in pairs)
    return red, green, blue
