"""Pictures of what was measured, as SVG by matplotlib: the same figures give the same file."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from textwrap import fill
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from .machine import Missing

if TYPE_CHECKING:
    from pathlib import Path

_WIDTH_INCHES: Final = 7.6
_OURS, _OTHERS, _BOUND = "#2563c9", "#9aa3b2", "#b3261e"
_COLOURS: Final = (_OURS, "#c8501b", "#14855f", "#97409a")
_OUR_NAMES: Final = ("damselfly", "dfget", "supernode")
_LETTERS: Final = 34
"""Of a bar's name in one line."""
_STYLE: Final = {
    "svg.hashsalt": "damselfly",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
}
"""Names within a file do not depend on the run, and letters are left to whoever shows it."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A median, with the least and the most if there are several values."""

    name: str
    value: float
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars along an axis from 0, ours in a colour of their own; none can be below ``bound``."""

    title: str
    unit: str
    bars: tuple[Bar, ...]
    bound: float | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One line; those that are ``dashed`` are what others are compared with."""

    name: str
    values: tuple[float, ...]
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines over the same values of x."""

    title: str
    x_label: str
    y_label: str
    x: tuple[float, ...]
    lines: tuple[Line, ...]


Plot: TypeAlias = Bars | Lines


def write(plot: Plot, path: Path) -> None:
    """Draw into ``path``; raises ``Missing`` without matplotlib."""
    if find_spec("matplotlib") is None:
        raise Missing("matplotlib is missing (Python package matplotlib)")
    matplotlib: Any = import_module("matplotlib")
    figures: Any = import_module("matplotlib.figure")
    path.parent.mkdir(exist_ok=True)
    with matplotlib.rc_context(_STYLE):
        figure: Any = figures.Figure(figsize=(_WIDTH_INCHES, _height(plot)), layout="constrained")
        axes = figure.subplots()
        match plot:
            case Bars():
                _draw_bars(axes, plot)
            case Lines():
                _draw_lines(axes, plot)
        axes.set_title(plot.title, fontsize="medium", loc="left")
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _height(plot: Plot) -> float:
    return 1.1 + 0.42 * len(plot.bars) if isinstance(plot, Bars) else 3.6


def _draw_bars(axes: Any, plot: Bars) -> None:
    names = [fill(bar.name, _LETTERS) for bar in plot.bars]
    values = [bar.value for bar in plot.bars]
    below = [bar.value - (bar.value if bar.least is None else bar.least) for bar in plot.bars]
    above = [(bar.value if bar.most is None else bar.most) - bar.value for bar in plot.bars]
    colours = [_OURS if bar.name.startswith(_OUR_NAMES) else _OTHERS for bar in plot.bars]
    bars = axes.barh(names, values, 0.62, xerr=[below, above], color=colours, capsize=3)
    axes.bar_label(bars, labels=[_number(value) for value in values], padding=4)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    if plot.bound is None:
        axes.set_xlabel(plot.unit)
    else:
        axes.set_xlabel(f"{plot.unit}; dashed: the lower bound, {_number(plot.bound)}")
        axes.axvline(plot.bound, color=_BOUND, linestyle="--")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _draw_lines(axes: Any, plot: Lines) -> None:
    for number, line in enumerate(plot.lines):
        style = "--" if line.dashed else "o-"
        colour = _COLOURS[number % len(_COLOURS)]
        axes.plot(plot.x, line.values, style, color=colour, label=line.name, markersize=4)
    axes.set_xlabel(plot.x_label)
    axes.set_ylabel(plot.y_label)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", frameon=False)
