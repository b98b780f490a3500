"""A scenario like the one that a supernode's trace tells of, to try another policy on it."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING, Final

from ..engine.config import CdnPattern
from ..engine.errors import ConfigError
from ..engine.ids import is_cdn
from .capacity import Crossing, capacity_bytes_per_s
from .misfortunes import Crash
from .population import PeerClass, Uploads
from .scenario import Scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..engine.config import SupernodeConfig
    from ..engine.ids import PeerId
    from ..engine.piece import PieceLayout
    from .observed import ObservedPeer, ObservedTask, Observer

_MESSAGES: Final = 4
"""From an assignment to its report: the answer, the request, the first byte, the report."""
_LEAST_SHARE: Final = 0.5
"""Of the time from assignment to report, so much at least is taken for that of the bytes."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The scenario, and what happened in truth: seconds that peers took, and bytes.

    ``notes`` say what the trace does not tell.
    """

    scenario: Scenario
    took_s: tuple[float, ...]
    unfinished: int
    supernode_bytes: int
    notes: tuple[str, ...]

    @property
    def mean_s(self) -> float | None:
        """Mean completion of the peers that got the file."""
        return fmean(self.took_s) if self.took_s else None

    @property
    def max_s(self) -> float | None:
        """Completion of the last of them."""
        return max(self.took_s) if self.took_s else None


def choose(observer: Observer, wanted: str = "") -> ObservedTask:
    """Return the task whose id begins with ``wanted``; of several the one with most peers.

    Raises:
        ConfigError: there is none.

    """
    found = [
        task for task in observer.tasks.values() if task.task.startswith(wanted) and task.peers
    ]
    if not found:
        which = f"a task that begins with {wanted}" if wanted else "a task"
        raise ConfigError(f"the trace tells of no peer that registered for {which}")
    return max(found, key=lambda task: len(task.peers))


def rebuild(observer: Observer, task: ObservedTask, config: SupernodeConfig) -> Rebuilt:
    """Return the scenario of one task.

    Raises:
        ConfigError: the trace does not tell the length of the file.

    """
    layout = task.layout
    if layout is None:
        raise ConfigError(f"the trace does not tell the length of task {task.task}")
    return _Builder(observer, task, layout, config).build()


class _Builder:
    """Puts one scenario together; peers are numbered in the order in which they came."""

    def __init__(
        self, observer: Observer, task: ObservedTask, layout: PieceLayout, config: SupernodeConfig
    ) -> None:
        self._observer, self._task, self._layout, self._config = observer, task, layout, config
        self._peers = sorted(task.peers.values(), key=lambda peer: peer.arrived_s)
        self._start_s = self._peers[0].arrived_s
        self._notes: list[str] = []

    def build(self) -> Rebuilt:
        task, config, peers = self._task, self._config, self._peers
        took_s = [
            done_s - peer.arrived_s for peer in peers if (done_s := task.done_s(peer)) is not None
        ]
        latency_s = self._latency_s()
        ups, downs, supernode = self._rates(latency_s)
        crashes = self._crashes()
        scenario = Scenario(
            peers=len(peers),
            file_bytes=self._layout.length,
            piece_size=self._layout.piece_size,
            peer_up_bytes_per_s=ups,
            peer_down_bytes_per_s=downs,
            classes=self._classes(),
            supernode_bytes_per_s=supernode,
            origin_bytes_per_s=self._origin_rate(),
            latency_s=latency_s,
            up_slots=config.up_slots,
            down_slots=config.down_slots,
            supernode_slots=config.cdn_up_slots,
            policy=config.policy,
            arrivals_s=tuple([round(peer.arrived_s - self._start_s, 6) for peer in peers]),
            linger_s=self._linger_s(),
            crashes=crashes,
        )
        self._note_the_rest()
        size = self._layout.size
        return Rebuilt(
            scenario=scenario,
            took_s=tuple(sorted(took_s)),
            unfinished=len(peers) - len(took_s) - len(crashes),
            supernode_bytes=sum(size(move.piece) for move in task.moves if is_cdn(move.parent)),
            notes=tuple(self._notes),
        )

    def _latency_s(self) -> float:
        gaps = [peer.round_trip_s for peer in self._peers if peer.round_trip_s is not None]
        if not gaps:
            self._notes.append("latency: no peer was seen to answer at once; 0.5 ms is assumed")
            return 0.0005
        return round(median(gaps) / 2, 6)

    def _rates(self, latency_s: float) -> tuple[tuple[float, ...], tuple[float, ...], float]:
        """Return what the uplinks and downlinks of all peers carry, and the supernode's uplink."""
        sent: dict[PeerId | None, list[Crossing]] = {}
        received: dict[PeerId | None, list[Crossing]] = {}
        for move in self._task.moves:
            took_s = move.end_s - move.begin_s
            bytes_s = max(took_s - _MESSAGES * latency_s, _LEAST_SHARE * took_s)
            end_s = max(move.end_s - latency_s, move.begin_s + bytes_s)
            crossing = Crossing(end_s - bytes_s, end_s, self._layout.size(move.piece))
            parent = None if is_cdn(move.parent) else move.parent
            sent.setdefault(parent, []).append(crossing)
            received.setdefault(move.child, []).append(crossing)
        ups = self._of_all(sent, "upload", lambda peer: peer.port > 0)
        downs = self._of_all(received, "download", lambda _: True)
        supernode = capacity_bytes_per_s(sent.get(None, []))
        if supernode is None:
            supernode = max(downs)
            self._notes.append("supernode: it sent nothing; taken to be as fast as the best peer")
        return ups, downs, float(round(supernode))

    def _of_all(
        self,
        crossings: dict[PeerId | None, list[Crossing]],
        what: str,
        could: Callable[[ObservedPeer], bool],
    ) -> tuple[float, ...]:
        seen = {
            peer.peer: rate
            for peer in self._peers
            if (rate := capacity_bytes_per_s(crossings.get(peer.peer, []))) is not None
        }
        usual = median(seen.values()) if seen else Scenario.peer_up_bytes_per_s
        assert not isinstance(usual, tuple)
        unseen = sum(peer.peer not in seen and could(peer) for peer in self._peers)
        if unseen:
            taken = f"{usual / 1e6:.1f} MB/s, as the median" if seen else f"{usual / 1e6:.1f} MB/s"
            self._notes.append(f"{what}: not seen of {unseen} peers, taken to be {taken}")
        return tuple([float(round(seen.get(peer.peer, usual))) for peer in self._peers])

    def _classes(self) -> tuple[PeerClass, ...]:
        closed = sum(not peer.port for peer in self._peers)
        if not closed:
            return ()
        if closed < len(self._peers):
            self._notes.append(f"{closed} peers serve nobody: which ones is drawn anew")
        return (PeerClass(closed / len(self._peers), uploads=Uploads.NONE),)

    def _origin_rate(self) -> float | None:
        """Return how fast the origin was: all but the first piece, over the time from then on."""
        pieces = self._task.origin_pieces
        over_s = pieces[-1][0] - pieces[0][0] if pieces else 0.0
        if over_s <= 0:
            self._notes.append("origin: no read of several pieces seen; as fast as the supernode")
            return None
        return float(round(sum(size for _, size in pieces[1:]) / over_s))

    def _linger_s(self) -> float | None:
        stays_s: list[float] = []
        for peer in self._peers:
            done_s = self._task.done_s(peer)
            if done_s is not None and peer.left_s is not None:
                stays_s.append(max(0.0, peer.left_s - done_s))
        if 2 * len(stays_s) < len(self._peers):
            return None
        return round(median(stays_s), 6)

    def _crashes(self) -> tuple[Crash, ...]:
        """Return who went, or fell silent for long, without the file."""
        silent_s = self._observer.last_s - self._config.peer_silence_s
        return tuple(
            [
                Crash(number, round(peer.heard_s - self._start_s, 6))
                for number, peer in enumerate(self._peers)
                if self._task.done_s(peer) is None
                and (peer.failed or peer.left_s is not None or peer.heard_s < silent_s)
            ]
        )

    def _note_the_rest(self) -> None:
        if self._task.strangers:
            count = len(self._task.strangers)
            self._notes.append(f"{count} peers came before the trace begins and are left out")
        if self._config.cdn_pattern is CdnPattern.SOURCE:
            self._notes.append("pieces came from the origin to peers; here the supernode reads it")


