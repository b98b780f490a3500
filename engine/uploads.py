"""All that can happen to a peer server, all that it can ask for, and its settings (protocol 3).

Every request carries an ``exchange`` and is answered by one ``Respond`` or one ``ServePiece``,
unless it is dropped before.
Values that come from the network stay text here: the engine judges them, in v1's order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec import Struct

from .errors import ConfigError

if TYPE_CHECKING:
    from .ids import ExchangeId, NodeAddress, PeerId, PieceIndex, TaskId

OCTETS: Final = "application/octet-stream"
TEXT: Final = "text/plain; charset=utf-8"


class UploadPolicy(Struct, frozen=True):
    """Settings of a ``PeerServerEngine``.

    ``version`` is what ``/check`` answers with; a dfget uses only a server of its own version.
    ``up_slots``: pieces asked for at once, generous because the supernode's scheduler balances, for
    each task by itself.  ``host_slots``: of these so many are sent to one host at a time, while the
    others wait, but not longer than ``line_s``.
    ``expire_s``: how long a finished download is served after its last use.  ``alive_s``: the
    server ends when not needed for so long; 0 or less: never.  ``partial_keep_s``: how long the
    file of a download that was cut off is kept for the next dfget to resume.  ``drain_s``: how
    long uploads under way may take when the server ends.
    """

    data_dir: str
    version: str
    up_slots: int = 256
    host_slots: int = 3
    line_s: float = 3.0
    expire_s: float = 180.0
    alive_s: float = 300.0
    survey_s: float = 15.0
    partial_keep_s: float = 86400.0
    drain_s: float = 60.0
    max_downloads: int = 4096

    def __post_init__(self) -> None:
        for name in ("up_slots", "host_slots", "max_downloads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: expected at least 1")
        for name in ("line_s", "survey_s", "drain_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}: expected more than 0")
        for name in ("expire_s", "partial_keep_s"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}: expected 0 or more")


# --- events ---------------------------------------------------------------------------------------


class PieceRequested(Struct, frozen=True):
    """``GET /peer/file/<name>``; absent headers are empty.  ``plain``: ``cdnSource: source``.

    ``host`` is the address of whoever asks, empty if that says nothing.
    """

    exchange: ExchangeId
    name: str
    byte_range: str
    piece: str
    piece_size: str
    plain: bool = False
    host: str = ""


class CheckRequested(Struct, frozen=True):
    """``GET /check/<name>``: a dfget is about to download ``name`` and wants it served."""

    exchange: ExchangeId
    name: str
    data_dir: str
    total_limit: str


class RateRequested(Struct, frozen=True):
    """``GET /rate/<name>``: a dfget asks how much of the host's total limit is its own."""

    exchange: ExchangeId
    name: str
    rate: str


class ShareRequested(Struct, frozen=True):
    """``GET /rate/<name>`` that says what the dfget takes now, which v1 does not.

    Answered when it should take more or less, or after ``shares.HOLD_S``.
    """

    exchange: ExchangeId
    name: str
    rate: str
    taken: str


class FinishReported(Struct, frozen=True):
    """``GET /client/finish``: the download ended, well or not; ``node`` is its supernode."""

    exchange: ExchangeId
    name: str
    task: TaskId
    peer: PeerId
    node: str


class PingRequested(Struct, frozen=True):
    """``GET /server/ping``."""

    exchange: ExchangeId


class StatsRequested(Struct, frozen=True):
    """``GET /server/stats``, which v1 does not have: what was uploaded so far, as JSON."""

    exchange: ExchangeId


class RequestDropped(Struct, frozen=True):
    """The client of a request has gone before there was an answer; none is due any more."""

    exchange: ExchangeId


class UploadEnded(Struct, frozen=True):
    """The answer that ``ServePiece`` asked for is over; ``bytes_sent`` of the body, head included.

    Comes exactly once for each ``ServePiece``, with 0 bytes if the piece could not be served.
    """

    exchange: ExchangeId
    bytes_sent: int
    complete: bool


class FoundFile(Struct, frozen=True):
    """One download's file in the data directory.

    ``age_s`` counts from the last modification.  ``in_use``: a process is writing pieces to it.
    ``delivered``: the same file also stands under a user's name.
    """

    name: str
    age_s: float
    in_use: bool
    delivered: bool


class DataSurveyed(Struct, frozen=True):
    """What lies in the data directory, as ``SurveyData`` asked."""

    files: tuple[FoundFile, ...]


class DownloadWithdrawn(Struct, frozen=True):
    """``name`` is to be served no longer; uploads under way end as they would have."""

    name: str


class StopRequested(Struct, frozen=True):
    """The process is asked to end."""


PeerServerRequest: TypeAlias = (
    PieceRequested
    | CheckRequested
    | RateRequested
    | ShareRequested
    | FinishReported
    | PingRequested
    | StatsRequested
)
PeerServerEvent: TypeAlias = (
    PeerServerRequest
    | RequestDropped
    | UploadEnded
    | DataSurveyed
    | DownloadWithdrawn
    | StopRequested
)


# --- effects --------------------------------------------------------------------------------------


class Respond(Struct, frozen=True):
    """Answer an exchange with a short text."""

    exchange: ExchangeId
    status: int
    text: str
    content_type: str = OCTETS


class ServePiece(Struct, frozen=True):
    """Answer with bytes ``first`` to ``last`` of the wrapped pieces of a download's file.

    The driver looks at the file and answers 206, 404 (no file), 403 (may not be read) or 416
    (beyond its end, or pieces that are not verified yet); see ``wire.frame.upload_parts``.
    ``plain``: the range is one of the file itself, and nothing is wrapped.  Comes back as
    ``UploadEnded``.
    """

    exchange: ExchangeId
    name: str
    first: int
    last: int
    piece: PieceIndex
    piece_size: int
    plain: bool


class LimitUploads(Struct, frozen=True):
    """From now on all uploads together send no faster than this."""

    rate_bytes_per_s: int


class SurveyData(Struct, frozen=True):
    """List the data directory; always comes back as ``DataSurveyed``."""


class LeaveSwarm(Struct, frozen=True):
    """Tell the supernode at ``node`` that ``peer`` is served no longer; nothing comes back."""

    node: NodeAddress
    task: TaskId
    peer: PeerId


class DeleteDownload(Struct, frozen=True):
    """Remove the file of ``name`` and what is known about its pieces; nothing comes back."""

    name: str


class RetireServer(Struct, frozen=True):
    """Make this server unknown to new dfgets, so that the next one starts another."""


class CloseServer(Struct, frozen=True):
    """End the process; the last effect of the engine."""


PeerServerEffect: TypeAlias = (
    Respond
    | ServePiece
    | LimitUploads
    | SurveyData
    | LeaveSwarm
    | DeleteDownload
    | RetireServer
    | CloseServer
)
