"""Charts as PNG files for documents, by matplotlib, which must be installed for it."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from math import nan
from typing import TYPE_CHECKING, Any, Final

from ...engine.errors import ConfigError
from .charts import HeatChart, Scale

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .charts import Axis, Chart

_INCHES: Final = (7.2, 4.2)
_DOTS_PER_INCH: Final = 150
_COLOURS: Final = ("#2563c9", "#c8501b", "#14855f", "#97409a", "#8a6a00", "#0f7f93")
_NEUTRAL: Final = "#5b6575"


def check_installed() -> None:
    """Make sure that PNG files can be made.

    Raises:
        ConfigError: they cannot; says what to install.

    """
    if find_spec("matplotlib") is None:
        install = "pip install 'damselfly[plots]'"
        raise ConfigError(f"PNG files are made by matplotlib, which is not installed: {install}")


def write(charts: Iterable[Chart | HeatChart], folder: Path) -> list[Path]:
    """Write each chart to a file under its name in ``folder``; return the files."""
    # Matplotlib is an extra, and slow to import.
    figures: Any = import_module("matplotlib.figure")
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for chart in charts:
        figure: Any = figures.Figure(figsize=_INCHES, dpi=_DOTS_PER_INCH, layout="constrained")
        if isinstance(chart, HeatChart):
            _draw_heat(figure, chart)
        else:
            _draw_lines(figure.subplots(), chart)
        path = folder / f"{chart.slug}.png"
        figure.savefig(path)
        paths.append(path)
    return paths


def _draw_lines(axes: Any, chart: Chart) -> None:
    for band in chart.bands:
        xs, lows, highs = zip(*band.points, strict=True)
        colour = _colour(band.colour)
        axes.fill_between(xs, lows, highs, color=colour, alpha=0.2, lw=0, label=band.name)
    for line in chart.lines:
        xs, ys = zip(*line.points, strict=True)
        style = "--" if line.dashed else "-"
        axes.plot(xs, ys, style, color=_colour(line.colour), label=line.name)
    for mark in chart.marks:
        name = f"{mark.name}: {mark.x:.3f} s"
        axes.axvline(mark.x, color=_NEUTRAL, linestyle=":", label=name)
    for axis, ends in ((chart.x, axes.set_xlim), (chart.y, axes.set_ylim)):
        ends(axis.low, axis.high)
    if chart.y.scale is Scale.LOG:
        axes.set_yscale("log")
    _name(axes, chart.title, chart.x, chart.y)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def _name(axes: Any, title: str, x: Axis, y: Axis) -> None:
    axes.set_title(title)
    axes.set_xlabel(x.label)
    axes.set_ylabel(y.label)


def _draw_heat(figure: Any, chart: HeatChart) -> None:
    heat, axes = chart.heat, figure.subplots()
    width = heat.columns
    cells = [nan if when is None else when for when in heat.arrived_s]
    rows = [cells[row * width : (row + 1) * width] for row in range(heat.rows)]
    extent = (0, heat.pieces, heat.peers, 0)
    shown = {"aspect": "auto", "interpolation": "nearest", "vmin": 0, "vmax": chart.latest_s}
    image = axes.imshow(rows, extent=extent, **shown)
    figure.colorbar(image, label="arrival, since the start of the run (s)")
    axes.set_title(chart.title)
    axes.set_xlabel("piece")
    axes.set_ylabel("peer")


def _colour(number: int) -> str:
    return _NEUTRAL if number < 0 else _COLOURS[number % len(_COLOURS)]
