"""What hosts cost: measured on this machine with the real programs, for scenarios of dfsim.

A supernode process with a warm copy stands on loopback; this process fetches pieces and makes
control exchanges as dfget does, and looks at its own CPU clock.  Files lie on ``/dev/shm``, but for
the disk, which is measured where ``--disk`` says.  ``python -m benchmarks.calibrate`` takes some
20 s, writes ``calibration.json`` and prints the lines for a scenario file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from damselfly.engine.effects import FetchPiece
from damselfly.engine.events import PieceFetched
from damselfly.engine.ids import FetchId, PeerId, PieceIndex
from damselfly.engine.messages import (
    PieceOffer,
    PiecesOffered,
    PullPieces,
    PullResult,
    PullStatus,
    Register,
    Registered,
    ReportPiece,
)
from damselfly.engine.piece import MIB, WRAP_BYTES, DigestForm, PieceLayout
from damselfly.engine.wire.v1 import decode_reply, encode_request
from damselfly.net.downloader import Buffers, fetch_piece
from damselfly.net.http import HttpPool
from damselfly.net.store import PieceStore

from .fetching import download
from .load import Job, Tally
from .machine import settle, this_machine
from .results import FOLDER, Spread, commit
from .servers import ENVIRONMENT, PYTHON, ROOT, Server, fill, origin, supernode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from damselfly.engine.messages import V1Reply, V1Request

COMMAND: Final = "python -m benchmarks.calibrate"
FILE: Final = FOLDER / "calibration.json"
_TIMEOUT_S: Final = 30.0
_PEER: Final = PeerId("127.0.0.1-1-0.000")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: pieces fetched, exchanges made, peers of the swarm, disk writes."""

    pieces: int
    exchanges: int
    peers: int
    rounds: int
    disk_bytes: int


FULL: Final = Plan(pieces=200, exchanges=2000, peers=64, rounds=3, disk_bytes=512 * MIB)
QUICK: Final = Plan(pieces=3, exchanges=3, peers=2, rounds=1, disk_bytes=2 * MIB)


