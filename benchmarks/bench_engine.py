"""How many calls per second do the engines take, without network, disk or clock around them?

The calls are those of a whole simulated distribution, recorded at the engines' doors and played
again to fresh copies in a tight loop; or those of a crowd of peers that do nothing but talk to a
supernode (``crowd``).
"""

from __future__ import annotations

import gc
import json
import subprocess
import time
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

import h11

from damselfly.engine.piece import MIB
from damselfly.sim.scenario import Scenario
from damselfly.sim.swarm import Swarm

from .crowd import Crowd, record
from .results import Result, Spread, Table
from .servers import ENVIRONMENT, PYTHON, ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from damselfly.engine.effects import DownloadEffect
    from damselfly.engine.engine import Engine
    from damselfly.engine.events import DownloadEvent

EventT = TypeVar("EventT")
EffectT = TypeVar("EffectT")
_PULL: Final = (
    b"GET /peer/task?taskId=" + b"0" * 64 + b"&srcCid=10.0.0.1-1-2.3&status=701&result=503&dstCid="
    b"10.0.0.2-1-2.3&range=1048576-2097151 HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: x\r\n\r\n"
)
_ANSWER: Final = b"x" * 350
_TIMEOUT_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    ``swarms`` as (peers, pieces), with ``downloads`` recorded in each; ``crowds``: pieces of a file
    for so many peers of one task, and for ten peers in each of ``tasks``.
    """

    swarms: tuple[tuple[int, int], ...]
    downloads: int
    peers: int
    tasks: int
    pieces: int
    cycles: int
    rounds: int


FULL: Final = Plan(((100, 192), (1000, 48)), 20, 2000, 200, 96, cycles=5000, rounds=5)
QUICK: Final = Plan(((4, 4),), 2, 8, 2, 4, cycles=10, rounds=1)
_CROWD: Final = 10


class Recorder(Generic[EventT, EffectT]):
    """An engine that notes each call before it takes it."""

    def __init__(self, engine: Engine[EventT, EffectT]) -> None:
        self.fresh = deepcopy(engine)
        self.calls: list[tuple[EventT | None, float]] = []
        self._engine = engine

    def handle(self, event: EventT, now: float) -> Sequence[EffectT]:
        self.calls.append((event, now))
        return self._engine.handle(event, now)

    def tick(self, now: float) -> Sequence[EffectT]:
        self.calls.append((None, now))
        return self._engine.tick(now)

    def deadline(self) -> float:
        return self._engine.deadline()

    def check(self) -> None:
        self._engine.check()

    def replay(self) -> float:
        """Return how many seconds a fresh engine takes for all calls, asked as by a driver."""
        engine = deepcopy(self.fresh)
        began = time.perf_counter()
        for event, now in self.calls:
            if event is None:
                engine.tick(now)
            else:
                engine.handle(event, now)
            engine.deadline()
        return time.perf_counter() - began


class Recorded(Protocol):
    """Calls that can be made again."""

    @property
    def calls(self) -> Sequence[object]:
        """What was called."""
        ...

    def replay(self) -> float:
        """Return how many seconds a fresh engine takes for all of it."""
        ...


@dataclass(slots=True)
class Engines:
    """The recorded engines of one kind in one swarm; ``pieces`` are those that they dealt with."""

    title: str
    pieces: int
    recorders: Sequence[Recorded]
    bytes_per_peer: float = 0.0
    seconds: list[float] = field(default_factory=list[float])

    @property
    def calls(self) -> int:
        """How many calls one replay makes."""
        return sum(len(recorder.calls) for recorder in self.recorders)


def measure(plan: Plan = FULL) -> Result:
    """Record each swarm, then take turns with the replays and the h11 reference."""
    kinds = [kind for peers, pieces in plan.swarms for kind in _record(peers, pieces, plan)]
    for form in ("native", "v1"):
        kinds.append(_of_crowd(Crowd(form, 1, plan.peers, plan.pieces)))
        kinds.append(_of_crowd(Crowd(form, plan.tasks, _CROWD, plan.pieces)))
    cycle_us: list[float] = []
    gc.collect()
    gc.freeze()  # what was recorded is not to be walked through while engines are measured
    try:
        for _ in range(plan.rounds):
            cycle_us.append(1e6 * _h11_cycles(plan.cycles) / plan.cycles)
            for kind in kinds:
                kind.seconds.append(sum(recorder.replay() for recorder in kind.recorders))
    finally:
        gc.unfreeze()
    return _result(kinds, Spread(tuple(cycle_us)))


def _record(peers: int, pieces: int, plan: Plan) -> tuple[Engines, Engines]:
    swarm = Swarm(Scenario(peers=peers, file_bytes=pieces * (MIB - 5), piece_size=MIB))
    supernode = Recorder(swarm.supernode.node.engine)
    swarm.supernode.node.engine = supernode
    downloads: list[Recorder[DownloadEvent, DownloadEffect]] = []
    for peer in swarm.peers[:: max(1, peers // plan.downloads)]:
        peer.node.engine = recorder = Recorder(peer.node.engine)
        downloads.append(recorder)
    report = swarm.run()
    assert not report.unfinished
    where = f"{peers} peers, {pieces} pieces"
    return (
        Engines(f"SupernodeEngine, {where}", report.transfers, [supernode]),
        Engines(f"DownloadEngine, {where}", pieces * len(downloads), downloads),
    )


def _of_crowd(crowd: Crowd) -> Engines:
    """Record a crowd; what it takes of memory is measured in a process of its own."""
    command = [*PYTHON[:1], "-m", "benchmarks.crowd", json.dumps(asdict(crowd))]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, check=True, env=ENVIRONMENT, cwd=ROOT, timeout=_TIMEOUT_S
    )
    title = f"SupernodeEngine, {crowd}"
    return Engines(title, crowd.assigned, [record(crowd)], float(done.stdout))


def _h11_cycles(cycles: int) -> float:
    """Return how many seconds h11 takes to parse a pull and write an answer, so many times."""
    connection = h11.Connection(h11.SERVER)
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(_ANSWER)))]
    began = time.perf_counter()
    for _ in range(cycles):
        connection.receive_data(_PULL)
        while not isinstance(connection.next_event(), h11.EndOfMessage):
            pass
        connection.send(h11.Response(status_code=200, headers=headers))
        connection.send(h11.Data(data=_ANSWER))
        connection.send(h11.EndOfMessage())
        connection.start_next_cycle()
    return time.perf_counter() - began


def _result(kinds: Sequence[Engines], cycle_us: Spread) -> Result:
    rows = [("h11: parse a pull, write an answer", "", cycle_us.text(1), "1.00", "", "", "")]
    figures = {"h11 cycle us": cycle_us.median}
    for kind in kinds:
        call_us = Spread(tuple(1e6 * seconds / kind.calls for seconds in kind.seconds))
        piece_us = call_us.median * kind.calls / kind.pieces
        ratio = call_us.median / cycle_us.median
        per_s = 1e6 / call_us.median
        rows.append(
            (
                kind.title,
                f"{per_s:,.0f}",
                call_us.text(1),
                f"{ratio:.2f}",
                f"{kind.calls / kind.pieces:.2f}",
                f"{1e6 / piece_us:,.0f}",
                f"{kind.bytes_per_peer:,.0f}" if kind.bytes_per_peer else "",
            )
        )
        figures |= {
            f"{kind.title}: calls per s": per_s,
            f"{kind.title}: pieces per s": 1e6 / piece_us,
            f"{kind.title}: call in h11 cycles": ratio,
        }
        if kind.bytes_per_peer:
            figures[f"{kind.title}: bytes per peer"] = kind.bytes_per_peer
    native, *_ = [row for row, kind in zip(rows[1:], kinds, strict=True) if kind.bytes_per_peer]
    summary = (
        f"With {native[0].partition(', native, ')[2]} that make updates, SupernodeEngine schedules"
        f" {native[5]} pieces a second, and keeps {native[6]} bytes for each of them."
    )
    head = (
        *("engine", "calls/s", "µs a call", "in h11 cycles", "calls a piece", "pieces/s"),
        "bytes a peer",
    )
    return Result("engine", summary, Table(head, tuple(rows)), figures)


def main() -> None:
    """Measure and print."""
    print(measure())


if __name__ == "__main__":
    main()
