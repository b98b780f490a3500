"""All that can happen to the download and supernode engines.

The world's failures are events, not exceptions.  The peer server's vocabulary is small and its
own: ``uploads``.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec import Struct

if TYPE_CHECKING:
    from .ids import ExchangeId, FetchId, PieceIndex, TaskId
    from .messages import Command, Reply, Request
    from .piece import Digest


class FetchFailure(Enum):
    """Why a piece did not come from a parent."""

    UNREACHABLE = auto()
    """No connection, or it broke."""
    NOT_FOUND = auto()
    """The parent does not have it: 404, 416 or 500."""
    REFUSED = auto()
    """The parent answered anything else that is not 2xx."""
    SHORT = auto()
    """The body ended early or is not a wrapped piece."""
    STALLED = auto()
    """No byte came for the time allowed."""
    STORE_FULL = auto()
    """Our own disk is full."""
    STORE_FAILED = auto()
    """Our own disk refused."""

    @property
    def is_ours(self) -> bool:
        """Tell whether this host, and not the parent, is to blame."""
        return self in (FetchFailure.STORE_FULL, FetchFailure.STORE_FAILED)


class OriginFailure(Enum):
    """Why an origin read ended before its time."""

    UNREACHABLE = auto()
    """No name, no connection, bad TLS, or the connection broke before the head."""
    STATUS = auto()
    """The origin answered with a status that is not a download (404, 403, 500, ...)."""
    CHANGED = auto()
    """The content is no longer what it was: another validator, length, or no range where asked."""
    BAD_ANSWER = auto()
    """A head that contradicts itself or the request, or an encoded body."""
    SHORT = auto()
    """The body ended before the length that the head promised."""
    STALLED = auto()
    """No byte came for the time allowed."""
    STORE_FULL = auto()
    """Our own disk is full."""
    STORE_FAILED = auto()
    """Our own disk refused."""
    COPY_DAMAGED = auto()
    """A piece that an earlier run had kept is not what it was: the read is to go on from there."""

    @property
    def is_ours(self) -> bool:
        """Tell whether this host, and not the origin, is to blame."""
        return self in (OriginFailure.STORE_FULL, OriginFailure.STORE_FAILED)

    @property
    def is_final(self) -> bool:
        """Tell whether asking again soon cannot help."""
        return self in (OriginFailure.STATUS, OriginFailure.BAD_ANSWER) or self.is_ours


# --- origin reads: a supernode's, and a peer's that goes back to the source -----------------------


class OriginOpened(Struct, frozen=True):
    """The head came.  ``length`` of the whole file, -1 unknown; ``ranged``: ranges are honoured.

    ``piece_size`` is what the pieces of this read are cut to.  ``validator`` is a strong ETag,
    else the Last-Modified date, else empty.
    """

    fetch: FetchId
    length: int
    piece_size: int
    ranged: bool
    validator: str


class OriginPieceStored(Struct, frozen=True):
    """One piece of a read is on disk."""

    fetch: FetchId
    piece: PieceIndex
    size: int
    digest: Digest


class OriginEnded(Struct, frozen=True):
    """The read is complete; ``length`` is that of the whole file when the read reached its end.

    ``md5`` is the content's (hex), if the effect asked for it and the read covered the file.
    """

    fetch: FetchId
    length: int
    md5: str = ""


class OriginFailed(Struct, frozen=True):
    """The read ended before its time.  ``status`` is the HTTP status, 0 without one.

    ``needed_bytes`` is the room that the rest of the file takes, if that was found to be missing.
    """

    fetch: FetchId
    failure: OriginFailure
    reason: str
    status: int = 0
    needed_bytes: int = 0

    @property
    def is_final(self) -> bool:
        """Tell whether asking again soon cannot help; an origin in trouble may get over it."""
        return self.failure.is_final and self.status not in _TROUBLE


_TROUBLE: Final = (429, 500, 502, 503, 504)
OriginEvent: TypeAlias = OriginOpened | OriginPieceStored | OriginEnded | OriginFailed


# --- a download -----------------------------------------------------------------------------------


class HeldPiece(Struct, frozen=True):
    """A piece that an earlier run left on disk and whose bytes were hashed again just now."""

    piece: PieceIndex
    size: int
    digest: Digest


class Started(Struct, frozen=True):
    """The first event of a download; the rest of it is what an earlier run left, if anything."""

    held: tuple[HeldPiece, ...] = ()
    length: int = -1
    piece_size: int = 0
    validator: str = ""
    plain: bool = False


class Replied(Struct, frozen=True):
    """A supernode answered."""

    exchange: ExchangeId
    reply: Reply


class ExchangeFailed(Struct, frozen=True):
    """No usable answer: no connection, no bytes in time, or bytes that make no sense."""

    exchange: ExchangeId
    reason: str


class PieceFetched(Struct, frozen=True):
    """The bytes of a piece are on disk; ``digest`` is in the form of the one expected.

    ``size`` counts content bytes.  Without an expected digest it is a SHA-256.
    """

    fetch: FetchId
    size: int
    digest: Digest


class PieceFailed(Struct, frozen=True):
    """A parent did not deliver."""

    fetch: FetchId
    failure: FetchFailure
    reason: str


class Wanted(Struct, frozen=True):
    """Somebody reads the file in order and waits for its byte ``offset``."""

    offset: int


class Published(Struct, frozen=True):
    """The file stands under the user's name, complete and verified."""


