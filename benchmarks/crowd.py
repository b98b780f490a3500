"""A supernode's engine alone with a crowd of peers, all of whose files it holds already.

Whatever a peer is told to fetch it has a little later, all about as fast; the clock is not the
computer's, so that nothing takes any time but the engine.  ``record`` makes such a day, and another
engine can live through it again.  ``python -m benchmarks.crowd CROWD``, in JSON, prints how many
bytes the engine keeps for each peer when half of everything has been given out.
"""

from __future__ import annotations

import gc
import inspect
import json
import sys
import time
import tracemalloc
from contextlib import suppress
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from math import inf
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

from damselfly.engine.config import SupernodeConfig
from damselfly.engine.effects import Answer, ReadOrigin
from damselfly.engine.events import OriginEnded, OriginOpened, OriginPieceStored, Requested
from damselfly.engine.ids import ExchangeId, FetchId, PieceIndex
from damselfly.engine.messages import ReportPiece, Update
from damselfly.engine.piece import MIB, Digest
from damselfly.engine.supernode import SupernodeEngine

from .conversations import native_peer, v1_peer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from damselfly.engine.effects import SupernodeEffect
    from damselfly.engine.events import SupernodeEvent
    from damselfly.engine.messages import Reply, Request

    from .conversations import Conversation

_PIECE_S: Final = 0.04
"""What a link of 200 Mb/s needs for a piece, give or take a tenth."""
_ENGINE: Final = Path(inspect.getfile(SupernodeEngine)).parent
_FORMS: Final = {"native": native_peer, "v1": v1_peer}


@dataclass(frozen=True, slots=True)
class Crowd:
    """``peers`` in each of ``tasks``, whose files have so many pieces of 1 MiB."""

    form: str
    tasks: int
    peers: int
    pieces: int

    @property
    def assigned(self) -> int:
        """How many pieces are given out until all have all."""
        return self.tasks * self.peers * self.pieces

    def __str__(self) -> str:
        tasks = "one task" if self.tasks == 1 else f"{self.tasks} tasks"
        return f"{self.form}, {self.peers} peers in {'each of ' * (self.tasks > 1)}{tasks}"


@dataclass(slots=True)
class Day:
    """What one engine was told, and when."""

    calls: list[tuple[SupernodeEvent, float]] = field(
        default_factory=list[tuple["SupernodeEvent", float]]
    )

    def replay(self) -> float:
        """Return how many seconds a fresh engine takes for all calls, asked as by a driver."""
        engine = _new_engine()
        began = time.perf_counter()
        for event, now in self.calls:
            engine.handle(event, now)
            engine.deadline()
        return time.perf_counter() - began


class _Playing:
    """One engine and those who talk to it, in the order in which they have something to say."""

    def __init__(self, crowd: Crowd) -> None:
        self.engine = _new_engine()
        self.day = Day()
        self._exchanges = count(1)
        self._crowd = crowd
        self._now, self._rng = 0.0, Random(1)
        self._due: list[tuple[float, int, Conversation, Request]] = []
        self._waiting: dict[ExchangeId, Conversation] = {}

    def register_all(self) -> None:
        """Have everybody register, and every file read."""
        crowd, form = self._crowd, _FORMS[self._crowd.form]
        for peer in range(crowd.peers):
            for task in range(crowd.tasks):
                url, name = f"http://origin/{task}", f"127.0.0.1-{task}.{peer}-0.000"
                conversation = form(url, name)
                self._ask(conversation, next(conversation))

    def play(self, pieces: float = inf) -> None:
        """Go on until everybody has everything, or all together have so many pieces."""
        while self._due:
            self._now, _, conversation, request = heappop(self._due)
            pieces -= _news(request)
            if pieces < 0:
                return
            self._ask(conversation, request)
        assert not self._waiting, "somebody was forgotten"

    def _ask(self, conversation: Conversation, request: Request) -> None:
        exchange = ExchangeId(next(self._exchanges))
        self._waiting[exchange] = conversation
        self._tell(Requested(exchange, request))

    def _tell(self, event: SupernodeEvent) -> None:
        self.day.calls.append((event, self._now))
        self._perform(self.engine.handle(event, self._now))

    def _perform(self, effects: Sequence[SupernodeEffect]) -> None:
        for effect in effects:
            match effect:
                case Answer(exchange, reply):
                    self._hear(exchange, reply)
                case ReadOrigin(fetch):
                    self._read(fetch)
                case _:
                    pass

    def _hear(self, exchange: ExchangeId, reply: Reply) -> None:
        conversation = self._waiting.pop(exchange)
        with suppress(StopIteration):
            request = conversation.send(reply)
            due_s = self._now + _PIECE_S * _news(request) * self._rng.uniform(0.9, 1.1)
            heappush(self._due, (due_s, exchange, conversation, request))

    def _read(self, fetch: FetchId) -> None:
        size = MIB - 5
        length = self._crowd.pieces * size
        self._tell(OriginOpened(fetch, length, MIB, True, ""))
        for piece in range(self._crowd.pieces):
            digest = Digest(f"sha256:{piece:064x}")
            self._tell(OriginPieceStored(fetch, PieceIndex(piece), size, digest))
        self._tell(OriginEnded(fetch, length))


def _news(request: Request) -> int:
    """Return how many pieces came since the peer spoke last."""
    match request:
        case Update():
            return len(request.held)
        case ReportPiece():
            return 1
        case _:
            return 0


def _new_engine() -> SupernodeEngine:
    return SupernodeEngine(SupernodeConfig(), Random(1))


def record(crowd: Crowd) -> Day:
    """Have everybody register and get everything."""
    playing = _Playing(crowd)
    playing.register_all()
    playing.play()
    return playing.day


def bytes_per_peer(crowd: Crowd) -> float:
    """Return what the engine keeps for a peer in the middle of its download."""
    tracemalloc.start()
    playing = _Playing(crowd)
    playing.register_all()
    playing.play(crowd.assigned / 2)
    playing.day.calls.clear()
    gc.collect()
    own = tracemalloc.Filter(True, f"{_ENGINE}/*")
    kept = tracemalloc.take_snapshot().filter_traces([own]).statistics("filename")
    tracemalloc.stop()
    return sum(found.size for found in kept) / (crowd.tasks * crowd.peers)


if __name__ == "__main__":
    print(bytes_per_peer(Crowd(**json.loads(sys.argv[1]))))
