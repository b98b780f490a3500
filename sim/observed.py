"""What a supernode's trace tells about its peers: who came when, got what from whom, and left."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ..engine.effects import Answer, ReadOrigin
from ..engine.errors import RemoteProtocolError
from ..engine.events import (
    Dropped,
    OriginEnded,
    OriginFailed,
    OriginOpened,
    OriginPieceStored,
    Requested,
)
from ..engine.messages import (
    LeaveTask,
    Orders,
    PiecesOffered,
    PullPieces,
    PullResult,
    PullStatus,
    Register,
    Registered,
    ReportMetrics,
    ReportPiece,
    ReportPieceError,
    ReportWhole,
    SettlePiece,
    TaskCompleted,
    Update,
)
from ..engine.piece import PieceLayout, length_of_wrapped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..engine.ids import ExchangeId, FetchId, PeerId, PieceIndex, TaskId
    from ..engine.messages import PieceOffer, Reply
    from ..engine.trace import TraceRecord


class Move(NamedTuple):
    """A piece that went from host to host, from its assignment to the report of it."""

    child: PeerId
    parent: PeerId
    piece: PieceIndex
    begin_s: float
    end_s: float


@dataclass(slots=True)
class ObservedPeer:
    """One download, as its supernode saw it; ``port`` 0: it served nobody.

    ``round_trip_s`` is the time from the answer to its registration to its first pull.
    """

    peer: PeerId
    port: int
    arrived_s: float
    heard_s: float
    held: int = 0
    """A bit for each piece it is known to have."""
    last_piece_s: float = 0.0
    said_done_s: float | None = None
    left_s: float | None = None
    failed: bool = False
    registered_s: float | None = None
    round_trip_s: float | None = None


@dataclass(slots=True, eq=False)
class ObservedRun:
    """Pieces that come one after the other: those that have come, and how many are to come."""

    parent: PeerId
    begin_s: float
    got: list[PieceIndex] = field(default_factory=list["PieceIndex"])
    left: int = 0


@dataclass(slots=True)
class ObservedTask:
    """One file.  ``length`` -1 and ``piece_size`` 0: the trace does not say.

    ``strangers`` are peers whose registration is not in the trace.
    """

    task: TaskId
    length: int = -1
    piece_size: int = 0
    peers: dict[PeerId, ObservedPeer] = field(default_factory=dict["PeerId", ObservedPeer])
    moves: list[Move] = field(default_factory=list[Move])
    origin_pieces: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])
    """When each piece came from the origin, and its bytes."""
    strangers: dict[PeerId, None] = field(default_factory=dict["PeerId", None])
    under_way: dict[tuple[PeerId, PieceIndex], ObservedRun] = field(
        default_factory=dict[tuple["PeerId", "PieceIndex"], "ObservedRun"]
    )
    """The run by which a peer gets a piece."""
    latest: dict[tuple[PeerId, PeerId], ObservedRun] = field(
        default_factory=dict[tuple["PeerId", "PeerId"], "ObservedRun"]
    )
    """The run that a peer began last with a parent."""

    @property
    def layout(self) -> PieceLayout | None:
        """How it is cut, if that is known."""
        if self.length < 0 or not self.piece_size:
            return None
        return PieceLayout(self.length, self.piece_size)

    def done_s(self, peer: ObservedPeer) -> float | None:
        """Return when a peer had everything."""
        layout = self.layout
        if layout is not None and peer.held.bit_count() >= layout.count:
            return peer.last_piece_s
        return peer.said_done_s


class Observer:
    """Reads the records of one supernode, and remembers what they say of its peers."""

    def __init__(self) -> None:
        self.tasks: dict[TaskId, ObservedTask] = {}
        self.records = 0
        self.first_s = self.last_s = 0.0
        self._asked: dict[ExchangeId, tuple[TaskId, PeerId]] = {}
        self._reads: dict[FetchId, TaskId] = {}

    def read(self, records: Iterable[TraceRecord]) -> None:
        """Take in records, in order.

        Raises:
            RemoteProtocolError: a record makes no sense; and whatever ``records`` raises.

        """
        for record in records:
            try:
                self._take(record)
            except (TypeError, ValueError, OverflowError, AttributeError) as error:
                # The types of what a trace holds are not checked when it is read.
                number = self.records + 1
                raise RemoteProtocolError(f"record {number} makes no sense: {error}") from error
            if not self.records:
                self.first_s = record.now
            self.records += 1
            self.last_s = record.now

    def _take(self, record: TraceRecord) -> None:
        self._event(record.event, record.now)
        for effect in record.effects:
            match effect:
                case Answer(exchange, reply):
                    self._answered(exchange, reply, record.now)
                case ReadOrigin(fetch, task):
                    self._reads[fetch] = task
                case _:
                    pass

    # --- what was said ---

    def _event(self, event: object | None, now: float) -> None:
        match event:
            case Requested(exchange, request):
                self._requested(exchange, request, now)
            case Dropped(exchange):
                self._asked.pop(exchange, None)
            case OriginOpened(fetch, length) if fetch in self._reads:
                _learn_length(self._task(self._reads[fetch]), length)
            case OriginPieceStored(fetch, _, size) if fetch in self._reads:
                self._task(self._reads[fetch]).origin_pieces.append((now, size))
            case OriginEnded(fetch, length) if fetch in self._reads:
                _learn_length(self._task(self._reads.pop(fetch)), length)
            case OriginFailed(fetch):
                self._reads.pop(fetch, None)
            case _:
                pass

    def _requested(self, exchange: ExchangeId, request: object, now: float) -> None:
        match request:
            case Register():
                peers, name = self._task(request.task).peers, request.peer
                if name not in peers:
                    peers[name] = ObservedPeer(name, request.port, now, now)
                self._asked[exchange] = request.task, name
            case PullPieces(task, name):
                self._asked[exchange] = task, name
                self._pulled(self._task(task), name, request, now)
            case ReportPiece(task, name, parent, piece):
                if (peer := self._known(task, name, now)) is not None:
                    _has(self._task(task), peer, [(piece, parent)], now)
            case SettlePiece(task, name, parent, piece, _, result):
                if (peer := self._known(task, name, now)) is not None:
                    self._settled(self._task(task), peer, piece, parent, result, now)
            case ReportPieceError(task, name) if request.piece is not None:
                _ends(self._task(task), name, request.piece, now)
            case Update(task, name):
                self._asked[exchange] = task, name
                if (peer := self._known(task, name, now)) is not None:
                    self._updated(self._task(task), peer, request, now)
            case LeaveTask(task, name):
                if (peer := self._known(task, name, now)) is not None:
                    peer.left_s = now
            case ReportWhole(task, name):
                if (peer := self._known(task, name, now)) is not None:
                    _said_done(peer, now)
            case ReportMetrics(task, name):
                if (peer := self._known(task, name, now)) is not None and request.success:
                    _said_done(peer, now)
                elif peer is not None:
                    peer.failed = True
            case _:
                pass

    def _pulled(self, task: ObservedTask, name: PeerId, asked: PullPieces, now: float) -> None:
        if (peer := self._known(task.task, name, now)) is None:
            return
        _returned(peer, now)
        if asked.status is PullStatus.FINISHED:
            _said_done(peer, now)
        elif asked.status is PullStatus.RUNNING and asked.piece is not None:
            self._settled(task, peer, asked.piece, asked.parent, asked.result, now)

    def _updated(self, task: ObservedTask, peer: ObservedPeer, said: Update, now: float) -> None:
        _returned(peer, now)
        _has(task, peer, [(note.piece, note.parent) for note in said.held], now)
        for note in said.failed:
            _ends(task, peer.peer, note.piece, now)

    def _settled(
        self,
        task: ObservedTask,
        peer: ObservedPeer,
        piece: PieceIndex,
        parent: PeerId,
        result: PullResult,
        now: float,
    ) -> None:
        match result:
            case PullResult.SUCCESS | PullResult.SEMI_SUCCESS:
                _has(task, peer, [(piece, parent)], now)
            case PullResult.FAILED | PullResult.INVALID:
                _ends(task, peer.peer, piece, now)

    # --- what was answered ---

    def _answered(self, exchange: ExchangeId, reply: Reply, now: float) -> None:
        asked = self._asked.pop(exchange, None)
        if asked is None:
            return
        task, name = self._task(asked[0]), asked[1]
        match reply:
            case Registered(_, length, piece_size):
                _learn_length(task, length)
                task.piece_size = piece_size
                if (peer := task.peers.get(name)) is not None and peer.registered_s is None:
                    peer.registered_s = now
            case PiecesOffered(offers):
                for offer in offers:
                    _began(task, name, (offer,), now)
            case Orders(runs):
                for run in runs:
                    _began(task, name, run, now)
                for more in reply.extended:
                    _went_on(task, name, more.pieces, now)
            case TaskCompleted(_, wrapped_length):
                if wrapped_length and task.piece_size:
                    _learn_length(task, length_of_wrapped(wrapped_length, task.piece_size))
                if (peer := task.peers.get(name)) is not None:
                    _said_done(peer, now)
            case _:
                pass

    def _task(self, task: TaskId) -> ObservedTask:
        found = self.tasks.get(task)
        if found is None:
            found = self.tasks[task] = ObservedTask(task)
        return found

    def _known(self, task: TaskId, name: PeerId, now: float) -> ObservedPeer | None:
        found = self._task(task)
        peer = found.peers.get(name)
        if peer is None:
            found.strangers[name] = None
        else:
            peer.heard_s = now
        return peer


def _returned(peer: ObservedPeer, now: float) -> None:
    if peer.round_trip_s is None and peer.registered_s is not None:
        peer.round_trip_s = now - peer.registered_s


def _began(task: ObservedTask, name: PeerId, run: tuple[PieceOffer, ...], now: float) -> None:
    begun = task.latest[name, run[0].parent] = ObservedRun(run[0].parent, now)
    _bring(task, name, begun, run, now)


def _went_on(task: ObservedTask, name: PeerId, more: tuple[PieceOffer, ...], now: float) -> None:
    run = task.latest.get((name, more[0].parent))
    if run is None or not run.left:
        _began(task, name, more, now)
    else:
        _bring(task, name, run, more, now)


def _bring(
    task: ObservedTask, name: PeerId, begun: ObservedRun, run: tuple[PieceOffer, ...], now: float
) -> None:
    for offer in run:
        known = task.under_way.get((name, offer.piece))
        if known is None or known.parent != offer.parent:
            _ends(task, name, offer.piece, now)
            task.under_way[name, offer.piece] = begun
            begun.left += 1
        task.piece_size = offer.piece_size


def _has(
    task: ObservedTask, peer: ObservedPeer, got: list[tuple[PieceIndex, PeerId]], now: float
) -> None:
    for piece, parent in got:
        if not peer.held >> piece & 1:
            peer.held |= 1 << piece
            peer.last_piece_s = now
        run = task.under_way.get((peer.peer, piece))
        if run is not None and run.parent == parent:
            run.got.append(piece)
        _ends(task, peer.peer, piece, now)


def _ends(task: ObservedTask, name: PeerId, piece: PieceIndex, now: float) -> None:
    """A piece is under way no more.  Those of a run took equally long, as far as one can tell."""
    run = task.under_way.pop((name, piece), None)
    if run is None:
        return
    run.left -= 1
    if run.left or not run.got:
        return
    each_s = (now - run.begin_s) / len(run.got)
    for number, came in enumerate(run.got):
        begin_s = run.begin_s + number * each_s
        task.moves.append(Move(name, run.parent, came, begin_s, begin_s + each_s))


def _learn_length(task: ObservedTask, length: int) -> None:
    if length >= 0:
        task.length = length


def _said_done(peer: ObservedPeer, now: float) -> None:
    if peer.said_done_s is None:
        peer.said_done_s = now
