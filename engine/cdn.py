"""The supernode's own copy of one file: read from the origin once, resumed where it broke.

Its life is ``LIFE``; the drawing in this folder's README is made from it.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from .effects import CancelFetch, ReadOrigin
from .events import (
    OriginEnded,
    OriginFailed,
    OriginFailure,
    OriginOpened,
    OriginPieceStored,
)
from .ids import PieceIndex
from .piece import UNKNOWN_LENGTH, PieceLayout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .config import SupernodeConfig
    from .effects import SupernodeEffect
    from .events import OriginEvent
    from .ids import FetchId, TaskId
    from .messages import Register
    from .piece import Digest


class CdnPhase(Enum):
    """Where the supernode's copy stands."""

    OPENING = auto()
    """The origin was asked; its head has not come."""
    READING = auto()
    """Pieces are coming."""
    BACKING_OFF = auto()
    """The read broke and will be resumed."""
    COMPLETE = auto()
    FAILED = auto()


class CdnTrigger(Enum):
    """What moves the copy from phase to phase."""

    OPENED = auto()
    BROKE = auto()
    RETRIED = auto()
    ENDED = auto()
    GAVE_UP = auto()


LIFE: Final[Mapping[CdnPhase, Mapping[CdnTrigger, CdnPhase]]] = {
    CdnPhase.OPENING: {
        CdnTrigger.OPENED: CdnPhase.READING,
        CdnTrigger.BROKE: CdnPhase.BACKING_OFF,
        CdnTrigger.GAVE_UP: CdnPhase.FAILED,
    },
    CdnPhase.READING: {
        CdnTrigger.ENDED: CdnPhase.COMPLETE,
        CdnTrigger.BROKE: CdnPhase.BACKING_OFF,
        CdnTrigger.GAVE_UP: CdnPhase.FAILED,
    },
    CdnPhase.BACKING_OFF: {CdnTrigger.RETRIED: CdnPhase.OPENING},
    CdnPhase.COMPLETE: {},
    CdnPhase.FAILED: {},
}


class CdnCopy:
    """What the supernode holds of one task, and the read that brings the rest."""

    def __init__(self, task: TaskId, wanted: Register, config: SupernodeConfig) -> None:
        self.task, self._wanted, self._config = task, wanted, config
        self.phase = CdnPhase.OPENING
        self.length = UNKNOWN_LENGTH
        self.piece_size = 0
        self.validator = ""
        self.md5 = ""
        self.digests: dict[PieceIndex, Digest] = {}
        self.failure: OriginFailed | None = None
        self.retry_at: float | None = None
        self._fetch: FetchId | None = None
        self._ranged = True
        self._next = 0  # pieces stored without a gap: reads are in order
        self._reading = PieceIndex(0)  # the piece the read under way brings next
        self._failures = 0  # since the last piece

    @property
    def layout(self) -> PieceLayout | None:
        """How the file is cut, once its length is known."""
        return PieceLayout(self.length, self.piece_size) if self.length >= 0 else None

    @property
    def reads_as(self) -> FetchId | None:
        """The read under way."""
        return self._fetch

    def open(self, fetch: FetchId) -> ReadOrigin:
        """Begin, or resume behind the last piece."""
        if self.phase is CdnPhase.BACKING_OFF:
            self._move(CdnTrigger.RETRIED)
        self._fetch, self.retry_at = fetch, None
        wanted = self._wanted
        resumes = self._next > 0 and self._ranged
        self._reading = PieceIndex(self._next if resumes else 0)
        cut = PieceLayout(self.length, self.piece_size) if resumes else None
        return ReadOrigin(
            fetch=fetch,
            task=self.task,
            url=wanted.raw_url,
            headers=wanted.headers,
            piece_size=self.piece_size or self._config.piece_size_policy,
            first_byte=cut.offset(self._reading) if cut else 0,
            validator=self.validator if resumes else "",
            wants_md5=bool(wanted.md5) and not resumes,
            insecure=wanted.insecure,
        )

    def handle(self, event: OriginEvent, now: float) -> list[SupernodeEffect]:
        """Take in what a read brought; events of a read given up are ignored."""
        if event.fetch != self._fetch:
            return []
        match event:
            case OriginOpened():
                self._opened(event)
            case OriginPieceStored():
                self._stored(event)
            case OriginEnded():
                self._ended(event)
            case OriginFailed():
                self._broke(event, now)
        if self.phase is CdnPhase.FAILED and not isinstance(event, OriginEnded | OriginFailed):
            return [CancelFetch(event.fetch)]
        return []

    def give_up(self) -> list[SupernodeEffect]:
        """Stop reading; nobody wants the task any more."""
        fetch, self._fetch, self.retry_at = self._fetch, None, None
        return [] if fetch is None else [CancelFetch(fetch)]

    def check(self) -> None:
        """Assert what holds between the fields."""
        assert sorted(self.digests) == list(range(self._next))
        assert (self.retry_at is not None) == (self.phase is CdnPhase.BACKING_OFF)
        if self.phase is CdnPhase.COMPLETE:
            assert self.layout is not None
            assert self._next == self.layout.count
        if self.phase is CdnPhase.FAILED:
            assert self.failure is not None

    def _opened(self, event: OriginOpened) -> None:
        if self._next and event.length != self.length:
            reason = f"the length went from {self.length} to {event.length} bytes"
            self._give_up(event.fetch, OriginFailure.CHANGED, reason)
            return
        self._move(CdnTrigger.OPENED)
        self.length, self.piece_size = event.length, event.piece_size
        self.validator, self._ranged = event.validator, event.ranged

    def _stored(self, event: OriginPieceStored) -> None:
        assert event.piece == self._reading, "an origin read brings its pieces in order"
        self._reading = PieceIndex(event.piece + 1)
        if event.piece == self._next:
            self.digests[event.piece] = event.digest
            self._next += 1
            self._failures = 0
        elif event.digest != self.digests[event.piece]:
            reason = f"piece {event.piece} is not what it was in an earlier read"
            self._give_up(event.fetch, OriginFailure.CHANGED, reason)

    def _ended(self, event: OriginEnded) -> None:
        wanted = self._wanted.md5.lower()
        if wanted and event.md5 and event.md5 != wanted:
            reason = f"the content's md5 is {event.md5}, expected {wanted}"
            self._give_up(event.fetch, OriginFailure.BAD_ANSWER, reason)
            return
        self._move(CdnTrigger.ENDED)
        self._fetch = None
        self.length, self.md5 = event.length, event.md5

    def _broke(self, event: OriginFailed, now: float) -> None:
        self._failures += 1
        retries = self._config.origin_retries
        allowed = retries if self.piece_size else min(1, retries)
        hopeless = event.failure.is_final or event.failure is OriginFailure.CHANGED
        if hopeless or self._failures > allowed:
            self._give_up(event.fetch, event.failure, event.reason, event.status)
            return
        self._move(CdnTrigger.BROKE)
        self._fetch = None
        self.retry_at = now + self._config.origin_backoff_s * 2 ** (self._failures - 1)

    def _give_up(
        self, fetch: FetchId, failure: OriginFailure, reason: str, status: int = 0
    ) -> None:
        self._move(CdnTrigger.GAVE_UP)
        self.failure, self._fetch = OriginFailed(fetch, failure, reason, status), None

    def _move(self, trigger: CdnTrigger) -> None:
        self.phase = LIFE[self.phase][trigger]
