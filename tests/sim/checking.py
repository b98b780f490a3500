"""What tests of checkers say over and over."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from damselfly.engine.effects import Answer, FetchPiece, KeepPiece, LayOut, Send
from damselfly.engine.events import Replied, Requested, Started
from damselfly.engine.ids import (
    ExchangeId,
    FetchId,
    NodeAddress,
    PeerId,
    PieceIndex,
    TaskId,
    cdn_peer_id,
)
from damselfly.engine.messages import (
    PieceOffer,
    PiecesOffered,
    PullPieces,
    PullResult,
    PullStatus,
    Register,
)
from damselfly.engine.piece import PieceLayout
from damselfly.sim.checkers import Checkers, Violation
from damselfly.sim.host import Content
from damselfly.sim.scenario import Scenario

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

TASK = TaskId("t")
CDN = cdn_peer_id("192.0.2.1", TASK)
SUPERNODE = "supernode"
CONTENT = Content(PieceLayout(250, 105))
LAY_OUT = LayOut(TASK, 250, 105, "", keep=False)
PIECES = [PieceIndex(n) for n in range(3)]
_KNOBS: dict[str, Any] = {
    "file_bytes": 250,
    "piece_size": 105,
    "until_s": 100.0,
    "policy": "rarest",
}
RATES = {"ip of a": (100.0, 50.0), "ip of b": (100.0, 50.0)}


class Bench:
    """All checkers over nodes ``a``, ``b``, … and a supernode; ``beliefs`` are the latter's."""

    def __init__(self, **knobs: Any) -> None:
        self.now = 0.0
        self.beliefs: list[tuple[str, PieceIndex, str]] = []
        scenario = Scenario(**_KNOBS | knobs)
        self.checkers = Checkers(scenario, {TASK: CONTENT}, RATES, lambda: [self.beliefs])

    def does(self, node: str, event: object | None, *effects: object) -> None:
        """Let one engine call happen."""
        self.checkers(self.now, node, event, effects)

    def joins(self, *nodes: str) -> None:
        """Let downloads begin and register."""
        for node in nodes:
            self.does(node, Started(), says(1, register(node)), LAY_OUT)

    def fetches(self, node: str, number: int, parent: str, piece: int = 0) -> None:
        """Let a node be offered a piece and begin to fetch it."""
        offered = offer(parent, piece)
        reply = Replied(ExchangeId(1), PiecesOffered((offered,)))
        self.does(node, reply, FetchPiece(FetchId(number), offered, 100, 10.0))

    def asks(self, exchange: int, peer: str, *offers: PieceOffer) -> None:
        """Let the supernode answer a pull with these offers."""
        answer = Answer(ExchangeId(exchange), PiecesOffered(offers))
        self.does(SUPERNODE, Requested(ExchangeId(exchange), pull(peer)), answer)

    @contextmanager
    def objects(self, checker: str, says: str) -> Generator[None]:
        """Expect that this checker, and no other, minds what happens."""
        with pytest.raises(Violation, match=says) as caught:
            yield
        assert caught.value.checker == checker


def register(peer: str) -> Register:
    return Register("u", "u", PeerId(peer), f"ip of {peer}", "h", 15001, "/f")


def pull(peer: str) -> PullPieces:
    return PullPieces(TASK, PeerId(peer), PullStatus.START, PullResult.INVALID)


def says(exchange: int, request: Register | PullPieces) -> Send:
    return Send(ExchangeId(exchange), NodeAddress("192.0.2.1"), request, 5.0)


def offer(parent: str, piece: int = 0) -> PieceOffer:
    return PieceOffer(PieceIndex(piece), PeerId(parent), f"ip of {parent}", 15001, "/f", 105)


def keep(piece: PieceIndex) -> KeepPiece:
    return KeepPiece(piece, CONTENT.sizes[piece], CONTENT.sha256(piece))


def keep_all() -> Sequence[KeepPiece]:
    return [keep(piece) for piece in PIECES]
