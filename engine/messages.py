"""What a peer and a supernode say to each other, whatever the bytes look like (protocol 1).

``wire.v1`` turns these into Dragonfly's HTTP exchanges and back.  A request is answered by
exactly one reply.  Fields that Dragonfly does not know (``digest_form``, ``digest``,
``validator``, ``wanted``) travel where v1 programs ignore them.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

from .ids import NO_PEER, range_of, task_id
from .piece import NO_DIGEST, Digest, DigestForm

if TYPE_CHECKING:
    from .ids import PeerId, PieceIndex, TaskId


class Code(IntEnum):
    """Result codes of the v1 envelope (protocol 1.7)."""

    SUCCESS = 200
    NOT_FOUND = 404
    SYSTEM_ERROR = 500
    BAD_PARAMETER = 501
    TARGET_NOT_FOUND = 502
    PEER_FINISH = 600
    PEER_CONTINUE = 601
    PEER_WAIT = 602
    PEER_LIMITED = 603
    CDN_FAILED = 604
    UNKNOWN_ERROR = 605
    TASK_CONFLICT = 606
    URL_UNREACHABLE = 607
    NEED_AUTH = 608
    WAIT_AUTH = 609
    SOURCE_ERROR = 610
    REPORT_OK = 611
    LEAVE_OK = 612


class PullStatus(IntEnum):
    """Where a peer stands with its task when it pulls (protocol 1.2)."""

    START = 700
    RUNNING = 701
    FINISHED = 702


class PullResult(IntEnum):
    """What became of the piece named in a pull (protocol 1.2)."""

    FAILED = 500
    SUCCESS = 501
    INVALID = 502
    SEMI_SUCCESS = 503


class Register(Struct, frozen=True):
    """A peer wants a file.  ``port`` 0: it serves nobody.  ``headers`` are ``k:v`` lines."""

    raw_url: str
    task_url: str
    peer: PeerId
    ip: str
    host_name: str
    port: int
    path: str
    version: str = ""
    node_host: str = ""
    md5: str = ""
    identifier: str = ""
    call_system: str = ""
    headers: tuple[str, ...] = ()
    dfdaemon: bool = False
    insecure: bool = False
    root_cas: tuple[str, ...] = ()
    digest_form: DigestForm = DigestForm.MD5_WRAPPED
    native: bool = False
    """It would talk in ``Update``s, and wants SHA-256."""
    relays: bool = False
    """It passes on pieces that it is still getting; only of peers that are ``native``."""

    @property
    def task(self) -> TaskId:
        """The id of the task it is for (protocol 5.1)."""
        identity, byte_range = self.md5 or self.identifier, range_of(self.headers)
        return task_id(self.task_url, identifier=identity, byte_range=byte_range)


class PullPieces(Struct, frozen=True, gc=False):
    """A peer asks for work, and may say what became of one piece got from ``parent``.

    ``wanted``: the peer reads the file in order and has got as far as this piece; the pieces from
    there on help it most.
    """

    task: TaskId
    peer: PeerId
    status: PullStatus
    result: PullResult
    parent: PeerId = NO_PEER
    piece: PieceIndex | None = None
    piece_size: int = 0
    wanted: PieceIndex | None = None


class ReportPiece(Struct, frozen=True, gc=False):
    """``peer`` holds ``piece`` on its disk, verified, and can serve it."""

    task: TaskId
    peer: PeerId
    parent: PeerId
    piece: PieceIndex
    piece_size: int
    digest: Digest = NO_DIGEST


class ReportPieceError(Struct, frozen=True):
    """``peer`` got a bad or missing piece from ``parent``; ``kind`` as in protocol 1.6."""

    task: TaskId
    peer: PeerId
    parent: PeerId
    kind: str
    parent_ip: str = ""
    piece: PieceIndex | None = None
    piece_size: int = 0
    real_md5: str = ""
    expected_md5: str = ""


class LeaveTask(Struct, frozen=True):
    """The peer server no longer serves this download (protocol 1.5)."""

    task: TaskId
    peer: PeerId


class ReportMetrics(Struct, frozen=True):
    """How a finished download went (protocol 1.6)."""

    task: TaskId
    peer: PeerId
    ip: str
    port: int
    success: bool
    duration_s: float
    length: int
    back_source_reason: str = "0"
    call_system: str = ""


class HeldNote(Struct, frozen=True, gc=False):
    """A piece that is on the peer's disk, verified; ``digest`` if the supernode may not know it."""

    piece: PieceIndex
    parent: PeerId = NO_PEER
    digest: Digest = NO_DIGEST


class FailedNote(Struct, frozen=True, gc=False):
    """A piece that ``parent`` did not deliver.

    ``kind`` is empty, or as in protocol 1.6 for one that was wrong or not there at all.
    """

    piece: PieceIndex
    parent: PeerId
    kind: str = ""


