"""Who the peers of a scenario are: classes, links, arrivals and deaths, drawn from its seed.

Every draw has a stream of its own, so that one knob more leaves what the others drew alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import exp
from random import Random
from typing import TYPE_CHECKING

from .limits import at_least, positive, share
from .misfortunes import Crash

if TYPE_CHECKING:
    from .misfortunes import Churn
    from .scenario import Scenario


class Uploads(Enum):
    """Whether others get pieces from a peer."""

    YES = "yes"
    REFUSED = "refused"
    """It offers them, but a firewall turns connections down."""
    NONE = "none"
    """It runs no peer server, and the supernode knows."""


@dataclass(frozen=True, slots=True)
class PeerClass:
    """A share of the peers that differs from the rest; no peer is in two classes.

    ``up`` and ``down`` are factors to the rates it would have.  ``corrupt``: each piece goes bad
    once it is kept.  ``disk_bytes``: the room it has, ``None``: enough.  ``files_each``: how many
    files it wants, ``None``: as many as the rest.
    """

    share: float
    up: float = 1.0
    down: float = 1.0
    uploads: Uploads = Uploads.YES
    corrupt: bool = False
    disk_bytes: int | None = None
    files_each: int | None = None

    def __post_init__(self) -> None:
        share("classes.share", self.share)
        for name in ("up", "down"):
            positive(f"classes.{name}", getattr(self, name))
        if self.disk_bytes is not None:
            at_least("classes.disk_bytes", self.disk_bytes, 0)


_ORDINARY = PeerClass(1.0)


def draw_some(seed: int, name: str, part: float, peers: int) -> list[int]:
    """Return a share of the peers, in the order of their numbers; ``name`` is the draw's own."""
    return sorted(Random(f"{seed}/{name}").sample(range(peers), round(part * peers)))


def draw_classes(scenario: Scenario) -> list[PeerClass]:
    """Return each peer's class."""
    drawn = [_ORDINARY] * scenario.peers
    if not scenario.classes:
        return drawn
    order = list(range(scenario.peers))
    Random(f"{scenario.seed}/classes").shuffle(order)
    first, upto = 0, 0.0
    for kind in scenario.classes:
        upto += kind.share
        last = round(min(1.0, upto) * scenario.peers)
        for peer in order[first:last]:
            drawn[peer] = kind
        first = last
    return drawn


def draw_factors(scenario: Scenario) -> list[float]:
    """Return by what each uplink differs from the usual: lognormal around 1."""
    rng = Random(f"{scenario.seed}/up_spread")
    return [exp(rng.gauss(0.0, scenario.up_spread)) for _ in range(scenario.peers)]


def draw_arrivals(scenario: Scenario) -> tuple[float, ...]:
    """Return when each peer starts, ascending.

    So many arrivals of a Poisson process, spread over a known time, are as many uniform draws.
    """
    rng = Random(f"{scenario.seed}/arrivals")
    peers, waves = scenario.peers, scenario.waves
    return tuple(
        sorted(
            peer * waves // peers * scenario.wave_pause_s
            + (rng.random() * scenario.arrivals_over_s if scenario.arrivals_over_s else 0.0)
            for peer in range(peers)
        )
    )


def draw_churn(scenario: Scenario, number: int, churn: Churn) -> list[Crash]:
    """Return who dies when in the ``number``-th churn."""
    rng = Random(f"{scenario.seed}/churn {number} times")
    return [
        Crash(peer, rng.uniform(churn.from_s, churn.until_s), churn.back_after_s)
        for peer in draw_some(scenario.seed, f"churn {number}", churn.share, scenario.peers)
    ]


def draw_files(scenario: Scenario) -> list[tuple[int, ...]]:
    """Return the numbers of the files that each peer wants."""
    usual = scenario.files_each or scenario.files
    everything = tuple(range(scenario.files))
    numbers = [kind.files_each or usual for kind in scenario.peer_classes]
    rng = Random(f"{scenario.seed}/files")
    return [
        everything if each == scenario.files else tuple(sorted(rng.sample(everything, each)))
        for each in numbers
    ]
