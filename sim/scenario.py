"""Everything that can be set about one simulated swarm."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from math import fsum, inf, isfinite

from ..engine.errors import ConfigError
from ..engine.piece import MAX_PIECE_SIZE, WRAP_BYTES, PieceLayout, PieceSizePolicy
from . import bounds


class NetworkModel(Enum):
    """How links are shared; see ``links``."""

    SHARE = "share"
    MAX_MIN = "maxmin"


@dataclass(frozen=True, slots=True)
class Crash:
    """Peer number ``peer`` dies at ``at_s``: its connections break, what it held is gone."""

    peer: int
    at_s: float


@dataclass(frozen=True, slots=True)
class Corruption:
    """On the disk of peer number ``peer``, ``piece`` (``None``: every piece) goes bad once kept."""

    peer: int
    piece: int | None = None


@dataclass(frozen=True)
class Scenario:
    """One swarm, one file, one supernode, and what befalls them.

    Rates are bytes per second; a tuple gives each peer its own.  ``origin_bytes_per_s`` ``None``:
    as fast as the supernode.  ``latency_s`` is one way, for control messages as for the request
    and the first byte of a piece; ``dead_time_s`` comes on top of that for each piece.
    ``supernode_slots`` ``None``: enough to fill its uplink with transfers at full peer speed.
    ``piece_size`` is a wrapped size in bytes or the policy that finds one.  ``arrivals_s`` gives
    each peer's start, empty: all at 0.  ``peer_servers``: each upload is put to a
    ``PeerServerEngine`` on the parent; else a parent gives whatever it has, which is a fifth
    faster.  ``until_s`` ``None``: long after the bound.

    Raises:
        ConfigError: a knob has a value that cannot be used; names both.

    """

    peers: int = 1000
    file_bytes: int = 200_000_000
    peer_up_bytes_per_s: float | tuple[float, ...] = 25e6
    peer_down_bytes_per_s: float | tuple[float, ...] = 25e6
    supernode_bytes_per_s: float = 250e6
    origin_bytes_per_s: float | None = None
    latency_s: float = 0.0005
    dead_time_s: float = 0.0
    piece_size: int | PieceSizePolicy = PieceSizePolicy.ADAPTIVE
    up_slots: int = 2
    down_slots: int = 2
    supernode_slots: int | None = None
    arrivals_s: tuple[float, ...] = ()
    crashes: tuple[Crash, ...] = ()
    corruptions: tuple[Corruption, ...] = ()
    supernode_crash_s: float | None = None
    back_to_source: bool = True
    peer_servers: bool = False
    network: NetworkModel = NetworkModel.SHARE
    seed: int = 0
    until_s: float | None = None

    def __post_init__(self) -> None:
        for name in ("peers", "up_slots", "down_slots"):
            _at_least(name, getattr(self, name), 1)
        for name in ("file_bytes", "latency_s", "dead_time_s"):
            _at_least(name, getattr(self, name), 0)
        for name in ("supernode_slots", "origin_bytes_per_s", "until_s"):
            if getattr(self, name) is not None:
                _positive(name, getattr(self, name))
        _positive("supernode_bytes_per_s", self.supernode_bytes_per_s)
        for name in ("peer_up_bytes_per_s", "peer_down_bytes_per_s"):
            rates: float | tuple[float, ...] = getattr(self, name)
            if isinstance(rates, tuple):
                self._one_per_peer(name, rates)
            for rate in _spread(rates, 1):
                _positive(name, rate)
        if isinstance(self.piece_size, int) and not (
            WRAP_BYTES < self.piece_size <= MAX_PIECE_SIZE
        ):
            raise ConfigError(
                f"piece_size is {self.piece_size}: expected {WRAP_BYTES + 1} to {MAX_PIECE_SIZE}"
            )
        if self.arrivals_s:
            self._one_per_peer("arrivals_s", self.arrivals_s)
        self._check_misfortunes()

    @property
    def layout(self) -> PieceLayout:
        """How the file is cut."""
        if isinstance(self.piece_size, int):
            return PieceLayout(self.file_bytes, self.piece_size)
        return PieceLayout(self.file_bytes, self.piece_size.piece_size(self.file_bytes))

    @property
    def ups(self) -> tuple[float, ...]:
        """Each peer's uplink."""
        return _spread(self.peer_up_bytes_per_s, self.peers)

    @property
    def downs(self) -> tuple[float, ...]:
        """Each peer's downlink."""
        return _spread(self.peer_down_bytes_per_s, self.peers)

    @property
    def cdn_slots(self) -> int:
        """Pieces the supernode uploads at once."""
        if self.supernode_slots is not None:
            return self.supernode_slots
        full_speed = sum(self.downs) / self.peers / self.down_slots
        return max(self.down_slots, round(self.supernode_bytes_per_s / full_speed))

    def arrival_s(self, peer: int) -> float:
        """Return when peer number ``peer`` starts."""
        return self.arrivals_s[peer] if self.arrivals_s else 0.0

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """Lower bounds on the mean and the last completion, in seconds from each peer's start."""
        own = [self.latency_s + self.file_bytes / down for down in self.downs]
        own_mean, own_max = fsum(own) / len(own), max(own)
        if self.arrivals_s or not self.file_bytes:
            # Who comes late may find everything spread already: only the own downlink bounds.
            return own_mean, own_max
        # A short last piece spreads faster than the others: what bounds is the rest.
        piece = min(self.layout.content_size, self.file_bytes)
        swarm = bounds.Swarm(
            file_bytes=self.file_bytes // piece * piece,
            piece_bytes=piece,
            seeds=(self.supernode_bytes_per_s,),
            ups=self.ups,
            downs=self.downs,
            latency_s=self.latency_s,
        )
        return max(own_mean, bounds.lb_mean(swarm)), max(own_max, bounds.lb_max(swarm))

    @property
    def horizon_s(self) -> float:
        """When to give up waiting for the last peer."""
        if self.until_s is not None:
            return self.until_s
        last = max((*self.arrivals_s, *(crash.at_s for crash in self.crashes)), default=0.0)
        return last + 20 * self.bounds[1] + 120

    def _one_per_peer(self, name: str, values: tuple[float, ...]) -> None:
        if len(values) != self.peers:
            raise ConfigError(f"{name} has {len(values)} values: expected {self.peers}, one a peer")

    def _check_misfortunes(self) -> None:
        for when in self.arrivals_s:
            _at_least("arrivals_s", when, 0)
        for crash in self.crashes:
            _at_least("crashes.at_s", crash.at_s, 0)
        for name, peers in (
            ("crashes.peer", [crash.peer for crash in self.crashes]),
            ("corruptions.peer", [corruption.peer for corruption in self.corruptions]),
        ):
            for peer in peers:
                if not 0 <= peer < self.peers:
                    raise ConfigError(f"{name} is {peer}: expected 0 to {self.peers - 1}")
        last = self.layout.count - 1
        for piece in [corruption.piece for corruption in self.corruptions]:
            if piece is not None and not 0 <= piece <= last:
                raise ConfigError(f"corruptions.piece is {piece}: expected 0 to {last}")
        if self.supernode_crash_s is not None:
            _at_least("supernode_crash_s", self.supernode_crash_s, 0)


def _spread(value: float | tuple[float, ...], peers: int) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,) * peers


def _at_least(name: str, value: float, least: int) -> None:
    if not least <= value < inf:
        raise ConfigError(f"{name} is {value}: expected at least {least}")


def _positive(name: str, value: float) -> None:
    if not (value > 0 and isfinite(value)):
        raise ConfigError(f"{name} is {value}: expected more than 0")
