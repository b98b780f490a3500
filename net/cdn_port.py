"""The supernode's download port: ranges of the wrapped files (protocol 4.1, 4.2)."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final

from ..engine.errors import RemoteProtocolError
from ..engine.ids import PieceIndex, TaskId
from ..engine.wire.frame import (
    TAIL,
    ContentSlice,
    RangeError,
    piece_head,
    wrapped_parts,
)
from .http import FileSlice, HttpRequest, HttpResponse, text_response
from .pacing import Bandwidth, bucket, pace_of

if TYPE_CHECKING:
    from ..engine.piece import PieceLayout
    from ..engine.wire.frame import Part
    from .cdn import CdnStores
    from .copy import Copy

_PATH: Final = re.compile(r"/download/([0-9a-f]{3})/(\1[0-9a-f]{61})")
_RANGE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


class DownloadPort:
    """Gives out pieces that were hashed by this process, within the limit for all uploads."""

    def __init__(self, copies: CdnStores, bandwidth: Bandwidth) -> None:
        self._copies = copies
        self._pace = pace_of(bucket(bandwidth.usable_bytes_per_s))
        self.upload_bytes = 0

    async def serve(self, request: HttpRequest) -> HttpResponse:
        """Answer a request."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponse(405)
        found = _PATH.fullmatch(request.target.partition("?")[0])
        copy = self._copies.find(TaskId(found[2])) if found is not None else None
        if copy is None:
            return text_response(404, f"no such file here: {request.target[:200]}")
        try:
            return self._answer(copy, request.header("range"))
        except RemoteProtocolError as error:
            return text_response(error.status_hint, str(error))

    def _answer(self, copy: Copy, wanted: str | None) -> HttpResponse:
        layout = copy.store.layout
        if layout is None:
            return text_response(404, "nothing of this file is here yet")
        first, last = _bounds(wanted or "bytes=0-", layout)
        if layout.length < 0:
            parts = _piece_of_unknown(copy, layout, first, last)
        else:
            parts = wrapped_parts(layout, first, last)
            last = min(last, layout.wrapped_length - 1)
            _check_sound(copy, first // layout.piece_size, last // layout.piece_size)
        headers = [("Accept-Ranges", "bytes")]
        if wanted is not None:
            total = layout.wrapped_length if layout.length >= 0 else "*"
            headers.insert(0, ("Content-Range", f"bytes {first}-{last}/{total}"))
        copy.take()
        return HttpResponse(
            200 if wanted is None else 206,
            tuple([_sendable(part, copy.store.fd) for part in parts]),
            headers=tuple(headers),
            on_closed=partial(self._uploaded, copy),
            pace=self._pace,
        )

    def _uploaded(self, copy: Copy, _complete: bool, count: int) -> None:
        self.upload_bytes += count
        copy.release()


def _sendable(part: Part, fd: int) -> bytes | FileSlice:
    return FileSlice(fd, part.offset, part.count) if isinstance(part, ContentSlice) else part


def _bounds(wanted: str, layout: PieceLayout) -> tuple[int, int]:
    """Return the first and last byte that a ``Range`` header means, the last perhaps too high."""
    found = _RANGE.fullmatch(wanted.strip())
    if found is None or found[0] == "bytes=-":
        raise RemoteProtocolError(f"range {wanted[:80]!r}: expected bytes=first-last, one range")
    first, last = found.groups()
    end = layout.wrapped_length if layout.length >= 0 else 0
    if not first:
        return max(0, end - int(last)), end - 1
    return int(first), int(last) if last else end - 1


def _check_sound(copy: Copy, first: int, last: int) -> None:
    for piece in range(first, last + 1):
        if PieceIndex(piece) not in copy.sound:
            raise RangeError(f"piece {piece} is not here yet")


def _piece_of_unknown(copy: Copy, layout: PieceLayout, first: int, last: int) -> tuple[Part, ...]:
    """Return one whole piece while nobody knows where the file ends."""
    piece = PieceIndex(first // layout.piece_size)
    if (first, last) != layout.wrapped_range(piece) or piece not in copy.sound:
        raise RangeError(f"bytes {first}-{last}: not a piece that is here")
    size = copy.store.held[piece][0]
    return (
        piece_head(size, layout.piece_size),
        *((ContentSlice(layout.offset(piece), size),) if size else ()),
        TAIL,
    )