def describe(rebuilt: Rebuilt) -> Sequence[str]:
    """Return the scenario's figures in some lines for people."""
    scenario = rebuilt.scenario
    ups, downs = scenario.peer_up_bytes_per_s, scenario.peer_down_bytes_per_s
    assert isinstance(ups, tuple)
    assert isinstance(downs, tuple)
    over_s = scenario.arrivals_s[-1]
    origin = scenario.origin_bytes_per_s
    got = f"{len(rebuilt.took_s)} got the file"
    if rebuilt.took_s:
        got += f", in {rebuilt.mean_s:.3f} s on average, {rebuilt.max_s:.3f} s at most"
    return (
        f"{scenario.peers} peers within {over_s:.3f} s, {scenario.layout.count} pieces of"
        f" {scenario.layout.piece_size} bytes, {scenario.file_bytes} bytes in all",
        f"median uplink {_mb(median(ups))}, downlink {_mb(median(downs))}; supernode"
        f" {_mb(scenario.supernode_bytes_per_s)}, origin {_mb(origin) if origin else 'not seen'};"
        f" latency {1000 * scenario.latency_s:.2f} ms",
        f"{got}; {len(scenario.crashes)} went or died without it,"
        f" {rebuilt.unfinished} were on their way when the trace ended",
        *rebuilt.notes,
    )


def _mb(rate_bytes_per_s: float) -> str:
    return f"{rate_bytes_per_s / 1e6:.1f} MB/s"
