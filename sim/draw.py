"""A seed becomes a storm: every knob of a scenario drawn, faults that end, then calm.

Each group of knobs has a stream of its own, so that what is drawn for one leaves the others alone.
Storms are harsh but survivable: a way to the file remains for everybody who lives, what cuts
somebody off for good is left out, and a run takes seconds, not minutes, of the origin's time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final

from ..engine.config import SupernodeConfig
from ..engine.piece import MIB, WRAP_BYTES, PieceLayout, PieceSizePolicy
from .misfortunes import (
    Churn,
    Corruption,
    Crash,
    Cut,
    Outage,
    Partition,
    Slowdown,
    SupernodeCrash,
)
from .population import PeerClass, Uploads
from .scenario import NetworkModel, Scenario, SupernodeChoice
from .topology import Topology

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    T = TypeVar("T")

_MOST_TRANSFERS: Final = 1500
_MOST_PEERS: Final = 60
_MOST_PIECES: Final = 300
_PIECE_S: Final = (0.002, 0.5)
"""What a piece takes at a typical rate."""
_FILE_S: Final = 20.0
_POLICIES: Final = ("damselfly", "rarest", "random", "sequential")
"""Not Dragonfly's own, which loses count of its slots."""


def draw(seed: int) -> Scenario:
    """Return the scenario of this seed."""
    sketch = _Sketch()
    for group in _GROUPS:
        group(sketch, _Dice(f"{seed}/draw {group.__name__}"))
    return Scenario(seed=seed, **sketch.knobs)


@dataclass
class _Sketch:
    """A scenario in the making."""

    knobs: dict[str, Any] = field(default_factory=dict[str, Any])
    peers: int = 1
    pieces: int = 1
    rate: float = 1.0
    """Bytes per second of a typical link."""


class _Dice(Random):
    """Chance with a few more words."""

    def chance(self, probability: float) -> bool:
        """Say yes with this probability."""
        return self.random() < probability

    def stretch(self, low: float, high: float) -> float:
        """Return a number between two positive ones, all orders of magnitude alike."""
        return float(low * (high / low) ** self.random())

    def often(self, usual: T, *others: T) -> T:
        """Return the usual thing half of the time."""
        return usual if self.chance(0.5) else self.choice(others)


