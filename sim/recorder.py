"""Follows a run: who holds how much when, where the bytes come from, who gives how many.

A run without a recorder pays nothing for it.  What is kept does not grow with the run: samples are
thinned out as it gets longer, and many peers or pieces share a cell of the heat map.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..engine.effects import CancelFetch, DropPiece, FetchPiece, KeepPiece, LayOut
from ..engine.events import PieceFailed, PieceFetched, Started

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..engine.ids import FetchId, PieceIndex
    from .machine import Machine
    from .stage import Stage
    from .world import Story

_MOST_SAMPLES: Final = 401
"""Odd, so that what is left after thinning is evenly spaced with what comes."""
_MOST_CELLS: Final = 250
"""Of the heat map, each way."""
_SAMPLES_A_BOUND: Final = 200
_SHORTEST_S: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Sample:
    """How far the swarm was at one moment.

    Shares of what a peer wants, from 0 to 1, that the peer a tenth, half and nine tenths of the
    way up holds; ``done`` is the share of peers that hold everything.  Bytes are totals of content
    that moved up to then; ``own_bytes`` lay on peers' own disks from before a restart.
    """

    at_s: float
    low: float
    median: float
    high: float
    done: float
    origin_bytes: int
    supernode_bytes: int
    peer_bytes: int
    own_bytes: int


@dataclass(frozen=True, slots=True)
class HeatMap:
    """When pieces came to peers: ``rows`` of ``peers``, ``columns`` of ``pieces``, by number.

    ``arrived_s`` has the mean time from the start of the run for each cell, row by row; ``None``:
    nothing of it came.
    """

    peers: int
    pieces: int
    rows: int
    columns: int
    arrived_s: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """What a recorder saw; ``uploaded_bytes`` is the content that each peer gave to others."""

    samples: tuple[Sample, ...]
    uploaded_bytes: tuple[int, ...]
    heat: HeatMap

    @property
    def gini(self) -> float:
        """How unequal uploads are: 0 all alike, 1 one peer gives everything."""
        return gini(self.uploaded_bytes)


class Recorder:
    """Watches the one run that it is handed to."""

    def __init__(self) -> None:
        self._samples: list[Sample] = []
        self._asked: dict[tuple[str, FetchId], int] = {}
        """Which peer was asked by each fetch under way; those of the supernodes are left out."""
        self._downloads: dict[str, _Download] = {}
        self._latest: dict[tuple[int, int], str] = {}
        """The latest process of each machine's each file."""
        self._own_bytes = 0

    def follow(self, stage: Stage, machines: Sequence[Machine]) -> None:
        """Take in who takes part, before the run."""
        scenario = stage.scenario
        self._stage, self._machines = stage, machines
        self._by_ip = {machine.host.ip: machine.number for machine in machines}
        pieces = scenario.layout.count
        self._wanted = [max(1, pieces * len(files)) for files in scenario.wants]
        self._pause_s = max(_SHORTEST_S, scenario.bounds[0] / _SAMPLES_A_BOUND)
        self._held = [0] * len(machines)
        self._uploaded = [0] * len(machines)
        self._heat = _Cells(len(machines), max(1, pieces * scenario.files))

    def __call__(
        self, now: float, node: str, event: object | None, effects: Sequence[object]
    ) -> None:
        """Take in one engine call."""
        match event:
            case PieceFetched(fetch, size):
                if (parent := self._asked.pop((node, fetch), None)) is not None:
                    self._uploaded[parent] += size
            case PieceFailed(fetch):
                self._asked.pop((node, fetch), None)
            case Started(held):
                self._own_bytes += sum(piece.size for piece in held)
                self._holds(node, len(held))
            case _:
                pass
        for effect in effects:
            match effect:
                case KeepPiece(piece):
                    self._kept(now, node, piece)
                case FetchPiece(fetch, offer):
                    if (parent := self._by_ip.get(offer.host)) is not None:
                        self._asked[node, fetch] = parent
                case CancelFetch(fetch):
                    self._asked.pop((node, fetch), None)
                case DropPiece():
                    self._holds(node, self._download(node).held - 1)
                case LayOut(keep=False):
                    self._holds(node, 0)
                case _:
                    pass

    def story(self) -> Story:
        """Sample now and then, as long as the run goes on."""
        while True:
            self._samples.append(self._sample())
            if len(self._samples) >= _MOST_SAMPLES:
                del self._samples[1::2]
                self._pause_s *= 2
            yield self._pause_s

    def record(self) -> Record:
        """Return what was seen up to now."""
        samples, last = self._samples, self._sample()
        if samples and samples[-1].at_s >= last.at_s:
            samples = samples[:-1]
        return Record((*samples, last), tuple(self._uploaded), self._heat.map())

    def _sample(self) -> Sample:
        both = zip(self._held, self._wanted, strict=True)
        shares = sorted([held / wanted for held, wanted in both])
        moved, most = self._stage.transfers, len(shares) - 1
        return Sample(
            at_s=self._stage.world.now,
            low=shares[round(most * 0.1)],
            median=shares[round(most * 0.5)],
            high=shares[round(most * 0.9)],
            done=sum(machine.has_files for machine in self._machines) / len(shares),
            origin_bytes=self._stage.origin.bytes_read,
            supernode_bytes=moved.bytes_from_supernode,
            peer_bytes=moved.bytes_from_peers,
            own_bytes=self._own_bytes,
        )

    def _kept(self, now: float, node: str, piece: PieceIndex) -> None:
        download = self._download(node)
        self._holds(node, download.held + 1)
        self._heat.add(download.peer, download.first + piece, now)

    def _holds(self, node: str, count: int) -> None:
        """A process holds so many pieces now."""
        download = self._download(node)
        self._held[download.peer] += count - download.held
        download.held = count

    def _download(self, node: str) -> _Download:
        if (known := self._downloads.get(node)) is not None:
            return known
        number = self._by_ip[node.partition("-")[0]]
        downloads = self._machines[number].downloads
        file = next(file for file, peer in downloads.items() if peer.node.name == node)
        if (earlier := self._latest.get((number, file))) is not None:
            self._holds(earlier, 0)
        self._latest[number, file] = node
        made = _Download(number, file * self._stage.scenario.layout.count)
        self._downloads[node] = made
        return made


