"""The supernode's own copy of one file: read from the origin once, resumed where it broke.

With ``CdnPattern.SOURCE`` there is no copy.  The origin is only asked whether peers can read it
piece by piece, and then everything counts as here.

Its life is ``LIFE``; the drawing in this folder's README is made from it.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from .config import CdnPattern
from .effects import CancelFetch, CheckOrigin, ProbeOrigin, ReadOrigin
from .events import (
    OriginEnded,
    OriginFailed,
    OriginFailure,
    OriginOpened,
    OriginPieceStored,
)
from .ids import PieceIndex
from .piece import UNKNOWN_LENGTH, DigestForm, PieceLayout

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
    PROBED = auto()
    BROKE = auto()
    RETRIED = auto()
    ENDED = auto()
    GAVE_UP = auto()


LIFE: Final[Mapping[CdnPhase, Mapping[CdnTrigger, CdnPhase]]] = {
    CdnPhase.OPENING: {
        CdnTrigger.OPENED: CdnPhase.READING,
        CdnTrigger.PROBED: CdnPhase.COMPLETE,
        CdnTrigger.BROKE: CdnPhase.BACKING_OFF,
        CdnTrigger.GAVE_UP: CdnPhase.FAILED,
    },
    CdnPhase.READING: {
        CdnTrigger.ENDED: CdnPhase.COMPLETE,
        CdnTrigger.BROKE: CdnPhase.BACKING_OFF,
        CdnTrigger.GAVE_UP: CdnPhase.FAILED,
    },
    CdnPhase.BACKING_OFF: {
        CdnTrigger.RETRIED: CdnPhase.OPENING,
        CdnTrigger.GAVE_UP: CdnPhase.FAILED,
    },
    CdnPhase.COMPLETE: {},
    CdnPhase.FAILED: {},
}


_RESUMABLE: Final = (
    OriginFailure.STATUS,
    OriginFailure.UNREACHABLE,
    OriginFailure.SHORT,
    OriginFailure.STALLED,
)
"""Failures after which what was read is still worth its room on the disk."""
_SPACE_WAIT_S: Final = 30.0
"""How long room is made before the read is tried again all the same."""


class CdnCopy:
    """What the supernode holds of one task, and the read that brings the rest."""

    def __init__(self, task: TaskId, wanted: Register, config: SupernodeConfig) -> None:
        self.task, self._wanted, self._config = task, wanted, config
        self.is_source = config.cdn_pattern is CdnPattern.SOURCE
        self.phase = CdnPhase.OPENING
        self.length = UNKNOWN_LENGTH
        self.piece_size = 0
        self.layout: PieceLayout | None = None
        """How the file is cut, once its length is known."""
        self.validator = ""
        self.md5 = ""
        self.digests: dict[PieceIndex, Digest] = {}
        self.failure: OriginFailed | None = None
        self.retry_at: float | None = None
        self.validated_at = 0.0
        """When the origin last said that this is its content."""
        self._full: OriginFailed | None = None
        self._fetch: FetchId | None = None
        self._ranged = True
        self._next = 0  # pieces stored without a gap: reads are in order
        self._reading = PieceIndex(0)  # the piece the read under way brings next
        self._failures = 0  # since the last piece

    @property
    def held(self) -> int:
        """The set of pieces that can be given out."""
        if self.is_source and self.phase is CdnPhase.COMPLETE and self.layout is not None:
            return (1 << self.layout.count) - 1
        return (1 << self._next) - 1

    @property
    def lacks_room(self) -> bool:
        """Tell whether the read waits for room on the disk."""
        return self._full is not None

    @property
    def needed_bytes(self) -> int:
        """How much room it waits for, 0 if nobody knows."""
        return self._full.needed_bytes if self._full is not None else 0

    @property
    def is_useless(self) -> bool:
        """Tell whether the files of a copy that failed should go."""
        return self.failure is not None and self.failure.failure not in _RESUMABLE

    @property
    def reads_as(self) -> FetchId | None:
        """The read under way."""
        return self._fetch

    def open(self, fetch: FetchId, *, few_hosts: bool) -> ReadOrigin | ProbeOrigin:
        """Begin, or resume behind the last piece; ``few_hosts`` are known to be served."""
        if self.phase is CdnPhase.BACKING_OFF:
            self._move(CdnTrigger.RETRIED)
        self._fetch, self.retry_at, self._full = fetch, None, None
        wanted = self._wanted
        if self.is_source:
            return ProbeOrigin(
                fetch=fetch,
                url=wanted.raw_url,
                headers=wanted.headers,
                piece_size=self._config.piece_size_policy,
                insecure=wanted.insecure,
                root_cas=wanted.root_cas,
            )
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
            # v1 peers compare it with what they have got (protocol 1.2).
            wants_md5=bool(wanted.md5) or wanted.digest_form is DigestForm.MD5_WRAPPED,
            insecure=wanted.insecure,
            root_cas=wanted.root_cas,
            md5=wanted.md5,
            few_hosts=few_hosts,
        )

    def recheck(self, fetch: FetchId, wanted: Register) -> CheckOrigin:
        """Ask whether the origin still has this content, in the way of ``wanted``."""
        return CheckOrigin(
            fetch=fetch,
            url=wanted.raw_url,
            headers=wanted.headers,
            validator=self.validator,
            length=self.length,
            insecure=wanted.insecure,
            root_cas=wanted.root_cas,
        )

    def handle(self, event: OriginEvent, now: float) -> list[SupernodeEffect]:
        """Take in what a read brought; events of a read given up are ignored."""
        if event.fetch != self._fetch:
            return []
        match event:
            case OriginOpened():
                self._opened(event, now)
            case OriginPieceStored():
                self._stored(event)
            case OriginEnded():
                self._ended(event)
            case OriginFailed():
                self._broke(event, now)
        if self.phase is CdnPhase.FAILED and not isinstance(event, OriginEnded | OriginFailed):
            return [CancelFetch(event.fetch)]
        return []

    def hashed(self, md5: str) -> None:
        """The MD5 of a complete copy was found out after all."""
        self.md5 = md5

    def room_was_made(self, now: float) -> None:
        """The disk has more room now: read on."""
        self._full, self.retry_at = None, now

    def no_room(self) -> None:
        """There is no room to be made: that was it."""
        full = self._full
        assert full is not None
        self._full, self.retry_at = None, None
        self._give_up(full.fetch, full.failure, full.reason)

    def give_up(self) -> list[SupernodeEffect]:
        """Stop reading; nobody wants the task any more."""
        fetch, self._fetch, self.retry_at = self._fetch, None, None
        return [] if fetch is None else [CancelFetch(fetch)]

    def check(self) -> None:
        """Assert what holds between the fields."""
        assert sorted(self.digests) == list(range(self._next))
        assert (self.retry_at is not None) == (self.phase is CdnPhase.BACKING_OFF)
        assert not self.lacks_room or self.phase is CdnPhase.BACKING_OFF
        if self.phase is CdnPhase.COMPLETE and not self.is_source:
            assert self.layout is not None
            assert self._next == self.layout.count
        if self.phase is CdnPhase.FAILED:
            assert self.failure is not None

    def _opened(self, event: OriginOpened, now: float) -> None:
        if self.is_source:
            self._probed(event, now)
            return
        if self._next and event.length != self.length:
            reason = f"the length went from {self.length} to {event.length} bytes"
            self._give_up(event.fetch, OriginFailure.CHANGED, reason)
            return
        self._move(CdnTrigger.OPENED)
        self._cut(event.length, event.piece_size)
        self.validator, self._ranged = event.validator, event.ranged
        self.validated_at = now

    def _probed(self, event: OriginOpened, now: float) -> None:
        if not event.ranged or event.length <= 0:
            lacks = "tell a length above 0" if event.ranged else "honour ranges"
            reason = f"the origin does not {lacks}, which cdnPattern source needs"
            self._give_up(event.fetch, OriginFailure.BAD_ANSWER, reason)
            return
        self._move(CdnTrigger.PROBED)
        self._cut(event.length, event.piece_size)
        self.validator, self.validated_at = event.validator, now
        self._fetch = None

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
        self._cut(event.length, self.piece_size)
        self.md5 = event.md5

    def _cut(self, length: int, piece_size: int) -> None:
        self.length, self.piece_size = length, piece_size
        self.layout = PieceLayout(length, piece_size, self.is_source) if length >= 0 else None

    def _broke(self, event: OriginFailed, now: float) -> None:
        if event.failure is OriginFailure.STORE_FULL:
            self._move(CdnTrigger.BROKE)
            self._fetch, self._full, self.retry_at = None, event, now + _SPACE_WAIT_S
            return
        if event.failure is OriginFailure.COPY_DAMAGED:  # no fault of the origin
            self._move(CdnTrigger.BROKE)
            self._fetch, self.retry_at = None, now
            return
        self._failures += 1
        retries = self._config.origin_retries
        allowed = retries if self.piece_size else min(1, retries)
        hopeless = event.is_final or event.failure is OriginFailure.CHANGED
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
