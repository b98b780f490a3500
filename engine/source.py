"""Getting a file, or the rest of it, from its origin in parallel verified reads.

The first read asks for one span of the file and thereby learns its length and whether the origin
honours ranges; only then do further reads start beside it.  An origin that does not is read in
one stream from the beginning.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from .effects import CancelFetch, KeepPiece, LayOut, ReadOrigin, Tell
from .events import (
    OriginEnded,
    OriginFailed,
    OriginFailure,
    OriginOpened,
    OriginPieceStored,
)
from .ids import FetchId, TaskId
from .outcomes import Milestone
from .piece import UNKNOWN_LENGTH, PieceLayout
from .records import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .config import DownloadConfig
    from .effects import DownloadEffect
    from .events import OriginEvent
    from .holdings import Holdings

_MAX_RESTARTS = 2


@dataclass(slots=True)
class _Read:
    first: int
    last: int | None
    """Pieces asked for; ``None``: up to the end."""


class SourceReader:
    """The reads of one download from its origin."""

    def __init__(
        self, config: DownloadConfig, task: TaskId, holdings: Holdings, ids: Iterator[int]
    ) -> None:
        self._config, self._task, self._holdings, self._ids = config, task, holdings, ids
        self._reads: dict[FetchId, _Read] = {}
        self._opened = False
        self._ranged = not _asks_range(config.headers)
        self._failures = 0  # since the last piece that was new
        self._most = holdings.size  # what was ever held of this content
        self._restarts = 0
        self._retry_at: float | None = None

    def begin(self, out: list[DownloadEffect]) -> None:
        """Ask for the first span that is missing."""
        if self._holdings.layout is None:
            self._start_over(out)
        else:
            self._fill(out)

    def handle(
        self, event: OriginEvent, now: float, out: list[DownloadEffect]
    ) -> OriginFailed | None:
        """Take in what a read brought; return the failure that ends the whole attempt, if any."""
        if event.fetch not in self._reads:
            return None
        match event:
            case OriginOpened():
                return self._open(event, out)
            case OriginPieceStored(_, piece, size, digest):
                self._holdings.keep(piece, size, digest)
                if self._holdings.size > self._most:
                    self._most, self._failures = self._holdings.size, 0
                out.append(KeepPiece(piece, size, digest))
            case OriginEnded():
                del self._reads[event.fetch]
                self._learn_length(event.length, out)
                self._fill(out)
            case OriginFailed():
                return self._broke(event, now, out)
        return None

    def tick(self, now: float, out: list[DownloadEffect]) -> None:
        """Ask again when a pause is over."""
        if self._retry_at is not None and self._retry_at <= now:
            self._retry_at = None
            self._fill(out)

    def deadline(self) -> float | None:
        """Return when ``tick`` has something to do."""
        return self._retry_at

    def cancel(self, out: list[DownloadEffect]) -> None:
        """Give up every read."""
        out += [CancelFetch(fetch) for fetch in self._reads]
        self._reads.clear()
        self._retry_at = None

    def check(self) -> None:
        """Assert that no piece is read twice at once and that something is always under way."""
        spans = sorted((read.first, read.last) for read in self._reads.values() if read.last)
        for (_, last), (first, _) in pairwise(spans):
            assert last is not None
            assert last < first
        assert len(self._reads) <= self._config.origin_streams
        assert self._reads or self._retry_at is not None or self._holdings.is_complete

    def _fill(self, out: list[DownloadEffect]) -> None:
        """Start as many reads of missing spans as may run at once."""
        layout = self._holdings.layout
        assert layout is not None
        if self._retry_at is not None:
            return
        if layout.length < 0 or not self._ranged:
            if not self._reads and not self._holdings.is_complete:
                self._start_over(out)
            return
        streams = self._config.origin_streams if self._opened else 1
        most = max(1, self._config.origin_span_bytes // layout.content_size)
        for first, last in self._holdings.missing_spans(most):
            if len(self._reads) >= streams:
                return
            if not self._is_read(first, last):
                self._read(first, last, layout, out)

    def _is_read(self, first: int, last: int) -> bool:
        return any(
            read.last is None or (first <= read.last and read.first <= last)
            for read in self._reads.values()
        )

    def _start_over(self, out: list[DownloadEffect]) -> None:
        """Begin with nothing in hand, the length unknown."""
        size = self._config.origin_piece_size
        self._holdings.clear()
        self._holdings.lay_out(UNKNOWN_LENGTH, size, "")
        self._opened = False
        out.append(LayOut(self._task, UNKNOWN_LENGTH, size, "", keep=False))
        layout = PieceLayout(UNKNOWN_LENGTH, size)
        most = max(1, self._config.origin_span_bytes // layout.content_size)
        self._read(0, most - 1 if self._ranged else None, layout, out)

    def _read(
        self, first: int, last: int | None, layout: PieceLayout, out: list[DownloadEffect]
    ) -> None:
        fetch = FetchId(next(self._ids))
        self._reads[fetch] = _Read(first, last)
        end = None if last is None or not layout.length else (last + 1) * layout.content_size - 1
        if end is not None and layout.length > 0:
            end = min(end, layout.length - 1)
        out.append(
            ReadOrigin(
                fetch=fetch,
                task=self._task,
                url=self._config.url,
                headers=self._config.headers,
                piece_size=layout.piece_size,
                first_byte=first * layout.content_size,
                last_byte=end,
                validator=self._holdings.validator,
                insecure=self._config.insecure,
                root_cas=self._config.root_cas,
                plain=layout.plain,
            )
        )

    def _open(self, event: OriginOpened, out: list[DownloadEffect]) -> OriginFailed | None:
        layout = self._holdings.layout
        assert layout is not None
        if layout.length >= 0 and event.length != layout.length:
            reason = f"the length went from {layout.length} to {event.length} bytes"
            return self._changed(OriginFailed(event.fetch, OriginFailure.CHANGED, reason), out)
        if not event.ranged:
            self._ranged = False
            self._reads[event.fetch].last = None
        elif event.length < 0 and self._ranged:
            self._ranged = False
            reason = "the origin honours ranges but does not tell the length"
            return self._changed(OriginFailed(event.fetch, OriginFailure.CHANGED, reason), out)
        if event.validator:
            self._holdings.validator = event.validator
        self._opened = True
        self._learn_length(event.length, out)
        if self._ranged and event.length >= 0:
            self._fill(out)
        return None

    def _learn_length(self, length: int, out: list[DownloadEffect]) -> None:
        layout = self._holdings.layout
        assert layout is not None
        if length < 0 or layout.length == length:
            return
        size, plain, validator = layout.piece_size, layout.plain, self._holdings.validator
        fits = self._holdings.lay_out(length, size, validator, plain=plain)
        assert fits
        out.append(LayOut(self._task, length, size, validator, keep=True, plain=plain))

    def _broke(
        self, event: OriginFailed, now: float, out: list[DownloadEffect]
    ) -> OriginFailed | None:
        del self._reads[event.fetch]
        if event.failure is OriginFailure.CHANGED:
            return self._changed(event, out)
        self._failures += 1
        retries = self._config.origin_retries
        # What never answered is likelier to be named wrongly than to be back in a moment.
        allowed = retries if self._opened or self._holdings.held else min(1, retries)
        if event.is_final or self._failures > allowed:
            self.cancel(out)
            return event
        pause_s = self._config.origin_backoff_s * 2 ** (self._failures - 1)
        self._retry_at = now + pause_s
        out.append(Tell(Milestone.ORIGIN_RETRY, f"{event.reason}; again in {pause_s:g} s"))
        return None

    def _changed(self, event: OriginFailed, out: list[DownloadEffect]) -> OriginFailed | None:
        """The pieces in hand cannot be completed from this origin: all again."""
        self._restarts += 1
        self._most = 0
        self.cancel(out)
        if self._restarts > _MAX_RESTARTS:
            return event
        out.append(Tell(Milestone.ORIGIN_RETRY, f"{event.reason}; starting over"))
        self._start_over(out)
        return None


def _asks_range(headers: tuple[str, ...]) -> bool:
    return any(line.partition(":")[0].strip().lower() == "range" for line in headers)
