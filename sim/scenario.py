"""Everything that can be set about one simulated swarm."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from math import fsum

from ..engine.config import SupernodeConfig
from ..engine.errors import ConfigError
from ..engine.fleet import FEW_HOSTS
from ..engine.piece import MAX_PIECE_SIZE, WRAP_BYTES, PieceLayout, PieceSizePolicy
from ..engine.policies import most_slots
from ..engine.rules import Slots, check_policy
from . import bounds, patience, population
from .limits import at_least, number_below, positive, share
from .misfortunes import (
    Churn,
    Corruption,
    Crash,
    Outage,
    Partition,
    Slowdown,
    SupernodeCrash,
)
from .population import PeerClass, Uploads
from .topology import Topology  # noqa: TC001 -- scenario files are read by these annotations
from .tuning import check_tuning

__all__ = ["Corruption", "Crash", "NetworkModel", "Scenario", "SupernodeChoice"]


_AS_IN_PRODUCTION = SupernodeConfig()


class NetworkModel(Enum):
    """How links are shared; see ``links``."""

    SHARE = "share"
    MAX_MIN = "maxmin"


class SupernodeChoice(Enum):
    """Which of several supernodes a peer registers with first; the others it may migrate to."""

    HASH = "hash"
    """The file's name decides, so that all peers of a file meet and its origin is read once."""
    SPREAD = "spread"
    """Each peer draws, as with v1: as many swarms of a file, and reads of it, as supernodes."""


