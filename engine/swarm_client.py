"""A peer's conversation with one supernode: pull, fetch, verify, report.

One pull is kept outstanding while there is a slot to fill, so that the supernode can answer it
the moment it has work.  Supernodes that do not hold pulls answer "wait" at once; then the pause
between pulls grows as dfget 1.0.6's does (protocol 1.3).
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING, Final, TypeAlias

from .effects import CancelFetch, DropPiece, FetchPiece, KeepPiece, LayOut, Send, Tell
from .events import FetchFailure, PieceFailed, PieceFetched
from .ids import NO_PEER, ExchangeId, FetchId, PeerId, PieceIndex, cdn_peer_id
from .messages import (
    Code,
    PiecesOffered,
    PullPieces,
    PullResult,
    PullStatus,
    Refused,
    ReportPiece,
    ReportPieceError,
    TaskCompleted,
)
from .outcomes import BackSourceReason, Milestone
from .piece import NO_DIGEST, Digest, DigestForm, length_of_wrapped
from .records import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from .config import DownloadConfig
    from .effects import DownloadEffect
    from .holdings import Holdings
    from .ids import NodeAddress
    from .messages import PieceOffer, Registered, Reply, Request

_AT_ONCE_S: Final = 0.5
"""An answer that comes sooner was not held."""
_MIN_PAUSE_S, _MAX_PAUSE_S = 0.05, 0.8
_REPORTS_AT_ONCE: Final = 8
_REPORT_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class NodeLost:
    """This supernode is of no more use.

    ``forgot``: it lives, but does not know us any more.  ``silent``: it does not answer, perhaps
    because it is being started again.
    """

    reason: str
    forgot: bool = False
    silent: bool = False


@dataclass(frozen=True, slots=True)
class HostFailed:
    """This host cannot go on: its disk is full or refuses."""

    code: BackSourceReason
    reason: str


@dataclass(frozen=True, slots=True)
class AllHeld:
    """Every piece is held; ``md5`` of the content if the supernode vouches for one."""

    md5: str


Verdict: TypeAlias = NodeLost | HostFailed | AllHeld | None


class SwarmClient:
    """One registration of one download."""

    def __init__(
        self,
        config: DownloadConfig,
        node: NodeAddress,
        registered: Registered,
        holdings: Holdings,
        ids: Iterator[int],
        rng: Random,
    ) -> None:
        self._config, self._node, self._holdings = config, node, holdings
        self._registered = registered
        self._ids, self._rng = ids, rng
        self._pulls: dict[ExchangeId, float] = {}
        self._reports: dict[ExchangeId, tuple[ReportPiece, int]] = {}
        self._unreported: dict[PieceIndex, tuple[ReportPiece, int]] = {}  # with tries made
        self._fetches: dict[FetchId, PieceOffer] = {}
        self._by_piece: dict[PieceIndex, FetchId] = {}
        self._left: dict[PieceIndex, dict[PeerId, None]] = {}  # parents given up for pieces we lack
        self._last: tuple[PieceOffer, PullResult] | None = None
        self._failed: deque[PieceOffer] = deque()
        self._disowned: dict[ExchangeId, PieceOffer] = {}  # failures the supernode is being told of
        self._failures = 0  # since the last piece
        self._pull_failures = 0  # since the last answer
        self._started = False
        self._closing = False
        self._pause_s = _MIN_PAUSE_S
        self._pull_at = -inf
        self._idle_since = inf

    @property
    def reports_under_way(self) -> bool:
        """Tell whether the supernode has yet to hear of pieces we hold."""
        return bool(self._reports or self._unreported)

    def begin(self, now: float) -> None:
        """Tell the supernode what is held already."""
        self._idle_since = now
        for held in self._holdings.held:
            parent = cdn_peer_id(self._node.host, self._registered.task)
            self._tell(held.piece, parent, held.digest)

    def replied(
        self, exchange: ExchangeId, reply: Reply, now: float, out: list[DownloadEffect]
    ) -> Verdict:
        """Take in an answer."""
        if (said := self._reports.pop(exchange, None)) is not None:
            if isinstance(reply, Refused) and reply.code is Code.BAD_PARAMETER and said[0].digest:
                self._holdings.drop(said[0].piece)
                out.append(DropPiece(said[0].piece))
            self._pull_at, self._pause_s = now, _MIN_PAUSE_S
            return None
        if (sent_at := self._pulls.pop(exchange, None)) is None:
            return None
        self._pull_failures = 0
        self._disowned.pop(exchange, None)
        match reply:
            case PiecesOffered(offers):
                began = [offer for offer in offers if self._consider(offer, now, out)]
                self._pace(now, sent_at, bool(began))
            case TaskCompleted(md5, wrapped_length):
                self._learn_length(wrapped_length, out)
                return self._completed(md5, now, sent_at)
            case Refused(code) if code in _WAITS:
                self._pace(now, sent_at, False)
            case Refused(code, message):
                forgot = code is Code.TARGET_NOT_FOUND
                return NodeLost(f"{self._node} answered {code.value}: {message}", forgot)
            case _:
                self._pace(now, sent_at, False)
        return None

    def exchange_failed(self, exchange: ExchangeId, reason: str) -> Verdict:
        """Take in that no usable answer came."""
        if (said := self._reports.pop(exchange, None)) is not None:
            report, tries = said
            if tries < _REPORT_TRIES:
                self._unreported[report.piece] = report, tries
        elif self._pulls.pop(exchange, None) is not None:
            self._disowned.pop(exchange, None)
            self._pull_failures += 1
            if self._pull_failures > 1:
                return NodeLost(f"{self._node}: {reason}", silent=True)
        return None

    def fetched(self, event: PieceFetched, now: float, out: list[DownloadEffect]) -> Verdict:
        """Take in a piece: keep and report it if it is right."""
        if (offer := self._fetches.get(event.fetch)) is None:
            return None
        layout = self._holdings.layout
        assert layout is not None
        right_size = layout.length < 0 or event.size == layout.size(offer.piece)
        if not right_size or (offer.digest and event.digest != offer.digest):
            got = event.digest if right_size else f"{event.size} bytes"
            want = offer.digest if right_size else f"{layout.size(offer.piece)} bytes"
            reason = f"content is {got}, expected {want}"
            self._blame(offer, "FILE_MD5_NOT_MATCH", event.digest, out)
            return self._lost(event.fetch, reason, now, out)
        self._end(event.fetch, now)
        self._failures = 0
        self._left.pop(offer.piece, None)
        self._holdings.keep(offer.piece, event.size, event.digest)
        out.append(KeepPiece(offer.piece, event.size, event.digest))
        self._last = offer, PullResult.SEMI_SUCCESS
        self._tell(offer.piece, offer.parent, NO_DIGEST)
        if self._holdings.is_complete and self._vouches:
            return AllHeld("")
        return None

    def fetch_failed(self, event: PieceFailed, now: float, out: list[DownloadEffect]) -> Verdict:
        """Take in that a parent did not deliver."""
        if (offer := self._fetches.get(event.fetch)) is None:
            return None
        if event.failure.is_ours:
            full = event.failure is FetchFailure.STORE_FULL
            self._end(event.fetch, now)
            code = BackSourceReason.NO_SPACE if full else BackSourceReason.WRITE_FAILED
            return HostFailed(code, event.reason)
        if event.failure is FetchFailure.NOT_FOUND:
            self._blame(offer, "FILE_NOT_EXIST", NO_DIGEST, out)
        return self._lost(event.fetch, event.reason, now, out)

    def tick(self, now: float, out: list[DownloadEffect]) -> Verdict:
        """Send what is to be sent."""
        while self._unreported and len(self._reports) < _REPORTS_AT_ONCE:
            report, tries = self._unreported.pop(next(iter(self._unreported)))
            self._reports[self._send(report, out)] = report, tries + 1
        while self._failed:
            offer = self._failed.popleft()
            self._disowned[self._pull(offer, PullResult.FAILED, now, out)] = offer
        if self._may_pull and self._pull_at <= now:
            offer, result = self._last or (None, PullResult.INVALID)
            self._pull(offer, result, now, out)
        if self._idle_until <= now and not self._closing:
            waited_s = now - self._idle_since
            return NodeLost(f"{self._node} had no piece for this peer for {waited_s:.0f} s")
        return None

    def deadline(self) -> float:
        """Return when ``tick`` has something to do."""
        return min(self._pull_at if self._may_pull else inf, self._idle_until)

    def cancel(self, out: list[DownloadEffect]) -> None:
        """Fetch and pull no more; what is held is still reported."""
        self._closing = True
        out += [CancelFetch(fetch) for fetch in self._fetches]
        self._fetches.clear()
        self._by_piece.clear()
        self._pulls.clear()
        self._failed.clear()
        self._disowned.clear()

    def doubt_whole(self, out: list[DownloadEffect]) -> None:
        """Say that the whole is not what it should be although each piece was as announced."""
        if self._vouches:
            copy = cdn_peer_id(self._node.host, self._registered.task)
            task, kind = self._registered.task, "FILE_MD5_NOT_MATCH"
            self._send(ReportPieceError(task, self._config.peer, copy, kind, self._node.host), out)

    def check(self) -> None:
        """Assert what holds between the fields."""
        assert {offer.piece: fetch for fetch, offer in self._fetches.items()} == self._by_piece
        assert len(self._reports) <= _REPORTS_AT_ONCE
        assert not any(self._holdings.get(piece) for piece in self._by_piece)
        assert (self._idle_since < inf) == (not self._fetches)
        assert set(self._disowned) <= set(self._pulls)

    # --- inside ---

    @property
    def _vouches(self) -> bool:
        """Tell whether each piece's digest is strong enough to make the file's superfluous."""
        return self._registered.digest_form is DigestForm.SHA256

    @property
    def _may_pull(self) -> bool:
        if self._pulls or self._closing or len(self._fetches) >= self._config.down_slots:
            return False
        # A pull between two pieces must name one, says Dragonfly's supernode.
        return self._vouches or self._last is not None or not self._fetches

    @property
    def _idle_until(self) -> float:
        return self._idle_since + self._config.idle_s

    def _consider(self, offer: PieceOffer, now: float, out: list[DownloadEffect]) -> bool:
        """Start to fetch an offered piece, unless it is here or on its way.

        A piece on its way that is offered by another parent is late, says the supernode, and
        better fetched there.  If that one was left before, the answer was overtaken by another.
        """
        under_way = self._by_piece.get(offer.piece)
        if under_way is not None and (
            self._fetches[under_way].parent == offer.parent
            or offer.parent in self._left.get(offer.piece, ())
        ):
            return False
        # An answer that crossed our failure report lists the piece as if it were still coming.
        if any((o.piece, o.parent) == (offer.piece, offer.parent) for o in self._disowned.values()):
            return False
        held = self._holdings.get(offer.piece)
        if held is not None:
            if not _differ(held.digest, offer.digest):
                self._last = offer, PullResult.SEMI_SUCCESS
                return self._tell(offer.piece, offer.parent, held.digest)
            self._holdings.drop(offer.piece)
            out.append(DropPiece(offer.piece))
        layout = self._holdings.layout
        assert layout is not None
        if offer.piece_size != layout.piece_size or (
            layout.length >= 0 and offer.piece >= layout.count
        ):
            return False
        if under_way is not None:
            out.append(CancelFetch(under_way))
            self._leave(self._fetches[under_way])
            self._end(under_way, now)
        # A supernode that had to take us for dead offers more than there are slots for, and
        # lists it again when we next ask.
        if len(self._fetches) >= self._config.down_slots:
            return False
        fetch = FetchId(next(self._ids))
        self._fetches[fetch] = offer
        self._by_piece[offer.piece] = fetch
        self._idle_since = inf
        size = layout.size(offer.piece) if layout.length >= 0 else -1
        patience_s = self._config.stall_timeout_s
        out.append(FetchPiece(fetch, offer, size, patience_s, layout.plain))
        return True

    def _learn_length(self, wrapped_length: int, out: list[DownloadEffect]) -> None:
        layout = self._holdings.layout
        if layout is None or layout.length >= 0 or not wrapped_length:
            return
        length = length_of_wrapped(wrapped_length, layout.piece_size)
        size, plain, validator = layout.piece_size, layout.plain, self._holdings.validator
        self._holdings.lay_out(length, size, validator, plain=plain)
        task = self._registered.task
        out.append(LayOut(task, length, size, validator, keep=True, plain=plain))

    def _completed(self, md5: str, now: float, sent_at: float) -> Verdict:
        if self._holdings.is_complete:
            return AllHeld(md5)
        if self._fetches:
            self._pace(now, sent_at, False)
            return None
        return NodeLost(f"{self._node} says all is delivered, but pieces are missing", forgot=True)

    def _lost(self, fetch: FetchId, reason: str, now: float, out: list[DownloadEffect]) -> Verdict:
        offer = self._fetches[fetch]
        self._leave(offer)
        self._end(fetch, now)
        where = f"piece {offer.piece} from {offer.parent} at {offer.host}:{offer.port}"
        out.append(Tell(Milestone.PARENT_FAILED, f"{where}: {reason}"))
        self._failed.append(offer)
        self._failures += 1
        if self._failures > self._config.piece_failures:
            return NodeLost(f"{self._failures} pieces in a row failed, last {where}: {reason}")
        return None

    def _leave(self, offer: PieceOffer) -> None:
        self._left.setdefault(offer.piece, {})[offer.parent] = None

    def _blame(self, offer: PieceOffer, kind: str, real: Digest, out: list[DownloadEffect]) -> None:
        mismatch = kind == "FILE_MD5_NOT_MATCH"
        said = ReportPieceError(
            task=self._registered.task,
            peer=self._config.peer,
            parent=offer.parent,
            kind=kind,
            parent_ip=offer.host,
            piece=offer.piece,
            piece_size=offer.piece_size,
            real_md5=real.partition(":")[2] if mismatch else "",
            expected_md5=offer.digest.partition(":")[2] if mismatch else "",
        )
        self._send(said, out)

    def _end(self, fetch: FetchId, now: float) -> None:
        del self._by_piece[self._fetches.pop(fetch).piece]
        if not self._fetches:
            self._idle_since = now

    def _pace(self, now: float, sent_at: float, began: bool) -> None:
        """Decide when to pull next after an answer."""
        if began or now - sent_at >= _AT_ONCE_S:
            self._pause_s = _MIN_PAUSE_S
            self._pull_at = now
        else:
            self._pull_at = now + self._pause_s * (1 + self._rng.random())
            self._pause_s = min(2 * self._pause_s, _MAX_PAUSE_S)

    def _pull(
        self, offer: PieceOffer | None, result: PullResult, now: float, out: list[DownloadEffect]
    ) -> ExchangeId:
        starts = not self._started or (offer is None and not self._vouches)
        asked = PullPieces(
            task=self._registered.task,
            peer=self._config.peer,
            status=PullStatus.START if starts else PullStatus.RUNNING,
            result=PullResult.INVALID if starts else result,
            parent=offer.parent if offer else NO_PEER,
            piece=offer.piece if offer else None,
            piece_size=offer.piece_size if offer else 0,
            wanted=self._holdings.wanted,
        )
        self._started = True
        exchange = self._send(asked, out)
        self._pulls[exchange] = now
        return exchange

    def _tell(self, piece: PieceIndex, parent: PeerId, digest: Digest) -> bool:
        """Have ``piece`` reported; false if that is under way."""
        if piece in self._unreported or any(r.piece == piece for r, _ in self._reports.values()):
            return False
        report = ReportPiece(
            task=self._registered.task,
            peer=self._config.peer,
            parent=parent,
            piece=piece,
            piece_size=self._registered.piece_size,
            digest=digest if self._vouches else NO_DIGEST,
        )
        self._unreported[piece] = report, 0
        return True

    def _send(self, request: Request, out: list[DownloadEffect]) -> ExchangeId:
        exchange = ExchangeId(next(self._ids))
        out.append(Send(exchange, self._node, request, self._config.exchange_timeout_s))
        return exchange


_WAITS: Final = (Code.PEER_WAIT, Code.PEER_LIMITED, Code.SUCCESS)


def _differ(held: Digest, offered: Digest) -> bool:
    """Tell whether two digests in the same form disagree."""
    form = offered.partition(":")[0]
    return bool(offered) and held.startswith(form) and held != offered
