"""A peer's conversation with a supernode of its own kind: one exchange says and hears everything.

An ``Update`` carries what came, what failed and what is under way; its answer brings orders, and
waits at the supernode until there are any.  While there is something left to fetch, updates keep
the pace that the supernode wishes; a peer that runs dry says so at once.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING, Final

from .effects import DropPiece
from .ids import NO_PEER, PeerId
from .messages import (
    Code,
    FailedNote,
    HeldNote,
    Orders,
    Refused,
    TaskCompleted,
    Update,
)
from .swarm_client import NodeLost, SwarmClient

if TYPE_CHECKING:
    from .effects import DownloadEffect
    from .events import PieceFailed, PieceFetched
    from .ids import ExchangeId, FetchId, PieceIndex
    from .messages import PieceOffer, Reply
    from .piece import Digest
    from .swarm_client import Verdict

_LAST_TRIES: Final = 3
"""So often in a row is said what is left to say when the download is over."""
_OPEN_AT_ONCE: Final = 2
"""One that is held, and one that takes its place."""


class NativeClient(SwarmClient):
    """One registration of one download with a supernode that takes ``Update``s."""

    _open: dict[ExchangeId, Update]
    _to_tell: dict[PieceIndex, HeldNote]
    _told: Orders
    _number: int
    _heard: int
    _runs: dict[FetchId, deque[PieceOffer]]
    _failures_to_tell: list[FailedNote]
    _said_at: float
    _ran_out: bool

    def begin(self, now: float) -> None:
        """Tell the supernode what is held already."""
        self._open, self._to_tell, self._failures_to_tell = {}, {}, []
        self._told, self._number, self._heard = Orders(), 0, 0
        self._runs, self._said_at, self._ran_out = {}, -inf, False
        self._idle_since = now
        for held in self._holdings.held:
            self._to_tell[held.piece] = HeldNote(held.piece, NO_PEER, held.digest)

    @property
    def reports_under_way(self) -> bool:
        """Tell whether the supernode has yet to hear of pieces we hold."""
        return bool(self._to_tell) or any(said.held for said in self._open.values())

    def replied(
        self, exchange: ExchangeId, reply: Reply, now: float, out: list[DownloadEffect]
    ) -> Verdict:
        """Take in an answer."""
        if (said := self._open.pop(exchange, None)) is None:
            return None
        self._pull_failures = 0
        match reply:
            case Orders():
                self._take(said, reply, now, out)
            case TaskCompleted(md5, wrapped_length):
                self._learn_length(wrapped_length, out)
                return self._completed(md5, now, self._said_at)
            case Refused(Code.PEER_WAIT):
                self._pace(now, self._said_at, False)
            case Refused(code, message):
                forgot = code in (Code.TARGET_NOT_FOUND, Code.BAD_PARAMETER)
                return NodeLost(f"{self._node} answered {code.value}: {message}", forgot)
            case _:
                return NodeLost(f"{self._node} gave an answer that is none to an update")
        return None

    def exchange_failed(self, exchange: ExchangeId, reason: str) -> Verdict:
        """Take in that no usable answer came: what was said is said again."""
        if (said := self._open.pop(exchange, None)) is not None:
            for note in said.held:
                self._to_tell.setdefault(note.piece, note)
            self._failures_to_tell += said.failed
            self._pull_failures += 1
            if self._closing and self._pull_failures >= _LAST_TRIES:
                self._to_tell.clear()
                self._failures_to_tell.clear()
            if self._pull_failures > 1:
                return NodeLost(f"{self._node}: {reason}", silent=True)
        return None

    def fetched(self, event: PieceFetched, now: float, out: list[DownloadEffect]) -> Verdict:
        """Take in a piece: keep and report it if it is right; begin the next of its run."""
        run = self._runs.pop(event.fetch, None)
        failures = len(self._failures_to_tell)
        verdict = super().fetched(event, now, out)
        is_right = len(self._failures_to_tell) == failures
        if run is not None and verdict is None and is_right:
            self._ran_out |= not self._go_on(run, now, out)
        return verdict

    def fetch_failed(self, event: PieceFailed, now: float, out: list[DownloadEffect]) -> Verdict:
        """Take in that a parent did not deliver: nothing more is asked of it."""
        self._runs.pop(event.fetch, None)
        return super().fetch_failed(event, now, out)

    def tick(self, now: float, out: list[DownloadEffect]) -> Verdict:
        """Send what is to be sent."""
        if self._update_at <= now:
            self._update(now, out)
        if self._idle_until <= now and not self._closing:
            waited_s = now - self._idle_since
            return NodeLost(f"{self._node} had no piece for this peer for {waited_s:.0f} s")
        return None

    def deadline(self) -> float:
        """Return when ``tick`` has something to do."""
        return min(self._update_at, inf if self._closing else self._idle_until)

    def cancel(self, out: list[DownloadEffect]) -> None:
        """Fetch no more; what is held is still reported."""
        self._runs.clear()
        super().cancel(out)

    def check(self) -> None:
        """Assert what holds between the fields."""
        super().check()
        assert len(self._open) <= _OPEN_AT_ONCE
        assert self._runs.keys() <= self._fetches.keys()

    # --- inside ---

    @property
    def _update_at(self) -> float:
        """Return when the next update is due."""
        if len(self._open) >= _OPEN_AT_ONCE:
            return inf
        has_news = bool(self._to_tell or self._failures_to_tell)
        if self._closing:
            return -inf if has_news else inf
        wait_at = self._pull_at if not self._open and self._free > 0 else inf
        if not has_news:
            return wait_at
        if self._ran_out or not self._fetches:
            return -inf
        return min(self._said_at + self._told.pace_s, wait_at)

    @property
    def _free(self) -> int:
        return self._config.down_slots - len(self._fetches)

    @property
    def _under_way(self) -> tuple[PieceIndex, ...]:
        queued = [offer.piece for run in self._runs.values() for offer in run]
        return (*self._by_piece, *queued)

    def _update(self, now: float, out: list[DownloadEffect]) -> None:
        self._number += 1
        said = Update(
            task=self._registered.task,
            peer=self._config.peer,
            number=self._number,
            heard=self._heard,
            held=tuple(self._to_tell.values()),
            failed=tuple(self._failures_to_tell),
            under_way=self._under_way,
            free=0 if self._closing else max(0, self._free),
            wanted=self._holdings.wanted,
            extends=True,
        )
        self._to_tell.clear()
        self._failures_to_tell.clear()
        self._said_at, self._ran_out = now, False
        self._open[self._send(said, out)] = said

    def _take(self, said: Update, orders: Orders, now: float, out: list[DownloadEffect]) -> None:
        self._heard = max(self._heard, said.number)
        self._told = orders
        for piece in orders.rejected:
            self._holdings.drop(piece)
            out.append(DropPiece(piece))
        began = False
        if not self._closing:
            told: list[tuple[PieceIndex | None, tuple[PieceOffer, ...]]]
            told = [(None, run) for run in orders.runs]
            told += [(extension.after, extension.pieces) for extension in orders.extended]
            new = [[offer for offer in run if not self._is_coming(offer)] for _, run in told]
            self._leave_to_others(frozenset([offer.piece for run in new for offer in run]))
            for (after, run), more in zip(told, new, strict=True):
                if more and (queue := self._queue_of(after, run)) is not None:
                    queue.extend(more)
                    began = True
                else:
                    began |= self._go_on(deque(more), now, out)
        self._pace(now, self._said_at, began or said.number < self._number)

    def _queue_of(
        self, after: PieceIndex | None, run: tuple[PieceOffer, ...]
    ) -> deque[PieceOffer] | None:
        """Return what is left of a run that brings ``after``, or a part of what was said before."""
        of_it = (after, *[offer.piece for offer in run])
        for fetch, queue in self._runs.items():
            current = self._fetches[fetch]
            if current.parent == run[0].parent and any(
                offer.piece in of_it for offer in (current, *queue)
            ):
                return queue
        return None

    def _is_coming(self, offer: PieceOffer) -> bool:
        """Tell whether a piece is under way from this parent, or its turn will come."""
        fetch = self._by_piece.get(offer.piece)
        if fetch is not None and self._fetches[fetch].parent == offer.parent:
            return True
        return any(offer in queued for queued in self._runs.values())

    def _leave_to_others(self, pieces: frozenset[PieceIndex]) -> None:
        """What is ordered now is taken out of the runs in which it has not been its turn yet."""
        for fetch, queued in self._runs.items():
            if any(offer.piece in pieces for offer in queued):
                self._runs[fetch] = deque([o for o in queued if o.piece not in pieces])

    def _go_on(self, run: deque[PieceOffer], now: float, out: list[DownloadEffect]) -> bool:
        """Begin the next piece of a run that is to be had; tell whether there was one."""
        while run:
            offer = run.popleft()
            under_way = self._by_piece.get(offer.piece)
            if not self._consider(offer, now, out):
                continue
            if under_way is not None and (rest := self._runs.pop(under_way, None)):
                self._go_on(rest, now, out)  # of the late run that this piece is taken from
            if (fetch := self._by_piece.get(offer.piece)) is not None:
                self._runs[fetch] = run
                return True
        return False

    def _tell(self, piece: PieceIndex, parent: PeerId, digest: Digest) -> bool:
        self._to_tell[piece] = HeldNote(piece, parent, digest)
        return True

    def _blame(self, offer: PieceOffer, kind: str, real: Digest, out: list[DownloadEffect]) -> None:
        self._failures_to_tell.append(FailedNote(offer.piece, offer.parent, kind))

    def _lost(self, fetch: FetchId, reason: str, now: float, out: list[DownloadEffect]) -> Verdict:
        offer = self._fetches[fetch]
        verdict = super()._lost(fetch, reason, now, out)
        self._failed.clear()
        self._ran_out = True
        if not any(note.piece == offer.piece for note in self._failures_to_tell):
            self._failures_to_tell.append(FailedNote(offer.piece, offer.parent))
        return verdict
