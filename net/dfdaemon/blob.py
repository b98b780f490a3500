"""One content on this host: its pieces on disk, and everybody who reads them.

What brings the pieces is ``bring``; what keeps the file when nobody reads it is ``shelf``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from ...engine.ids import PeerId, PieceIndex, TaskId
from ...engine.records import dataclass
from ..http import FileSlice
from ..request import Progress
from .content import ContentFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..store import PieceStore

_MOST_AT_ONCE: Final = 16 << 20
"""Bytes in one slice, so that where a client is in the file is known well enough."""


@dataclass(frozen=True, slots=True)
class Label:
    """What a store of the daemon holds, as its log says; nothing in it is a secret.

    ``headers`` are the origin's.  ``is_public``: the origin gave it to somebody who showed no
    credentials.  ``length`` is what the origin promised, -1 unknown.
    """

    task: TaskId
    peer: PeerId
    digest: str
    headers: tuple[tuple[str, str], ...]
    is_public: bool
    length: int

    def encode(self) -> str:
        """Return the text for the store's log."""
        return msgspec.json.encode(self).decode()


def decode_label(text: str) -> Label | None:
    """Return what ``Label.encode`` wrote; ``None`` for anything else."""
    try:
        return msgspec.json.decode(text, type=Label)
    except msgspec.DecodeError:
        return None


class Blob:
    """One content, whole or growing; its readers wait for it and say how far they are.

    ``unsure`` are pieces of an earlier process that were not hashed again yet.  ``want`` is how
    whoever brings the pieces hears which byte is waited for.
    """

    def __init__(self, name: str, label: Label, *, is_complete: bool = False) -> None:
        self.name, self.label = name, label
        self.is_complete = is_complete
        self.is_public = label.is_public
        self.is_of_swarm = False
        self.was_hashed = False
        """Whether this process has seen all pieces to be right."""
        self.progress = Progress(length=label.length)
        self.store: PieceStore | None = None
        self.unsure: set[PieceIndex] = set()
        self.failure = ""
        self.is_resumable = False
        """Whether what is here of a content that failed is worth keeping."""
        self.used_at = time.time()
        self.readers = 0
        self.running: trio.CancelScope | None = None
        self.want: Callable[[int], None] | None = None
        self.on_left: Callable[[Blob], None] | None = None
        self._waiting: dict[Reading, int] = {}
        self._wanted = -1
        self._moved = trio.Event()

    @property
    def task(self) -> TaskId:
        """The task's id in the swarm."""
        return self.label.task

    @property
    def digest(self) -> str:
        """What the whole must hash to (``sha256:<hex>``), empty if nobody knows."""
        return self.label.digest

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The origin's headers."""
        return self.label.headers

    @property
    def length(self) -> int | None:
        """Bytes in all, as far as that is known."""
        if self.label.length >= 0:
            return self.label.length
        layout = self.store.layout if self.store is not None else None
        return layout.length if layout is not None and layout.length >= 0 else None

    @property
    def is_idle(self) -> bool:
        """Tell whether nobody reads it and nobody brings it."""
        return not self.readers and self.running is None

    @property
    def is_mostly_here(self) -> bool:
        """Tell whether finishing costs less than what is here did."""
        return 2 * self.progress.held_bytes >= (self.length or 1 << 62)

    def again(self) -> Blob:
        """Return the same content as an earlier run would have left it."""
        fresh = Blob(self.name, self.label)
        fresh.progress, fresh.is_public = self.progress, self.is_public
        fresh.used_at = self.used_at
        return fresh

    # --- readers ---

    def join(self) -> None:
        """Read it; ``leave`` must follow."""
        self.readers += 1
        self.used_at = time.time()

    def leave(self) -> None:
        """Read it no longer."""
        self.readers -= 1
        self.used_at = time.time()
        if not self.readers and self.on_left is not None:
            self.on_left(self)

    def read(self, first: int, last: int | None) -> Reading:
        """Iterate over a range of the content."""
        return Reading(self, first, last)

    async def known(self) -> None:
        """Wait until the length is known, or what is here says that only the end will tell.

        Raises ``ContentFailed``.
        """
        while self.length is None and (self.store is None or not self.store.held):
            await self.wait()

    async def wait(self) -> None:
        """Wait for whatever comes next; raises ``ContentFailed`` if nothing will."""
        if self.failure:
            raise ContentFailed(self.failure)
        await self._moved.wait()

    async def wait_for(self, reading: Reading, offset: int) -> None:
        """As ``wait``, for the byte at ``offset``: who brings the pieces hears of it."""
        self._waiting[reading] = offset
        try:
            self._pass_on_wish()
            await self.wait()
        finally:
            del self._waiting[reading]

    # --- whoever brings it ---

    def moved(self) -> None:
        """Something has changed: let everybody look."""
        self._moved.set()
        self._moved = trio.Event()

    def fail(self, reason: str) -> None:
        """There will be no more of it."""
        self.failure = self.failure or reason
        self.moved()

    def listens(self, want: Callable[[int], None] | None) -> None:
        """Have ``want`` told of the byte that is waited for."""
        self.want, self._wanted = want, -1
        self._pass_on_wish()

    def ready_until(self, offset: int, most: int) -> int:
        """Return how far from ``offset`` the content may be given out, at most ``most`` bytes."""
        store, end = self.store, offset
        layout = store.layout if store is not None else None
        if store is None or layout is None:
            return offset
        piece = PieceIndex(offset // layout.content_size)
        while end < offset + most and self._may_give(store, piece):
            end = layout.offset(piece) + store.held[piece][0]
            piece = PieceIndex(piece + 1)
        return max(offset, min(end, offset + most))

    def _may_give(self, store: PieceStore, piece: PieceIndex) -> bool:
        """Tell whether a piece is right, and not the last of a whole that is yet to be verified."""
        if piece not in store.held or piece in self.unsure:
            return False
        layout = store.layout
        if self.is_complete or layout is None:
            return self.is_complete
        return piece + 1 < layout.count if layout.length >= 0 else piece + 1 in store.held

    def _pass_on_wish(self) -> None:
        wanted = next(iter(self._waiting.values()), 0)
        if self.want is not None and wanted != self._wanted:
            self._wanted = wanted
            self.want(wanted)


class Reading:
    """The bytes of one range, in order, as they come."""

    def __init__(self, blob: Blob, first: int, last: int | None) -> None:
        self._blob, self._offset, self._last = blob, first, last
        self._voided: int | None = None

    def __aiter__(self) -> Reading:
        return self

    async def __anext__(self) -> bytes | FileSlice:
        """Return the next part; raises ``ContentFailed`` if it will never come."""
        blob = self._blob
        while True:
            self._check_content()
            end = self._end()
            if end is not None and self._offset >= end:
                raise StopAsyncIteration
            most = _MOST_AT_ONCE if end is None else min(_MOST_AT_ONCE, end - self._offset)
            until = blob.ready_until(self._offset, most)
            if until > self._offset:
                return self._slice(until)
            await blob.wait_for(self, self._offset)

    def _check_content(self) -> None:
        store = self._blob.store
        if store is not None and self._voided not in (None, store.voided):
            raise ContentFailed("the origin gives the content from its start again; ask again")

    def _end(self) -> int | None:
        length = self._blob.length
        if self._last is None or length is None:
            return length
        return min(self._last + 1, length)

    def _slice(self, until: int) -> FileSlice:
        store = self._blob.store
        assert store is not None
        self._voided = store.voided
        part = FileSlice(store.fd, self._offset, until - self._offset)
        self._offset = until
        return part
