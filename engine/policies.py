"""Who gets which piece from whom: the policies there are, by name.

A policy brings the swarm that it decides over, so that slots are its own affair.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

from .dragonfly import DRAGONFLY_SLOTS, DragonflyV1
from .orders import RandomOrder, RarestFirst, Sequential
from .rules import MOST_DOWN_SLOTS, NO_RULES, Rules, Slots, policy_of, rules_of
from .scheduler import Scheduler
from .speeds import most_up_slots
from .swarm import Swarm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from random import Random

    from .config import SupernodeConfig
    from .ids import PeerId, PieceIndex
    from .members import Flight, Member
    from .scheduler import Assignment


class Policy(Protocol):
    """Decides for one task; whoever asks marks what is decided, and asks until there is nothing."""

    holds_pulls: bool
    """A pull that finds nothing waits for an answer; else it is told at once to come again."""
    bans: bool
    """A peer that failed several others in a row is nobody's parent any more."""

    @property
    def swarm(self) -> Swarm:
        """The swarm it decides over."""
        ...

    def work_for(self, member: Member, now: float, /) -> Assignment | None:
        """Find a piece and a parent for a member with an open pull."""
        ...

    def taker_from(self, parent: Member | None, /) -> Assignment | None:
        """Find a member and a piece for an uplink, perhaps the supernode's, that came free."""
        ...

    def continue_run(
        self, member: Member, parent: Member | None, most: int, upstream: Flight | None = None, /
    ) -> Iterable[PieceIndex]:
        """Find further pieces for a member to take from a parent after those decided.

        ``upstream``: the run on its way to the parent that the member's follows.
        """
        ...

    def relay_from(self, parent: Member, /) -> Assignment | None:
        """Find a member that may follow what is on its way to ``parent``."""
        ...

    def last_resort(self, member: Member, /) -> Assignment | None:
        """Find something for a member whose pull was held in vain."""
        ...

    def reported(self, member: Member, parent: PeerId, now: float, /) -> None:
        """A member says that it holds a piece, and who sent it."""
        ...

    def failed(self, member: Member, /) -> None:
        """A member did not get a piece."""
        ...

    def left(self, member: Member, /) -> None:
        """A member is forgotten."""
        ...


def make_policy(config: SupernodeConfig, rng: Random) -> Policy:
    """Return the policy that ``config`` names, for one new task."""
    return _POLICIES[policy_of(config.policy)](config, rng)


def most_slots(name: str, slots: Slots) -> Slots:
    """Return what the policy of this name gives nobody more than, if ``slots`` are configured."""
    match policy_of(name):
        case "damselfly":
            return Slots(most_up_slots(slots.up), max(slots.down, MOST_DOWN_SLOTS), slots.cdn_up)
        case "dragonfly-v1":
            return DRAGONFLY_SLOTS
        case _:
            return slots


def _damselfly(config: SupernodeConfig, rng: Random) -> Policy:
    swarm = _swarm(config, rules_of(config.policy))
    return Scheduler(swarm, RarestFirst(swarm.picker, rng), config.rare_copies, rng)


def _rarest(config: SupernodeConfig, rng: Random) -> Policy:
    swarm = _swarm(config, NO_RULES)
    return Scheduler(swarm, RarestFirst(swarm.picker, rng), config.rare_copies, rng)


def _random(config: SupernodeConfig, rng: Random) -> Policy:
    return Scheduler(_swarm(config, NO_RULES), RandomOrder(rng), config.rare_copies, rng)


def _sequential(config: SupernodeConfig, rng: Random) -> Policy:
    return Scheduler(_swarm(config, NO_RULES), Sequential(), config.rare_copies, rng)


def _dragonfly_v1(config: SupernodeConfig, rng: Random) -> Policy:  # its slots are constants
    return DragonflyV1(rng)


def _swarm(config: SupernodeConfig, rules: Rules) -> Swarm:
    return Swarm(_slots(config), rules, pace_s=config.native_pace_s)


def _slots(config: SupernodeConfig) -> Slots:
    return Slots(config.up_slots, config.down_slots, config.cdn_up_slots)


_POLICIES: Final[Mapping[str, Callable[[SupernodeConfig, Random], Policy]]] = MappingProxyType(
    {
        "damselfly": _damselfly,
        "dragonfly-v1": _dragonfly_v1,
        "random": _random,
        "rarest": _rarest,
        "sequential": _sequential,
    }
)