class PublishFailed(Struct, frozen=True):
    """The file could not be verified or put in place; nothing stands under the user's name."""

    reason: str
    mismatch: bool = False
    no_space: bool = False


DownloadEvent: TypeAlias = (
    Started
    | Replied
    | ExchangeFailed
    | PieceFetched
    | PieceFailed
    | OriginEvent
    | Wanted
    | Published
    | PublishFailed
)


# --- a supernode ----------------------------------------------------------------------------------


class Requested(Struct, frozen=True, gc=False):
    """A peer or an operator asks.  The answer may be held until there is something to say."""

    exchange: ExchangeId
    request: Request | Command


class Dropped(Struct, frozen=True, gc=False):
    """The connection of an exchange that is still unanswered is gone."""

    exchange: ExchangeId


class PieceHashed(Struct, frozen=True):
    """The MD5 (hex) of a wrapped piece of the supernode's own copy."""

    task: TaskId
    piece: PieceIndex
    md5: str


class CopyHashed(Struct, frozen=True):
    """The MD5 (hex) of the content of the supernode's own copy, empty if it cannot be read."""

    task: TaskId
    md5: str


class PieceVerified(Struct, frozen=True):
    """A piece of the supernode's own copy was read again: its bytes are what they were, or not."""

    task: TaskId
    piece: PieceIndex
    intact: bool


class Freshness(Enum):
    """What an origin says of content that was read from it earlier."""

    SAME = auto()
    CHANGED = auto()
    """It says anything else than that nothing has changed."""
    DENIED = auto()
    """It wants other credentials before it says anything."""
    UNKNOWN = auto()
    """It says nothing: no connection, or no answer in time."""


class OriginChecked(Struct, frozen=True):
    """The outcome of a ``CheckOrigin``."""

    fetch: FetchId
    freshness: Freshness


class FoundCopy(Struct, frozen=True):
    """One copy on the disk.

    ``interval_s`` is the time between its last two uses, 0 for none.  ``in_use``: it is being read
    or sent.  One that is not ``readable`` has no log that tells what it is.
    """

    task: TaskId
    size_bytes: int
    idle_s: float
    interval_s: float = 0.0
    in_use: bool = False
    readable: bool = True


class DiskSurveyed(Struct, frozen=True):
    """Bytes free and in all on the disk of the copies; both 0 if nobody can tell.

    ``copies`` are all that lie there, those of tasks in memory included; ``None``: not asked for.
    """

    free_bytes: int
    total_bytes: int
    copies: tuple[FoundCopy, ...] | None = None


class CopyDeleted(Struct, frozen=True):
    """A ``DeleteCopy`` is over; not ``gone``: the files could not be removed, or never were."""

    copy_of: TaskId
    gone: bool = True


SupernodeEvent: TypeAlias = (
    Requested
    | Dropped
    | OriginEvent
    | PieceHashed
    | CopyHashed
    | PieceVerified
    | OriginChecked
    | DiskSurveyed
    | CopyDeleted
)
