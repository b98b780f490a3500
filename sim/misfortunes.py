"""What befalls a swarm: who dies, comes back, slows down, is cut off, or rots, and when.

Peers are meant by number, or as a share of all that is drawn from the scenario's seed.  Times are
seconds from the start of the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .limits import at_least, positive, share


@dataclass(frozen=True, slots=True)
class Crash:
    """Peer number ``peer`` dies at ``at_s``: its connections break, it serves no more.

    ``back_after_s``: the machine is up again, and goes on with what its disk kept; ``None``: never.
    """

    peer: int
    at_s: float
    back_after_s: float | None = None

    def __post_init__(self) -> None:
        at_least("crashes.at_s", self.at_s, 0)
        if self.back_after_s is not None:
            positive("crashes.back_after_s", self.back_after_s)


@dataclass(frozen=True, slots=True)
class Churn:
    """A share of the peers dies, each once, between two moments; as ``Crash`` otherwise."""

    share: float
    from_s: float
    until_s: float
    back_after_s: float | None = None

    def __post_init__(self) -> None:
        share("churn.share", self.share)
        at_least("churn.from_s", self.from_s, 0)
        at_least("churn.until_s", self.until_s, self.from_s)
        if self.back_after_s is not None:
            positive("churn.back_after_s", self.back_after_s)


@dataclass(frozen=True, slots=True)
class SupernodeCrash:
    """Supernode number ``supernode`` dies.

    Once it is back it has forgotten every peer and task.  Its copies are on its disk still, to be
    used after a word with the origin, unless it ``loses_disk``.
    """

    at_s: float
    supernode: int = 0
    back_after_s: float | None = None
    loses_disk: bool = False

    def __post_init__(self) -> None:
        at_least("supernode_crashes.at_s", self.at_s, 0)
        if self.back_after_s is not None:
            positive("supernode_crashes.back_after_s", self.back_after_s)


@dataclass(frozen=True, slots=True)
class Corruption:
    """On the disk of peer number ``peer``, ``piece`` (``None``: every piece) goes bad once kept."""

    peer: int
    piece: int | None = None


@dataclass(frozen=True, slots=True)
class Slowdown:
    """The links of a share of the peers change by a factor; 0 lets no byte through.

    What they say to supernodes still comes through: a machine that stalls may well talk.
    """

    share: float
    at_s: float
    for_s: float | None = None
    up: float = 1.0
    down: float = 1.0

    def __post_init__(self) -> None:
        share("slowdowns.share", self.share)
        at_least("slowdowns.at_s", self.at_s, 0)
        share("slowdowns.up", self.up)
        share("slowdowns.down", self.down)
        if self.for_s is not None:
            positive("slowdowns.for_s", self.for_s)


class Cut(Enum):
    """Which way nothing passes; without answers no connection carries data either way."""

    BOTH = "both"
    OUT = "out"
    """What those cut off say is lost."""
    IN = "in"
    """What they are told is lost."""


@dataclass(frozen=True, slots=True)
class Partition:
    """A share of the peers, or all of a site, is cut off from everything else for a while.

    Supernodes and the origin are on the other side, unless a supernode stands at the site.
    """

    at_s: float
    for_s: float
    share: float = 0.0
    site: int | None = None
    cut: Cut = Cut.BOTH

    def __post_init__(self) -> None:
        at_least("partitions.at_s", self.at_s, 0)
        positive("partitions.for_s", self.for_s)
        share("partitions.share", self.share)


@dataclass(frozen=True, slots=True)
class Outage:
    """The origin accepts no connection for a while."""

    at_s: float
    for_s: float

    def __post_init__(self) -> None:
        at_least("origin_outages.at_s", self.at_s, 0)
        positive("origin_outages.for_s", self.for_s)
