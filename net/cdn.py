"""The supernode's copies on disk: filled from origins, given out as wrapped pieces (protocol 4.2).

The content lies plain at ``<home>/repo/download/<3>/<taskId>``; the wrapped file that v1 clients
expect there is a view made while sending.  A copy that an earlier run left is hashed again and
used as far as it goes: the read then begins behind it, on the condition that the origin still
has the same content.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from ..engine.errors import RemoteProtocolError
from ..engine.events import (
    OriginEvent,
    OriginFailed,
    OriginFailure,
    OriginOpened,
    OriginPieceStored,
    PieceHashed,
)
from ..engine.ids import PieceIndex, TaskId
from ..engine.messages import DigestForm
from ..engine.wire.frame import (
    TAIL,
    ContentSlice,
    RangeError,
    parse_range,
    piece_head,
    wrapped_parts,
)
from .http import FileSlice, HttpRequest, HttpResponse, text_response
from .store import PieceStore, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..engine.effects import HashPiece, ReadOrigin
    from ..engine.events import HeldPiece
    from ..engine.wire.frame import Part
    from .origin import OriginReader

_PREFIX: Final = "/download/"


@dataclass(slots=True, eq=False)
class _Copy:
    store: PieceStore
    users: int = 0
    """Uploads and reads under way."""
    forgotten: bool = False


class CdnStores:
    """All copies of one supernode, and the two things done with them: reading and giving."""

    def __init__(self, repo: Path, reader: OriginReader) -> None:
        self._folder, self._reader = repo / "download", reader
        self._copies: dict[TaskId, _Copy] = {}
        self._hashing = trio.CapacityLimiter(2)
        self.origin_bytes = 0
        self.upload_bytes = 0

    # --- filling ---

    async def read(self, effect: ReadOrigin, post: Callable[[OriginEvent], None]) -> None:
        """Perform a read, the cached part from disk and the rest from the origin."""
        try:
            copy, fill = await self._open(effect, post)
        except (OSError, StoreError) as error:
            reason = f"cannot keep task {effect.task} under {self._folder}: {error}"
            post(OriginFailed(effect.fetch, OriginFailure.STORE_FAILED, reason))
            return
        copy.users += 1
        try:
            await self._reader.read(fill.shorten(effect), copy.store, fill.take, self._count)
            if fill.is_void:
                again = _Fill(copy.store, (), post)
                await self._reader.read(effect, copy.store, again.take, self._count)
        finally:
            self._release(copy)

    async def hash(self, effect: HashPiece, post: Callable[[PieceHashed], None]) -> None:
        """Perform a ``HashPiece`` off the event loop."""
        copy = self._copies.get(effect.task)
        held = copy.store.held.get(effect.piece) if copy is not None else None
        if copy is None or held is None:
            return
        copy.users += 1
        try:
            digest = await trio.to_thread.run_sync(
                copy.store.digest,
                effect.piece,
                held[0],
                DigestForm.MD5_WRAPPED,
                limiter=self._hashing,
            )
            post(PieceHashed(effect.task, effect.piece, digest.removeprefix("md5:")))
        finally:
            self._release(copy)

    def forget(self, task: TaskId) -> None:
        """Close a copy once nobody uses it; its files stay for the next time."""
        copy = self._copies.pop(task, None)
        if copy is not None:
            copy.forgotten = True
            copy.users += 1
            self._release(copy)

    def close(self) -> None:
        """Close all copies."""
        for copy in self._copies.values():
            copy.store.close()
        self._copies.clear()

    # --- giving ---

    async def serve(self, request: HttpRequest) -> HttpResponse:
        """Answer a request to the download port: a range of the wrapped file."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponse(405)
        task = request.target.partition("?")[0].removeprefix(_PREFIX).partition("/")[2]
        copy = self._copies.get(TaskId(task))
        if copy is None or not request.target.startswith(_PREFIX):
            return text_response(404, f"no such file here: {request.target[:200]}")
        try:
            return self._answer(copy, request.header("range"))
        except RemoteProtocolError as error:
            return text_response(error.status_hint, str(error))

    def _answer(self, copy: _Copy, wanted: str | None) -> HttpResponse:
        store, layout = copy.store, copy.store.layout
        if layout is None:
            return text_response(404, "nothing of this file is here yet")
        if wanted is None:
            first, last = 0, layout.wrapped_length - 1 if layout.length >= 0 else 0
        else:
            first, last = parse_range(wanted)
        if layout.length < 0:
            parts = _piece_of_unknown(store, first, last)
        else:
            parts = wrapped_parts(layout, first, last)
            last = min(last, layout.wrapped_length - 1)
            for piece in range(first // layout.piece_size, last // layout.piece_size + 1):
                if PieceIndex(piece) not in store.held:
                    raise RangeError(f"piece {piece} is not here yet")
        copy.users += 1
        headers = ()
        if wanted is not None:
            total = layout.wrapped_length if layout.length >= 0 else "*"
            headers = (("Content-Range", f"bytes {first}-{last}/{total}"),)
        return HttpResponse(
            200 if wanted is None else 206,
            tuple(
                FileSlice(store.fd, part.offset, part.count)
                if isinstance(part, ContentSlice)
                else part
                for part in parts
            ),
            headers=(*headers, ("Accept-Ranges", "bytes")),
            on_closed=partial(self._uploaded, copy),
        )

    # --- inside ---

    async def _open(
        self, effect: ReadOrigin, post: Callable[[OriginEvent], None]
    ) -> tuple[_Copy, _Fill]:
        """Return the copy to fill, with what an earlier run left of it."""
        if (copy := self._copies.get(effect.task)) is not None:
            return copy, _Fill(copy.store, (), post, keep=True)
        path = self._folder / effect.task[:3] / effect.task
        cached: tuple[HeldPiece, ...] = ()
        try:
            store = await trio.to_thread.run_sync(PieceStore.open, path)
            cached = await trio.to_thread.run_sync(store.rehash)
        except StoreError:
            store = await trio.to_thread.run_sync(PieceStore.create, path, str(effect.task))
        copy = self._copies[effect.task] = _Copy(store)
        return copy, _Fill(store, cached, post)

    def _count(self, count: int) -> None:
        self.origin_bytes += count

    def _uploaded(self, copy: _Copy, _complete: bool, count: int) -> None:
        self.upload_bytes += count
        self._release(copy)

    def _release(self, copy: _Copy) -> None:
        copy.users -= 1
        if copy.forgotten and not copy.users:
            copy.store.close()


class _Fill:
    """Puts a cached beginning before what a read brings, and lays the store out."""

    def __init__(
        self,
        store: PieceStore,
        cached: tuple[HeldPiece, ...],
        post: Callable[[OriginEvent], None],
        *,
        keep: bool = False,
    ) -> None:
        self._store, self._post = store, post
        self.is_void = False
        layout = store.layout
        whole = layout.count if layout is not None and layout.length >= 0 else 0
        prefix = 0
        while prefix < min(len(cached), whole - 1) and cached[prefix].piece == prefix:
            prefix += 1
        self._cached = cached[:prefix] if store.validator else ()
        self._keep = keep or bool(self._cached)

    def shorten(self, effect: ReadOrigin) -> ReadOrigin:
        """Ask only for what is not cached, if the origin still has the same content.

        The last piece is asked for even if it is cached: its answer is the origin's word that
        nothing has changed.
        """
        layout = self._store.layout
        if not self._cached or layout is None:
            return effect
        return replace(
            effect,
            piece_size=layout.piece_size,
            first_byte=layout.offset(PieceIndex(len(self._cached))),
            validator=self._store.validator,
            wants_md5=False,
        )

    def take(self, event: OriginEvent) -> None:
        """Pass an event on, behind the disk work that it stands for."""
        store = self._store
        match event:
            case OriginFailed(_, OriginFailure.CHANGED) if self._cached:
                self.is_void = True
                return
            case OriginOpened(_, length, piece_size, _, validator):
                layout = store.layout
                same_cut = layout is not None and layout.piece_size == piece_size
                store.lay_out(length, piece_size, validator, keep=same_cut and self._keep)
                self._post(event)
                for held in self._cached:
                    self._post(OriginPieceStored(event.fetch, held.piece, held.size, held.digest))
                self._cached = ()
                return
            case OriginPieceStored(_, piece, size, digest):
                store.keep(piece, size, digest)
            case _:
                pass
        self._post(event)


def _piece_of_unknown(store: PieceStore, first: int, last: int) -> tuple[Part, ...]:
    """Return one whole piece while nobody knows where the file ends."""
    layout = store.layout
    assert layout is not None
    piece = PieceIndex(first // layout.piece_size)
    if (first, last) != layout.wrapped_range(piece) or piece not in store.held:
        raise RangeError(f"bytes {first}-{last}: not a piece that is here")
    size = store.held[piece][0]
    return (
        piece_head(size, layout.piece_size),
        *((ContentSlice(layout.offset(piece), size),) if size else ()),
        TAIL,
    )
