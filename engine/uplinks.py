"""Who may send one more piece, in the order of how fast it would be sent."""

from __future__ import annotations

from math import log2
from typing import TYPE_CHECKING, Final

from .bits import draw, each
from .speeds import FASTEST, MOST_UP_SLOTS, SLOWEST, STEPS

if TYPE_CHECKING:
    from random import Random

SHARED: Final = tuple(
    round(STEPS * log2(active + 1)) - FASTEST for active in range(MOST_UP_SLOTS + 1)
)
"""The rank of a usual uplink that sends so many pieces already; steps slower, ranks lower."""


class Uplinks:
    """A set of members for each rank."""

    def __init__(self) -> None:
        self.free = 0
        """Members with a free upload slot and something to send."""
        self._ranks = [0] * (SLOWEST + SHARED[-1] + 1)
        self._used = 0  # ranks that are not empty

    def move(self, index: int, before: int, after: int) -> None:
        """Put a member on another rank; -1: it has no free uplink."""
        bit = 1 << index
        if before >= 0:
            left = self._ranks[before] = self._ranks[before] ^ bit
            if not left:
                self._used &= ~(1 << before)
        else:
            self.free |= bit
        if after >= 0:
            self._ranks[after] |= bit
            self._used |= 1 << after
        else:
            self.free ^= bit

    def best(self, among: int, rng: Random) -> int:
        """Return one of those members of a set of free ones that would send fastest."""
        used = self._used
        while used:
            low = used & -used
            if here := self._ranks[low.bit_length() - 1] & among:
                return draw(here, rng)
            used ^= low
        raise AssertionError("a free uplink that has no rank")

    def ranks(self) -> dict[int, int]:
        """Return the members of each rank that has any."""
        return {place: self._ranks[place] for place in each(self._used)}