def measure(plan: Plan, disk: Path) -> dict[str, float]:
    """Return the fields of ``Scenario`` that this machine has a say in; ``disk`` is a folder."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        folder = Path(name)
        file = folder / "file"
        with file.open("wb") as out:
            fill(out, plan.pieces * (MIB - WRAP_BYTES) + 1)
        with (
            origin(folder / "origin", file) as source,
            supernode(folder / "supernode") as node,
        ):
            urls = [f"http://{source}/{turn}" for turn in range(plan.rounds)]
            for turn, url in enumerate(urls):
                download(url, node, folder / str(turn))
            found = trio.run(_peer, plan, node, urls[0], folder)
            rates = tuple(_messages_per_s(plan, node, url) for url in urls)
    found["supernode_messages_per_s"] = Spread(rates).median
    return found | _disk(plan, disk)


# --- a peer ---------------------------------------------------------------------------------------


async def _peer(plan: Plan, node: Server, url: str, folder: Path) -> dict[str, float]:
    """Fetch pieces and make exchanges as dfget does; return what each costs."""
    async with HttpPool() as pool:
        registered = await _exchange(pool, node, _registration(url))
        assert isinstance(registered, Registered), registered
        task = registered.task
        pull = PullPieces(task, _PEER, PullStatus.START, PullResult.INVALID)
        offered = await _exchange(pool, node, pull)
        assert isinstance(offered, PiecesOffered), offered
        layout = PieceLayout(registered.length, registered.piece_size)
        with PieceStore.create(folder / "store" / "file", "key") as store:
            store.lay_out(layout.length, layout.piece_size, "", keep=False)
            whole = await _pieces(pool, store, layout, offered.offers[0], range(plan.pieces))
            # The last piece has one byte of content: what it takes is the request alone.
            last = [PieceIndex(plan.pieces)] * plan.pieces
            empty = await _pieces(pool, store, layout, offered.offers[0], last)
        first = offered.offers[0]
        report = ReportPiece(task, _PEER, first.parent, first.piece, first.piece_size)
        began = time.process_time()
        for _ in range(plan.exchanges):
            await _exchange(pool, node, report)
        message_cpu_s = (time.process_time() - began) / plan.exchanges
    return {
        "piece_cpu_s": whole.cpu_s,
        "message_cpu_s": message_cpu_s,
        "dead_time_s": empty.wall_s,
    }


@dataclass(frozen=True, slots=True)
class _Cost:
    """Of one piece, the median."""

    wall_s: float
    cpu_s: float


async def _pieces(
    pool: HttpPool,
    store: PieceStore,
    layout: PieceLayout,
    like: PieceOffer,
    pieces: Sequence[int],
) -> _Cost:
    """Fetch pieces one by one, all from where the offer ``like`` points to."""
    walls: list[float] = []
    cpus: list[float] = []
    buffers = Buffers()
    for number in pieces:
        piece = PieceIndex(number)
        offer = PieceOffer(piece, like.parent, like.host, like.port, like.path, like.piece_size)
        effect = FetchPiece(FetchId(1), offer, layout.size(piece), _TIMEOUT_S)
        wall, cpu = time.perf_counter(), time.process_time()
        event = await fetch_piece(effect, pool, store.write, buffers)
        assert isinstance(event, PieceFetched), event
        store.keep(piece, event.size, event.digest)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return _Cost(Spread(tuple(walls)).median, Spread(tuple(cpus)).median)


async def _exchange(pool: HttpPool, node: Server, request: V1Request) -> V1Reply:
    call = encode_request(request)
    status, _, body = await pool.call(
        node.host,
        node.port,
        call.method,
        call.target,
        call.headers,
        call.body,
        timeout_s=_TIMEOUT_S,
    )
    return decode_reply(request, status, body)


def _registration(url: str) -> Register:
    return Register(
        raw_url=url,
        task_url=url,
        peer=_PEER,
        ip="127.0.0.1",
        host_name="calibration",
        port=15001,
        path="/peer/file/calibration",
        digest_form=DigestForm.SHA256,
    )


# --- a supernode, and a disk ----------------------------------------------------------------------


def _messages_per_s(plan: Plan, node: Server, url: str) -> float:
    """Return how many exchanges a second the supernode schedules a swarm with."""
    job = Job(node.host, node.port, "v1", plan.peers, _TIMEOUT_S, url)
    command = [*PYTHON[:1], "-m", "benchmarks.load", json.dumps(asdict(job))]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, check=True, timeout=_TIMEOUT_S, env=ENVIRONMENT, cwd=ROOT
    )
    tally = Tally(**json.loads(done.stdout))
    return tally.exchanges / tally.seconds


def _disk(plan: Plan, folder: Path) -> dict[str, float]:
    """Write pieces and have them on the disk; return the pace, and what one small write takes."""
    block = os.urandom(MIB)
    with tempfile.TemporaryFile(dir=folder) as file:
        fd = file.fileno()

        def pieces() -> None:
            for _ in range(plan.disk_bytes // MIB):
                os.write(fd, block)
            os.fdatasync(fd)

        def record() -> None:
            os.pwrite(fd, block[:64], 0)
            os.fdatasync(fd)

        rate = plan.disk_bytes / _timed(pieces)
        latencies = tuple(_timed(record) for _ in range(20))
    return {"disk_bytes_per_s": rate, "disk_latency_s": Spread(latencies).median}


def _timed(do: Callable[[], None]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


def main() -> None:
    """Measure, print the lines for a scenario file, and keep the figures."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument(
        "--disk",
        type=Path,
        default=Path(tempfile.gettempdir()),
        metavar="DIR",
        help="a folder on the disk to measure (default: that of temporary files)",
    )
    parser.add_argument(
        "--into", type=Path, default=FILE, metavar="FILE", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="only see that it runs; the figures mean nothing"
    )
    flags = parser.parse_args()
    settle()
    machine = this_machine()
    found = measure(QUICK if flags.quick else FULL, flags.disk)
    scenario = {name: float(f"{value:.2g}") for name, value in found.items()}
    kept = {
        "command": COMMAND,
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit(),
        "machine": asdict(machine),
        "scenario": scenario,
    }
    flags.into.write_text(f"{json.dumps(kept, indent=2)}\n")
    print(f"# {machine}")
    for name, value in scenario.items():
        print(f"{name}: {value:g}")


if __name__ == "__main__":
    main()