@dataclass(frozen=True)
class Scenario:
    """A fleet, the files it wants, the machines that bring them, and what befalls them.

    The defaults are a flash crowd in one room: 200 MB to 1,000 peers of 200 Mb/s.  What hosts and
    networks cost is left out unless it is asked for; ``benchmarks/calibration.json`` says what was
    measured for it, and with which command.  Rates are bytes per second, shares from 0 to 1.

    Raises:
        ConfigError: a knob has a value that cannot be used; names both.

    """

    peers: int = 1000
    file_bytes: int = 200_000_000
    files: int = 1
    """Files of that size, each a task of its own."""
    files_each: int | None = None
    """How many of them each peer wants, drawn; ``None``: all, and all at once.  Classes may want
    another number."""
    piece_size: int | PieceSizePolicy = PieceSizePolicy.ADAPTIVE
    """A wrapped size in bytes, or the policy that finds one."""

    # --- links ---

    peer_up_bytes_per_s: float | tuple[float, ...] = 25e6
    """A tuple gives each peer its own."""
    peer_down_bytes_per_s: float | tuple[float, ...] = 25e6
    up_spread: float = 0.0
    """Uplinks differ, lognormally, by this sigma: 0.2 is 20 per cent up or down."""
    classes: tuple[PeerClass, ...] = ()
    """Parts of the peers that differ from the rest."""
    supernodes: int = 1
    supernode_choice: SupernodeChoice = SupernodeChoice.HASH
    supernode_bytes_per_s: float = 250e6
    """Each supernode's uplink and downlink."""
    origin_bytes_per_s: float | None = None
    """``None``: as fast as one supernode."""
    topology: Topology | None = None
    """``None``: one room, whose switches are never in the way."""
    network: NetworkModel = NetworkModel.SHARE
    unfairness: float = 0.0
    """Flows get unequal shares of a link, lognormally, by this sigma; ``network`` is maxmin."""
    latency_s: float = 0.0005
    """One way: of requests, replies and a piece's first byte."""
    control_latency_s: float | None = None
    """One way between peers and supernodes, if that is another."""
    jitter_s: float = 0.0
    """Each message between them takes up to so much longer, drawn."""
    message_loss: float = 0.0
    """Share of these messages that never arrive; whoever asked gives up in time."""
    dead_time_s: float = 0.0
    """What each piece takes on top of the way and the bytes."""
    tcp_window_bytes: int = 0
    """Connections start with so much a round trip and double it; 0: at full speed."""

    # --- machines ---

    disk_bytes_per_s: float | None = None
    """How fast each machine writes pieces, one after the other; ``None``: at once."""
    disk_latency_s: float = 0.0
    """What each piece written takes on top."""
    disk_unsynced_s: float = 0.0
    """A crash takes what was written so shortly before."""
    supernode_disk_bytes: int | None = None
    """Room for copies on each supernode; ``None``: enough."""
    piece_cpu_s: float = 0.0
    """What a peer's one core spends on each piece it gets."""
    message_cpu_s: float = 0.0
    """What a peer's one core spends on each reply it gets."""
    supernode_messages_per_s: float | None = None
    """How many messages a supernode takes in; the rest queue up.  ``None``: any number."""
    up_slots: int = 2
    down_slots: int = 2
    supernode_slots: int | None = None
    """Pieces of one file that a supernode uploads at once; ``None``: as in production."""
    policy: str = "damselfly"
    """Who decides what moves next; ``engine.policies`` has the names."""
    supernode_config: SupernodeConfig = _AS_IN_PRODUCTION
    """All other settings of supernodes, such as ``hold_s`` and ``rare_copies``."""
    v1_peers: float = 0.0
    """Share of peers that talk to supernodes in Dragonfly's form, the others do in our own."""
    peer_servers: bool = False
    """Put each upload to a ``PeerServerEngine`` on the parent; else a parent gives what it has,
    which is a fifth faster."""
    peer_server_slots: int | None = None
    """Pieces that such a server is asked for at once; ``None``: as many as in production."""
    peer_server_host_slots: int | None = None
    """How many of these it sends to one host at a time; ``None``: as many as in production."""
    back_to_source: bool = True
    """Peers without a supernode read the origin."""

    # --- who comes when, and goes ---

    arrivals_s: tuple[float, ...] = ()
    """Each peer's start; empty: as the three below say, by default all at 0."""
    arrivals_over_s: float = 0.0
    """Peers come as a Poisson process over so long, or over so long in each wave."""
    waves: int = 1
    """Peers come in so many equal parts."""
    wave_pause_s: float = 0.0
    """From the beginning of one wave to that of the next."""
    linger_s: float | None = None
    """Peers leave so long after they have everything; ``None``: they stay."""

    # --- misfortunes ---

    crashes: tuple[Crash, ...] = ()
    churn: tuple[Churn, ...] = ()
    supernode_crashes: tuple[SupernodeCrash, ...] = ()
    slowdowns: tuple[Slowdown, ...] = ()
    partitions: tuple[Partition, ...] = ()
    corruptions: tuple[Corruption, ...] = ()
    origin_latency_s: float | None = None
    """One way to the origin, if it is not ``latency_s``."""
    origin_errors: float = 0.0
    """Share of requests that the origin answers with 503."""
    origin_drops: float = 0.0
    """Share of reads of a whole file that break somewhere in the body; of shorter ones fewer do."""
    origin_ranges: bool = True
    """The origin honours ``Range``."""
    origin_outages: tuple[Outage, ...] = ()

    seed: int = 0
    until_s: float | None = None
    """When the run ends at the latest; ``None``: long after the bound."""

    def __post_init__(self) -> None:
        check_policy(self.policy)
        check_tuning(self.supernode_config)
        for name in ("peers", "files", "waves", "up_slots", "down_slots"):
            at_least(name, getattr(self, name), 1)
        for name in _NOT_NEGATIVE:
            at_least(name, getattr(self, name), 0)
        for name in _POSITIVE_OR_NONE:
            if getattr(self, name) is not None:
                positive(name, getattr(self, name))
        for name in _NOT_NEGATIVE_OR_NONE:
            if getattr(self, name) is not None:
                at_least(name, getattr(self, name), 0)
        for name in ("message_loss", "origin_errors", "origin_drops", "v1_peers"):
            share(name, getattr(self, name))
        positive("supernode_bytes_per_s", self.supernode_bytes_per_s)
        for name in ("peer_up_bytes_per_s", "peer_down_bytes_per_s"):
            rates: float | tuple[float, ...] = getattr(self, name)
            if isinstance(rates, tuple):
                self._one_per_peer(name, rates)
            for rate in _spread(rates, 1):
                positive(name, rate)
        size = self.piece_size
        if isinstance(size, int) and not WRAP_BYTES < size <= MAX_PIECE_SIZE:
            expected = f"expected {WRAP_BYTES + 1} to {MAX_PIECE_SIZE}"
            raise ConfigError(f"piece_size is {size}: {expected}")
        self._check_peers()
        self._check_misfortunes()
        self._check_reachable()

    @classmethod
    def draw(cls, seed: int) -> Scenario:
        """Return the storm of this seed; see ``draw``."""
        from .draw import draw

        return draw(seed)

    @property
    def layout(self) -> PieceLayout:
        """How each file is cut."""
        if isinstance(self.piece_size, int):
            return PieceLayout(self.file_bytes, self.piece_size)
        few_hosts = self.peers <= FEW_HOSTS
        size = self.piece_size.piece_size(self.file_bytes, few_hosts=few_hosts)
        return PieceLayout(self.file_bytes, size)

    @cached_property
    def peer_classes(self) -> tuple[PeerClass, ...]:
        """Each peer's class."""
        return tuple(population.draw_classes(self))

    @cached_property
    def ups(self) -> tuple[float, ...]:
        """Each peer's uplink; 0 for those who upload nothing."""
        rates = _spread(self.peer_up_bytes_per_s, self.peers)
        if self.up_spread:
            factors = population.draw_factors(self)
            rates = tuple(rate * by for rate, by in zip(rates, factors, strict=True))
        if not self.classes:
            return rates
        return tuple(
            rate * kind.up if kind.uploads is Uploads.YES else 0.0
            for rate, kind in zip(rates, self.peer_classes, strict=True)
        )

    @cached_property
    def downs(self) -> tuple[float, ...]:
        """Each peer's downlink."""
        rates = _spread(self.peer_down_bytes_per_s, self.peers)
        if not self.classes:
            return rates
        kinds = self.peer_classes
        return tuple(rate * kind.down for rate, kind in zip(rates, kinds, strict=True))

    @cached_property
    def wants(self) -> tuple[tuple[int, ...], ...]:
        """The numbers of the files that each peer wants."""
        return tuple(population.draw_files(self))

    @cached_property
    def deaths(self) -> tuple[Crash, ...]:
        """All crashes of peers, those drawn included, by time."""
        drawn = [
            crash
            for number, churn in enumerate(self.churn)
            for crash in population.draw_churn(self, number, churn)
        ]
        return tuple(sorted([*self.crashes, *drawn], key=lambda crash: (crash.at_s, crash.peer)))

    @property
    def cdn_slots(self) -> int:
        """Pieces of one file that a supernode uploads at once."""
        if self.supernode_slots is not None:
            return self.supernode_slots
        return _AS_IN_PRODUCTION.cdn_up_slots

    @property
    def most_slots(self) -> Slots:
        """More pieces than these nobody uploads or downloads at once under this policy."""
        given = Slots(up=self.up_slots, down=self.down_slots, cdn_up=self.cdn_slots)
        return most_slots(self.policy, given)

    def wanted_bytes(self, peer: int) -> int:
        """Return the bytes of all the files that a peer wants."""
        return self.file_bytes * len(self.wants[peer])

    def arrival_s(self, peer: int) -> float:
        """Return when peer number ``peer`` starts."""
        return self._starts[peer] if self._starts else 0.0

    def has_room(self, peer: int) -> bool:
        """Tell whether what a peer wants fits on its disk."""
        room = self.peer_classes[peer].disk_bytes
        return room is None or room >= self.wanted_bytes(peer)

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """Lower bounds on the mean and the last completion, in seconds from each peer's start."""
        downs = enumerate(self.downs)
        own = [self.latency_s + self.wanted_bytes(peer) / down for peer, down in downs]
        own_mean, own_max = fsum(own) / len(own), max(own)
        wants_all = all(len(files) == self.files for files in self.wants)
        if self._starts or not self.file_bytes or not wants_all:
            # Who comes late may find everything spread already: only the own downlink bounds.
            return own_mean, own_max
        # A short last piece spreads faster than the others: what bounds is the rest.
        piece = min(self.layout.content_size, self.file_bytes)
        swarm = bounds.Swarm(
            file_bytes=self.file_bytes // piece * piece * self.files,
            piece_bytes=piece,
            seeds=(self.supernode_bytes_per_s,) * self.supernodes or (self.origin_rate,),
            ups=self.ups,
            downs=self.downs,
            latency_s=self._least_latency_s,
        )
        return max(own_mean, bounds.lb_mean(swarm)), max(own_max, bounds.lb_max(swarm))

    @property
    def origin_rate(self) -> float:
        """The origin's uplink."""
        return self.origin_bytes_per_s or self.supernode_bytes_per_s

    @property
    def horizon_s(self) -> float:
        """When to give up waiting for the last peer."""
        if self.until_s is not None:
            return self.until_s
        return patience.limit_s(self)

    @cached_property
    def _starts(self) -> tuple[float, ...]:
        """Each peer's start, empty if all start at 0."""
        if self.arrivals_s or not (self.arrivals_over_s or self.waves > 1):
            return self.arrivals_s
        return population.draw_arrivals(self)

    @property
    def _least_latency_s(self) -> float:
        topology = self.topology
        if topology is None:
            return self.latency_s
        near = (topology.rack_latency_s, topology.site_latency_s, self.latency_s)
        far = [latency_s for row in topology.latencies_s for latency_s in row]
        return min([*(latency_s for latency_s in near if latency_s is not None), *far])

    def _one_per_peer(self, name: str, values: tuple[float, ...]) -> None:
        if len(values) != self.peers:
            raise ConfigError(f"{name} has {len(values)} values: expected {self.peers}, one a peer")

    def _check_peers(self) -> None:
        if self.unfairness and self.network is not NetworkModel.MAX_MIN:
            text = f"unfairness is {self.unfairness}: expected 0, or maxmin as the network"
            raise ConfigError(text)
        numbers = [("classes.files_each", kind.files_each) for kind in self.classes]
        for name, each in (("files_each", self.files_each), *numbers):
            if each is not None and not 1 <= each <= self.files:
                raise ConfigError(f"{name} is {each}: expected 1 to {self.files}")
        if self.arrivals_s:
            self._one_per_peer("arrivals_s", self.arrivals_s)
        for when in self.arrivals_s:
            at_least("arrivals_s", when, 0)
        if fsum(kind.share for kind in self.classes) > 1 + 1e-9:
            raise ConfigError("classes have shares of more than 1 in all: expected at most 1")

    def _check_misfortunes(self) -> None:
        for crash in self.crashes:
            number_below("crashes.peer", crash.peer, self.peers)
        for crash in self.supernode_crashes:
            number_below("supernode_crashes.supernode", crash.supernode, self.supernodes)
        for rot in self.corruptions:
            number_below("corruptions.peer", rot.peer, self.peers)
            if rot.piece is not None:
                number_below("corruptions.piece", rot.piece, self.layout.count)
        sites = self.topology.sites if self.topology is not None else 0
        for cut in self.partitions:
            if cut.site is not None and not sites:
                raise ConfigError(f"partitions.site is {cut.site}: expected a topology with sites")
            if cut.site is not None:
                number_below("partitions.site", cut.site, sites)

    def _check_reachable(self) -> None:
        gone = [
            c.supernode for c in self.supernode_crashes if (c.at_s, c.back_after_s) == (0, None)
        ]
        if len(dict.fromkeys(gone)) == self.supernodes and not self.back_to_source:
            raise ConfigError(
                "supernodes is 0 from the start and back_to_source is false:"
                " no seed or origin can be reached; give peers one of them"
            )
        if self.origin_errors == 1:
            raise ConfigError("origin_errors is 1: no byte can be read; expected less than 1")
        for outage in self.origin_outages:
            if not outage.at_s and self.until_s is not None and outage.for_s >= self.until_s:
                raise ConfigError(
                    f"origin_outages.for_s is {outage.for_s}: the origin can never be reached;"
                    f" expected less than until_s, {self.until_s}"
                )


_NOT_NEGATIVE = (
    *("file_bytes", "supernodes", "up_spread", "latency_s", "jitter_s", "dead_time_s"),
    *("tcp_window_bytes", "disk_latency_s", "disk_unsynced_s", "piece_cpu_s", "message_cpu_s"),
    *("arrivals_over_s", "wave_pause_s"),
)
_NOT_NEGATIVE_OR_NONE = ("control_latency_s", "linger_s", "origin_latency_s")
_POSITIVE_OR_NONE = (
    *("supernode_slots", "peer_server_slots", "peer_server_host_slots", "origin_bytes_per_s"),
    *("until_s", "disk_bytes_per_s", "supernode_disk_bytes", "supernode_messages_per_s"),
)


def _spread(value: float | tuple[float, ...], peers: int) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,) * peers