def gini(values: Sequence[float]) -> float:
    """Return the Gini coefficient of some amounts, none of them negative; 0 if all are."""
    ascending, total = sorted(values), sum(values)
    if not total:
        return 0.0
    count = len(ascending)
    ranked = sum(rank * value for rank, value in enumerate(ascending, 1))
    return 2 * ranked / (count * total) - (count + 1) / count


@dataclass(slots=True)
class _Download:
    """A process: its machine's number, its file's first piece among all, the pieces it holds."""

    peer: int
    first: int
    held: int = 0


class _Cells:
    """A heat map in the making."""

    def __init__(self, peers: int, pieces: int) -> None:
        self._peers, self._pieces = peers, pieces
        self._rows, self._columns = min(peers, _MOST_CELLS), min(pieces, _MOST_CELLS)
        self._sums = array("d", bytes(8 * self._rows * self._columns))
        self._counts = array("L", bytes(array("L").itemsize * self._rows * self._columns))

    def add(self, peer: int, piece: int, when: float) -> None:
        row, column = peer * self._rows // self._peers, piece * self._columns // self._pieces
        cell = row * self._columns + column
        self._sums[cell] += when
        self._counts[cell] += 1

    def map(self) -> HeatMap:
        cells = zip(self._sums, self._counts, strict=True)
        means = tuple(total / count if count else None for total, count in cells)
        return HeatMap(self._peers, self._pieces, self._rows, self._columns, means)