class Update(Struct, frozen=True, gc=False):
    """All that a peer has to say at a time, in the native protocol; held until there are orders.

    ``number`` counts a registration's updates from 1: of several the newest is held, and the others
    are answered at once.  ``heard`` is the number of the newest one whose orders came.
    ``under_way`` are the pieces being fetched or to be, ``free`` how many runs more are welcome,
    ``wanted`` is where in the file the peer is if it reads that in order.  ``extends``: orders may
    make runs longer that are under way.
    """

    task: TaskId
    peer: PeerId
    number: int
    heard: int
    held: tuple[HeldNote, ...] = ()
    failed: tuple[FailedNote, ...] = ()
    under_way: tuple[PieceIndex, ...] = ()
    free: int = 0
    wanted: PieceIndex | None = None
    extends: bool = False


V1Request: TypeAlias = (
    Register | PullPieces | ReportPiece | ReportPieceError | LeaveTask | ReportMetrics
)
Request: TypeAlias = V1Request | Update


# --- what the REST API asks beyond that (protocol 2.2) --------------------------------------------


class WarmTask(Struct, frozen=True):
    """Read a task from its origin although no peer asks; answered once all of it is here.

    Of ``wanted`` only what names and reads the content counts.  The answer is ``TaskCompleted``,
    or ``Refused`` with the reason why there will be no copy.
    """

    wanted: Register


class DropTask(Struct, frozen=True):
    """Forget a task at once, whoever wants it; ``full``: delete its files, too."""

    task: TaskId
    full: bool


class SettlePiece(Struct, frozen=True):
    """What became of a piece that ``peer`` was to get from ``parent``; asks for no more work."""

    task: TaskId
    peer: PeerId
    parent: PeerId
    piece: PieceIndex
    piece_size: int
    result: PullResult


class ReportWhole(Struct, frozen=True):
    """``peer`` holds every piece of the task and can serve it."""

    task: TaskId
    peer: PeerId


Command: TypeAlias = WarmTask | DropTask | SettlePiece | ReportWhole


class PieceOffer(Struct, frozen=True, gc=False):
    """Take ``piece`` from ``parent``: ``GET http://host:port/path``.

    ``md5`` is ``<hex>:<wrapped length>`` or empty; ``sha256`` is hex or empty.
    """

    piece: PieceIndex
    parent: PeerId
    host: str
    port: int
    path: str
    piece_size: int
    md5: str = ""
    sha256: str = ""
    down_link_kb_per_s: int = 0

    @property
    def digest(self) -> Digest:
        """The strongest digest on offer, empty if there is none."""
        if self.sha256:
            return Digest(f"sha256:{self.sha256}")
        return Digest(f"md5:{self.md5.partition(':')[0]}") if self.md5 else NO_DIGEST


class Registered(Struct, frozen=True):
    """The task exists.  ``length`` -1: unknown.  ``validator``: the origin's ETag or date."""

    task: TaskId
    length: int
    piece_size: int
    cdn_source: str = "supernode"
    digest_form: DigestForm = DigestForm.MD5_WRAPPED
    validator: str = ""
    native: bool = False
    """The supernode understands ``Update``s."""


class Extension(Struct, frozen=True, gc=False):
    """``pieces`` go behind the run that brings ``after``, or are one of their own if it is over."""

    after: PieceIndex
    pieces: tuple[PieceOffer, ...]


class Orders(Struct, frozen=True, gc=False):
    """The answer to an ``Update``: what to fetch beside what is under way.

    Each run is to be fetched piece by piece, all from one parent; runs side by side.  Those of
    ``rejected`` were reported as held and are not what they should be.  ``pace_s``: while runs are
    under way, what came is to be told after so much time; the end of a run at once.
    """

    runs: tuple[tuple[PieceOffer, ...], ...] = ()
    rejected: tuple[PieceIndex, ...] = ()
    pace_s: float = 0.0
    extended: tuple[Extension, ...] = ()


class PiecesOffered(Struct, frozen=True, gc=False):
    """Code 601: all pieces this peer should be fetching, those under way listed again."""

    offers: tuple[PieceOffer, ...]


class TaskCompleted(Struct, frozen=True, gc=False):
    """Code 600: the peer has all.  ``md5`` of the content or empty; length of the wrapped file."""

    md5: str
    wrapped_length: int


class Acknowledged(Struct, frozen=True, gc=False):
    """A report was taken: code 200, 611 or 612."""

    code: Code = Code.SUCCESS


class Refused(Struct, frozen=True, gc=False):
    """Anything else, 602 "wait" included."""

    code: Code
    message: str = ""


V1Reply: TypeAlias = Registered | PiecesOffered | TaskCompleted | Acknowledged | Refused
Reply: TypeAlias = V1Reply | Orders
