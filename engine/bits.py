"""Sets of small numbers as Python integers: bit ``n`` set means ``n`` is in the set.

An AND of a thousand members takes about 0.1 us, which is what makes a central scheduler in plain
Python possible (performance 3.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

_FEW: Final = 6


def lowest(mask: int) -> int:
    """Return the smallest number in a set that is not empty."""
    return (mask & -mask).bit_length() - 1


def draw(mask: int, rng: Random) -> int:
    """Return some number in a set that is not empty.

    In sets of more than a few, the draw picks a place and takes the next member above it, so
    members behind gaps are likelier: variety, at the price of one draw.
    """
    count = mask.bit_count()
    if count > _FEW:
        place = int(rng.random() * mask.bit_length())
        above = mask >> place
        return place + (above & -above).bit_length() - 1
    if count > 1:
        for _ in range(int(rng.random() * count)):
            mask &= mask - 1
    return (mask & -mask).bit_length() - 1


def turn(mask: int, rng: Random) -> Iterator[int]:
    """Yield the numbers in a set, ascending from one that is drawn, then the others."""
    if mask:
        first = draw(mask, rng)
        yield first  # mostly the only one that is asked for
        yield from after(mask, first)


def after(mask: int, first: int) -> Iterator[int]:
    """Yield the numbers in a set but ``first``, ascending from there, then those before it."""
    above = mask >> first + 1 << first + 1
    for part in (above, mask ^ above ^ 1 << first):
        left = part
        while left:
            low = left & -left
            yield low.bit_length() - 1
            left ^= low


def each(mask: int) -> Iterator[int]:
    """Yield the numbers in a set, ascending."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
