"""Who is sent to whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...engine.effects import Answer, Ban, FetchPiece
from ...engine.events import Replied, Requested
from ...engine.messages import DropTask, LeaveTask, Orders, PiecesOffered, Register, WarmTask
from .checker import Checker, Violation

if TYPE_CHECKING:
    from ...engine.ids import ExchangeId, PieceIndex
    from ...engine.messages import PieceOffer, Reply
    from .checker import Call


class Parents(Checker):
    """Nobody fetches from itself, or what it was not offered; nobody is sent to who is gone.

    Gone are who left or was banned.  A peer that was sent there before may be told so again, and
    it may fetch what it was offered before the news.
    """

    def __init__(self) -> None:
        self._asker: dict[tuple[str, ExchangeId], str] = {}
        self._told: dict[tuple[str, str, PieceIndex], str] = {}
        self._gone: dict[tuple[str, str], None] = {}
        self._ordered: dict[str, dict[PieceOffer, None]] = {}
        """What a peer was told to fetch when it has fetched other pieces."""

    def see(self, call: Call) -> None:
        """Follow who is offered to whom, and who is fetched from."""
        if call.is_supernode:
            self._requested(call)
        elif isinstance(call.event, Replied) and isinstance(call.event.reply, Orders):
            later = _offers(call.event.reply)
            self._ordered.setdefault(call.node, {}).update(dict.fromkeys(later))
        for effect in call.effects:
            if isinstance(effect, FetchPiece):
                self._check(effect, call)
            elif isinstance(effect, Ban):
                self._gone[call.node, effect.peer] = None
            elif isinstance(effect, Answer) and call.is_supernode:
                self._answered(call.node, effect)

    def crashed(self, node: str) -> None:
        """A supernode that died has forgotten who is gone, and who asked."""
        self._asker = {key: peer for key, peer in self._asker.items() if key[0] != node}
        self._told = {key: peer for key, peer in self._told.items() if key[0] != node}
        self._gone = {key: None for key in self._gone if key[0] != node}

    def _requested(self, call: Call) -> None:
        event, node = call.event, call.node
        if not isinstance(event, Requested):
            return
        match event.request:
            case Register(peer=peer):
                self._gone.pop((node, peer), None)
            case LeaveTask(peer=peer):
                self._gone[node, peer] = None
            case _:
                pass
        if not isinstance(event.request, WarmTask | DropTask):
            self._asker[node, event.exchange] = event.request.peer

    def _answered(self, node: str, answer: Answer) -> None:
        asker = self._asker.pop((node, answer.exchange), None)
        if asker is None:
            return
        for offer in _offers(answer.reply):
            told = self._told.get((node, asker, offer.piece))
            if (node, offer.parent) in self._gone and told != offer.parent:
                raise Violation(
                    f"sends {asker} to {offer.parent}, which is gone, for piece {offer.piece}"
                )
            self._told[node, asker, offer.piece] = offer.parent

    def _check(self, fetch: FetchPiece, call: Call) -> None:
        offer, event = fetch.offer, call.event
        if offer.parent == call.node:
            raise Violation(f"fetches piece {offer.piece} from itself")
        ordered = self._ordered.get(call.node, {})
        if offer in ordered:
            del ordered[offer]
        elif not isinstance(event, Replied) or offer not in _offers(event.reply):
            raise Violation(
                f"fetches piece {offer.piece} from {offer.parent}, which nobody offered"
            )


def _offers(reply: Reply) -> tuple[PieceOffer, ...]:
    match reply:
        case PiecesOffered(offers):
            return offers
        case Orders():
            more = [extension.pieces for extension in reply.extended]
            return tuple([offer for run in (*reply.runs, *more) for offer in run])
        case _:
            return ()
