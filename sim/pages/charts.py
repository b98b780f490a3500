"""What a chart says, apart from how it is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from ..recorder import HeatMap

_MOST_TICKS: Final = 8
_PREFIXES: Final = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))

Point: TypeAlias = "tuple[float, float]"


class Scale(Enum):
    """How values lie along an axis."""

    LINEAR = "linear"
    LOG = "log"


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: its label, with the unit, and the values at its ends; ``unit`` is for its ticks.

    ``low`` may be above ``high``.  ``whole``: its values are whole numbers.
    """

    label: str
    low: float
    high: float
    scale: Scale = Scale.LINEAR
    unit: str = ""
    whole: bool = False

    def place(self, value: float) -> float:
        """Return where a value lies: 0 at the low end, 1 at the high one, never beyond."""
        low, high = self.low, self.high
        if self.scale is Scale.LOG:
            low, high, value = log10(low), log10(high), log10(max(value, low))
        return min(1.0, max(0.0, (value - low) / (high - low)))

    def ticks(self) -> list[float]:
        """Return round values along the axis."""
        if self.scale is Scale.LOG:
            first, last = ceil(log10(self.low) - 1e-9), floor(log10(self.high) + 1e-9)
            step = max(1, ceil((last - first) / _MOST_TICKS))
            return [10.0**power for power in range(first, last + 1, step)]
        low, high = sorted((self.low, self.high))
        step = _round_step((high - low) / _MOST_TICKS)
        if self.whole:
            step = max(1.0, step)
        first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]

    def text(self, value: float) -> str:
        """Return a tick's label."""
        if self.unit == "B":
            return amount(value)
        return f"{value:.10g}{self.unit}"


@dataclass(frozen=True, slots=True)
class Line:
    """One line; lines of the same ``colour`` (a number) belong together."""

    name: str
    points: tuple[Point, ...]
    colour: int
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Band:
    """The area between two values at each x: ``(x, low, high)``."""

    name: str
    points: tuple[tuple[float, float, float], ...]
    colour: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A value of x that matters."""

    name: str
    x: float


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over a pair of axes; ``slug`` names it in files, ``note`` says how to read it."""

    slug: str
    title: str
    note: str
    x: Axis
    y: Axis
    lines: tuple[Line, ...]
    bands: tuple[Band, ...] = ()
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True)
class HeatChart:
    """A heat map with what its colours mean: from 0 to ``latest_s``."""

    slug: str
    title: str
    note: str
    heat: HeatMap
    latest_s: float


def amount(value: float) -> str:
    """Return bytes as people write them."""
    for factor, prefix in _PREFIXES:
        if value >= factor:
            return f"{value / factor:.4g} {prefix}B"
    return f"{value:.4g} B"


def _round_step(rough: float) -> float:
    """Return 1, 2, or 5 times a power of ten, not below ``rough``."""
    power = 10.0 ** floor(log10(rough))
    return next(by * power for by in (1, 2, 5, 10) if by * power >= rough * (1 - 1e-9))
