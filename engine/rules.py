"""Policies by name, and what can be set about them; ``policies`` makes them.

Apart from these, so that whoever only checks a setting need not load a scheduler.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Final

from .errors import ConfigError
from .records import dataclass

POLICY_NAMES: Final = ("damselfly", "dragonfly-v1", "random", "rarest", "sequential")
_WITHOUT: Final = "damselfly-no-"
MOST_DOWN_SLOTS: Final = 8
"""Pieces that a member of a mixed swarm may be sent at once, and that one of ours will take."""


@dataclass(frozen=True, slots=True)
class Slots:
    """Pieces a member may upload and download at once, and the supernode upload in one task."""

    up: int
    down: int
    cdn_up: int


@dataclass(frozen=True, slots=True)
class Rules:
    """What is done about members that differ; each can be left out to see what it is worth."""

    rates: bool = True
    """Upload slots follow measured uplinks, and the parent that would send fastest is taken."""
    hopeless: bool = True
    """Members with hopeless uplinks are nobody's parents."""
    grain: bool = True
    """Where uplinks differ, all have half as many slots more."""
    late: bool = True
    """Late pieces are looked for elsewhere."""
    behind: bool = True
    """Among the equally deprived, those with less than the average come first."""
    leads: bool = True
    """Where uplinks differ, having no less than the average counts as one more run in flight.

    In files of many pieces having clearly more counts as several.
    """
    headroom: bool = True
    """Where uplinks differ, those that may carry more than was seen of them have more slots.

    Only for files of many pieces.
    """
    servers: bool = True
    """The supernode serves first those who pass on what they get."""
    relays: bool = True
    """Who finds nothing that is held follows a run that is on its way to somebody else."""
    thrift: bool = True
    """The supernode gives no more than half a file beyond the first copies."""


NO_RULES: Final = Rules(*[False] * len(fields(Rules)))
RULES: Final = tuple(field.name for field in fields(Rules))


def check_policy(name: str) -> None:
    """Raise ``ConfigError`` if there is no policy of this name.

    ``damselfly-no-RULE`` is ours without one of its ``Rules``, to see what that is worth.
    """
    if policy_of(name) not in POLICY_NAMES:
        raise ConfigError(f"policy is {name!r}: expected {', '.join(POLICY_NAMES)}")
    if name.startswith(_WITHOUT) and name.removeprefix(_WITHOUT) not in RULES:
        raise ConfigError(f"policy is {name!r}: expected one of the rules {', '.join(RULES)}")


def policy_of(name: str) -> str:
    """Return the policy without what is said of its rules."""
    return "damselfly" if name.startswith(_WITHOUT) else name


def rules_of(name: str) -> Rules:
    """Return the rules that are left of ours."""
    left_out = name.removeprefix(_WITHOUT)
    return replace(Rules(), **{left_out: False}) if left_out in RULES else Rules()
