"""What must hold between nodes, whatever happens; each checker sees every engine call."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

from ..engine.effects import (
    Answer,
    Ban,
    CancelFetch,
    DropPiece,
    FailCode,
    FetchPiece,
    Finish,
    KeepPiece,
    LayOut,
)
from ..engine.errors import DamselflyError
from ..engine.events import OriginPieceStored, PieceFailed, PieceFetched, Requested
from ..engine.ids import PeerId, is_cdn
from ..engine.messages import DropTask, LeaveTask, PiecesOffered, Register, WarmTask
from ..engine.piece import PieceLayout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..engine.ids import ExchangeId, FetchId, PieceIndex
    from .host import Content
    from .scenario import Scenario


class Violation(DamselflyError):
    """The swarm did what it must never do; the message says when, who and what."""


class Checker(Protocol):
    """One rule."""

    def see(self, node: str, event: object | None, effects: Sequence[object]) -> None:
        """Take in one engine call; raise ``Violation`` if it breaks the rule."""
        ...


class Checkers:
    """All rules; a ``Watch`` for nodes."""

    def __init__(self, scenario: Scenario, content: Content) -> None:
        self._slots = Slots(scenario.up_slots, scenario.down_slots, scenario.cdn_slots)
        self._checkers: tuple[Checker, ...] = (
            RightBytes(content),
            self._slots,
            Parents(),
            OriginBudget(),
            LastWord(content),
        )

    def __call__(
        self, now: float, node: str, event: object | None, effects: Sequence[object]
    ) -> None:
        """Show one call to every checker."""
        for checker in self._checkers:
            try:
                checker.see(node, event, effects)
            except Violation as violation:
                raise Violation(f"at {now!r} s, {node}: {violation}") from None

    def crashed(self, node: str) -> None:
        """Expect no more of a dead node: it fetches nothing, and uploads to nobody."""
        self._slots.crashed(node)


class RightBytes:
    """Nobody keeps a piece whose digest or size is not the true one."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._layouts: dict[str, PieceLayout] = {}

    def see(self, node: str, event: object | None, effects: Sequence[object]) -> None:
        """Look at what is kept."""
        for effect in effects:
            if isinstance(effect, LayOut):
                self._layouts[node] = PieceLayout(self._content.length, effect.piece_size)
            elif isinstance(effect, KeepPiece):
                piece = effect.piece
                if effect.digest != self._content.digest(piece, effect.digest):
                    raise Violation(f"keeps piece {piece} with the wrong digest {effect.digest}")
                if effect.size != self._layouts[node].size(piece):
                    raise Violation(f"keeps piece {piece} with the wrong size {effect.size}")


class Slots:
    """No living node uploads or downloads more pieces at once than it has slots."""

    def __init__(self, up: int, down: int, cdn_up: int) -> None:
        self._up, self._down, self._cdn_up = up, down, cdn_up
        self._parents: dict[str, dict[FetchId, str]] = {}
        self._uploads: Counter[str] = Counter()
        self._dead: dict[str, None] = {}

    def see(self, node: str, event: object | None, effects: Sequence[object]) -> None:
        """Follow fetches from beginning to end."""
        if isinstance(event, (PieceFetched, PieceFailed)):
            self._end(node, event.fetch)
        for effect in effects:
            if isinstance(effect, CancelFetch):
                self._end(node, effect.fetch)
            elif isinstance(effect, FetchPiece):
                self._begin(node, effect.fetch, effect.offer.parent)

    def crashed(self, node: str) -> None:
        """End all that ``node`` was fetching, and mind no longer who still counts on it."""
        self._dead[node] = None
        for fetch in list(self._parents.get(node, ())):
            self._end(node, fetch)

    def _begin(self, node: str, fetch: FetchId, parent: str) -> None:
        fetches = self._parents.setdefault(node, {})
        fetches[fetch] = parent
        self._uploads[parent] += 1
        if len(fetches) > self._down:
            raise Violation(f"fetches {len(fetches)} pieces at once with {self._down} slots")
        limit = self._cdn_up if is_cdn(PeerId(parent)) else self._up
        if self._uploads[parent] > limit and parent not in self._dead:
            raise Violation(f"{parent} uploads {self._uploads[parent]} at once with {limit} slots")

    def _end(self, node: str, fetch: FetchId) -> None:
        parent = self._parents.get(node, {}).pop(fetch, None)
        if parent is not None:
            self._uploads[parent] -= 1