def _shape(sketch: _Sketch, dice: _Dice) -> None:
    """How many peers want how many pieces of what size."""
    sketch.peers = peers = dice.choice(
        [1, 2, 3, dice.randint(4, 8), dice.randint(4, 20), dice.randint(20, _MOST_PEERS)]
    )
    most = max(1, min(_MOST_PIECES, _MOST_TRANSFERS // peers))
    pieces = min(most, dice.choice([0, 1, 2, dice.randint(3, 12), dice.randint(3, most + 3)]))
    size = int(dice.stretch(WRAP_BYTES + 1, 4 * MIB))
    content = size - WRAP_BYTES
    full = dice.chance(0.3)
    sketch.knobs |= {
        "peers": peers,
        "piece_size": size,
        "file_bytes": max(0, pieces * content - (0 if full else dice.randrange(content))),
    }
    sketch.pieces = max(1, pieces)
    if pieces <= 4 and dice.chance(0.2):
        policy, length = dice.choice(list(PieceSizePolicy)), dice.randint(0, pieces * MIB)
        sketch.knobs |= {"piece_size": policy, "file_bytes": length}
        layout = PieceLayout(length, policy.piece_size(length))
        sketch.pieces, content = layout.count, layout.content_size
    piece_s = min(dice.stretch(*_PIECE_S), _FILE_S / sketch.pieces)
    sketch.rate = content / piece_s


def _links(sketch: _Sketch, dice: _Dice) -> None:
    """How fast and how far."""
    peers, rate = sketch.peers, sketch.rate

    def rates() -> float | tuple[float, ...]:
        if dice.chance(0.5):
            return rate * dice.choice([0.5, 1.0, 2.0])
        return tuple(rate * dice.stretch(0.25, 4.0) for _ in range(peers))

    sketch.knobs |= {
        "peer_up_bytes_per_s": rates(),
        "peer_down_bytes_per_s": rates(),
        "up_spread": dice.often(0.0, dice.uniform(0.0, 0.7)),
        "supernode_bytes_per_s": rate * dice.stretch(0.5, 20.0),
        "origin_bytes_per_s": dice.often(None, rate * dice.stretch(0.3, 10.0)),
        "latency_s": dice.often(0.0005, 0.0, dice.stretch(1e-4, 0.1)),
        "control_latency_s": dice.often(None, 0.0, dice.stretch(1e-4, 0.1)),
        "origin_latency_s": dice.often(None, dice.stretch(1e-4, 0.3)),
        "dead_time_s": dice.often(0.0, dice.stretch(1e-4, 0.05)),
        "tcp_window_bytes": dice.often(0, dice.randint(1000, 100_000)),
        "network": dice.often(NetworkModel.SHARE, NetworkModel.MAX_MIN),
    }


def _places(sketch: _Sketch, dice: _Dice) -> None:
    """Racks and sites."""
    if dice.chance(0.75):
        return
    sites, rate = dice.randint(1, 3), sketch.rate
    far = tuple(tuple(dice.stretch(1e-3, 0.1) for _ in range(sites)) for _ in range(sites))
    sketch.knobs["topology"] = Topology(
        sites=sites,
        racks=dice.randint(1, 3),
        rack_bytes_per_s=dice.often(None, rate * dice.stretch(2.0, 20.0)),
        site_bytes_per_s=dice.often(None, rate * dice.stretch(2.0, 20.0)),
        rack_latency_s=dice.often(None, 0.0, 0.0001),
        site_latency_s=dice.often(None, 0.001),
        latencies_s=dice.often((), far),
    )


def _machines(sketch: _Sketch, dice: _Dice) -> None:
    """What hosts can do at once."""
    rate = sketch.rate
    sketch.knobs |= {
        "up_slots": dice.often(2, 1, 3, 5),
        "down_slots": dice.often(2, 1, 3, 5),
        "supernode_slots": dice.often(None, 1, 2, dice.randint(1, 30)),
        "supernodes": dice.choice([1, 1, 1, 2, 3]),
        "supernode_choice": dice.choice(list(SupernodeChoice)),
        "peer_servers": dice.chance(0.5),
        "piece_cpu_s": dice.often(0.0, dice.stretch(1e-5, 0.01)),
        "message_cpu_s": dice.often(0.0, dice.stretch(1e-5, 0.005)),
        "supernode_messages_per_s": dice.often(None, 200.0 * sketch.peers),
        "disk_bytes_per_s": dice.often(None, rate * dice.stretch(0.5, 10.0)),
        "disk_latency_s": dice.often(0.0, dice.stretch(1e-4, 0.02)),
        "disk_unsynced_s": dice.often(0.0, dice.stretch(0.01, 2.0)),
    }


def _crowd(sketch: _Sketch, dice: _Dice) -> None:
    """Who comes when."""
    peers, span_s = sketch.peers, 1.0 + 2 * min(_FILE_S, sketch.pieces * _PIECE_S[1])
    match dice.randrange(4):
        case 0:
            starts = tuple(dice.uniform(0.0, span_s) for _ in range(peers))
            sketch.knobs["arrivals_s"] = starts
        case 1:
            sketch.knobs["arrivals_over_s"] = dice.uniform(0.0, 2 * span_s)
            sketch.knobs["waves"] = dice.randint(1, 3)
            sketch.knobs["wave_pause_s"] = dice.uniform(0.0, 2 * span_s)
        case _:
            pass
    if dice.chance(0.2):
        sketch.knobs["linger_s"] = dice.uniform(0.0, span_s)


def _kinds(sketch: _Sketch, dice: _Dice) -> None:
    """Peers that differ: slow, mute, full, rotten."""
    if dice.chance(0.6):
        return
    kinds = [
        PeerClass(0.2, up=dice.uniform(0.1, 1.0), down=dice.uniform(0.3, 1.0)),
        PeerClass(dice.uniform(0.0, 0.4), uploads=Uploads.REFUSED),
        PeerClass(dice.uniform(0.0, 0.4), uploads=Uploads.NONE),
        PeerClass(dice.uniform(0.0, 0.3), corrupt=True),
    ]
    if not dice.randrange(4):
        room = dice.randint(0, sketch.knobs["file_bytes"])
        kinds.append(PeerClass(dice.uniform(0.0, 0.3), disk_bytes=room))
    sketch.knobs["classes"] = tuple(dice.sample(kinds, dice.randint(1, 2)))


def _deaths(sketch: _Sketch, dice: _Dice) -> None:
    """Peers that die, and perhaps come back; disks that rot."""
    peers = sketch.peers
    if dice.chance(0.5):
        sketch.knobs["crashes"] = tuple(
            Crash(peer, _moment(dice), _return(dice))
            for peer in sorted(dice.sample(range(peers), dice.randint(0, min(peers, 8))))
        )
    if dice.chance(0.2):
        begin = _moment(dice)
        back_s = _return(dice)
        part = dice.uniform(0.0, 0.5)
        sketch.knobs["churn"] = (Churn(part, begin, begin + dice.uniform(0.0, 5.0), back_s),)
    if dice.chance(0.3):
        sketch.knobs["corruptions"] = tuple(
            Corruption(peer, dice.often(None, 0, dice.randrange(sketch.pieces)))
            for peer in sorted(dice.sample(range(peers), dice.randint(0, min(peers, 4))))
        )


def _network_faults(sketch: _Sketch, dice: _Dice) -> None:
    """Links that slow down, ways that are cut, messages that are late or lost."""
    if dice.chance(0.25):
        sketch.knobs["slowdowns"] = tuple(
            Slowdown(
                dice.uniform(0.0, 0.6),
                _moment(dice),
                dice.uniform(0.1, 15.0),
                dice.often(0.0, dice.uniform(0.0, 1.0)),
                dice.often(1.0, 0.0, dice.uniform(0.0, 1.0)),
            )
            for _ in range(dice.randint(1, 3))
        )
    if dice.chance(0.25):
        sketch.knobs["partitions"] = tuple(
            Partition(
                _moment(dice),
                dice.uniform(0.1, 15.0),
                share=dice.uniform(0.0, 1.0),
                cut=dice.choice(list(Cut)),
            )
            for _ in range(dice.randint(1, 2))
        )
    sketch.knobs["jitter_s"] = dice.often(0.0, dice.stretch(1e-4, 0.2))
    if dice.chance(0.2):
        sketch.knobs["message_loss"] = dice.stretch(0.001, 0.1)


def _servers(sketch: _Sketch, dice: _Dice) -> None:
    """Supernodes that die; an origin that errs, breaks off, or is away."""
    knobs = sketch.knobs
    supernodes: int = knobs["supernodes"]
    if dice.chance(0.3):
        knobs["supernode_crashes"] = tuple(
            SupernodeCrash(
                _moment(dice),
                number,
                dice.often(dice.uniform(0.1, 8.0), None),
                dice.chance(0.5),
            )
            for number in range(supernodes)
            if dice.chance(0.7)
        )
    if dice.chance(0.2):
        knobs["supernode_disk_bytes"] = int(knobs["file_bytes"] * dice.uniform(0.0, 3.0)) + 1
    if dice.chance(0.25):
        knobs["origin_errors"] = dice.uniform(0.0, 0.2)
        knobs["origin_drops"] = dice.uniform(0.0, 0.2)
        knobs["origin_ranges"] = dice.chance(0.7)
    if dice.chance(0.1):
        knobs["origin_outages"] = (Outage(_moment(dice), dice.uniform(0.1, 4.0)),)
    lasting = any(crash.back_after_s is None for crash in knobs.get("supernode_crashes", ()))
    knobs["back_to_source"] = lasting or dice.chance(0.8)


def _files(sketch: _Sketch, dice: _Dice) -> None:
    """Several files at once, from servers that may be too busy."""
    most = min(4, _MOST_TRANSFERS // (sketch.peers * sketch.pieces))
    if most > 1 and dice.chance(0.2):
        files = dice.randint(2, most)
        sketch.knobs |= {"files": files, "files_each": dice.often(None, dice.randint(1, files))}
    if dice.chance(0.2):
        sketch.knobs["peer_server_slots"] = dice.randint(1, 8)
        sketch.knobs["peer_server_host_slots"] = dice.randint(1, 8)


def _policy(sketch: _Sketch, dice: _Dice) -> None:
    """Who gets which piece from whom, and with how much patience."""
    sketch.knobs["policy"] = dice.often(*_POLICIES)
    if dice.chance(0.3):
        sketch.knobs["supernode_config"] = SupernodeConfig(
            rare_copies=dice.randint(0, 3),
            hold_s=dice.stretch(0.05, 3.0),
            register_hold_s=dice.stretch(0.5, 4.0),
            peer_silence_s=dice.uniform(6.0, 20.0),
            ban_after=dice.randint(1, 5),
        )


def _moment(dice: _Dice) -> float:
    """Return a moment at which things are under way, likelier an early one."""
    return dice.stretch(0.001, 20.0)


def _return(dice: _Dice) -> float | None:
    return dice.often(None, dice.uniform(0.01, 10.0))


def _talk(sketch: _Sketch, dice: _Dice) -> None:
    """Who talks in which form."""
    sketch.knobs["v1_peers"] = dice.choice((0.0, 0.0, 1.0, 1.0, dice.uniform(0.0, 1.0)))


def _sharing(sketch: _Sketch, dice: _Dice) -> None:
    """Who gets how much of a link."""
    if sketch.knobs["network"] is NetworkModel.MAX_MIN:
        sketch.knobs["unfairness"] = dice.often(0.0, dice.uniform(0.1, 0.8))


_GROUPS: Final[Sequence[Callable[[_Sketch, _Dice], None]]] = (
    _shape,
    _links,
    _places,
    _machines,
    _crowd,
    _kinds,
    _deaths,
    _network_faults,
    _servers,
    _files,
    _policy,
    _talk,
    _sharing,
)