class Parents:
    """Nobody fetches from itself; nobody is newly sent to a parent that left or was banned."""

    def __init__(self) -> None:
        self._asker: dict[ExchangeId, str] = {}
        self._told: dict[tuple[str, PieceIndex], str] = {}
        self._gone: dict[str, None] = {}

    def see(self, node: str, event: object | None, effects: Sequence[object]) -> None:
        """Follow who is offered to whom."""
        match event:
            case Requested(_, Register(peer=peer)):
                self._gone.pop(peer, None)
            case Requested(_, LeaveTask(peer=peer)):
                self._gone[peer] = None
            case _:
                pass
        if isinstance(event, Requested) and not isinstance(event.request, WarmTask | DropTask):
            self._asker[event.exchange] = event.request.peer
        for effect in effects:
            if isinstance(effect, FetchPiece) and effect.offer.parent == node:
                raise Violation(f"fetches piece {effect.offer.piece} from itself")
            if isinstance(effect, Ban):
                self._gone[effect.peer] = None
            elif isinstance(effect, Answer):
                self._answered(effect)

    def _answered(self, answer: Answer) -> None:
        asker = self._asker.pop(answer.exchange, None)
        if asker is None:
            raise Violation(f"answers exchange {answer.exchange}, which is not open")
        if not isinstance(answer.reply, PiecesOffered):
            return
        for offer in answer.reply.offers:
            if offer.parent in self._gone and self._told.get((asker, offer.piece)) != offer.parent:
                raise Violation(
                    f"sends {asker} to {offer.parent}, which is gone, for {offer.piece}"
                )
            self._told[asker, offer.piece] = offer.parent


class OriginBudget:
    """The supernode reads no piece from the origin twice."""

    def __init__(self) -> None:
        self._read: dict[PieceIndex, None] = {}

    def see(self, node: str, event: object | None, effects: Sequence[object]) -> None:
        """Look at what came from the origin."""
        if node == "supernode" and isinstance(event, OriginPieceStored):
            if event.piece in self._read:
                raise Violation(f"reads piece {event.piece} from the origin again")
            self._read[event.piece] = None


class LastWord:
    """After ``Finish`` a download asks for nothing; one that ends well has every piece."""

    def __init__(self, content: Content) -> None:
        self._length = content.length
        self._counts: dict[str, int] = {}
        self._kept: dict[str, dict[PieceIndex, None]] = {}
        self._finished: dict[str, None] = {}

    def see(self, node: str, event: object | None, effects: Sequence[object]) -> None:
        """Look for the end, and behind it."""
        for effect in effects:
            if node in self._finished:
                raise Violation(f"does {type(effect).__name__} after it finished")
            match effect:
                case LayOut(piece_size=piece_size, keep=keep):
                    self._counts[node] = PieceLayout(self._length, piece_size).count
                    kept = self._kept.setdefault(node, {})
                    if not keep:
                        kept.clear()
                case KeepPiece(piece):
                    self._kept[node][piece] = None
                case DropPiece(piece):
                    self._kept[node].pop(piece, None)
                case Finish(code):
                    self._finished[node] = None
                    if code is FailCode.SUCCESS:
                        self._check_pieces(node)
                case _:
                    pass

    def _check_pieces(self, node: str) -> None:
        kept, count = len(self._kept.get(node, ())), self._counts.get(node)
        if kept != count:
            raise Violation(f"finishes well with {kept} of {count} pieces")
