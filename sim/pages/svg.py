"""Charts as SVG; colours and fonts are left to the page's style sheet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from xml.etree.ElementTree import Element, SubElement

from .charts import Axis, HeatChart
from .image import SCALE_COLOURS, data_uri

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .charts import Chart, Line, Point

_WIDTH: Final = 720
_LEFT, _RIGHT = 76.0, 700.0
_TOP_OF_LEGEND: Final = 16.0
_LEGEND_ROW: Final = 20.0
_PLOT_HEIGHT: Final = 300.0
_BELOW: Final = 48.0
_LETTER: Final = 7.0
"""How wide a letter is, about."""
_SWATCH: Final = 26.0
_COLOURS: Final = 6


def drawn(chart: Chart | HeatChart) -> Element:
    """Return a chart as an ``svg`` element that tells its title and note to screen readers."""
    return _heat(chart) if isinstance(chart, HeatChart) else _lines(chart)


@dataclass(frozen=True, slots=True)
class _Plot:
    """Where the axes of a chart lie in its picture; y grows downwards."""

    x: Axis
    y: Axis
    top: float
    bottom: float

    def at(self, x: float, y: float) -> Point:
        return (
            _LEFT + self.x.place(x) * (_RIGHT - _LEFT),
            self.bottom - self.y.place(y) * (self.bottom - self.top),
        )

    def path(self, points: Iterable[Point]) -> str:
        """Return a line through points; what makes no visible difference is left out."""
        said: list[str] = []
        for x, y in points:
            text = "{:.1f} {:.1f}".format(*self.at(x, y))
            if not said or said[-1] != text:
                said.append(text)
        return "M" + "L".join(said)


def _lines(chart: Chart) -> Element:
    legend, legend_height = _legend(chart)
    top = _TOP_OF_LEGEND + legend_height
    plot = _Plot(chart.x, chart.y, top, top + _PLOT_HEIGHT)
    svg = _picture(chart, plot.bottom + _BELOW)
    svg.append(legend)
    _axes(svg, plot)
    for band in chart.bands:
        edge = [(x, high) for x, _, high in band.points]
        edge += [(x, low) for x, low, _ in reversed(band.points)]
        area = _sub(svg, "path", d=f"{plot.path(edge)}Z", **{"class": f"band {_c(band.colour)}"})
        SubElement(area, "title").text = band.name
    for mark in chart.marks:
        x, _ = plot.at(mark.x, 0)
        _sub(svg, "path", d=f"M{x:.1f} {plot.top}V{plot.bottom}", **{"class": "mark"})
    for line in chart.lines:
        style = f"line {_c(line.colour)}{' dashed' if line.dashed else ''}"
        path = _sub(svg, "path", d=plot.path(line.points), **{"class": style})
        SubElement(path, "title").text = line.name
    return svg


def _heat(chart: HeatChart) -> Element:
    heat = chart.heat
    top, bottom = 56.0, 56.0 + _PLOT_HEIGHT
    x = Axis("piece", 0, heat.pieces, whole=True)
    plot = _Plot(x, Axis("peer", heat.peers, 0, whole=True), top, bottom)
    svg = _picture(chart, bottom + _BELOW)
    _colour_scale(svg, chart.latest_s)
    _sub(
        svg,
        "image",
        x=f"{_LEFT:g}",
        y=f"{top:g}",
        width=f"{_RIGHT - _LEFT:g}",
        height=f"{_PLOT_HEIGHT:g}",
        preserveAspectRatio="none",
        href=data_uri(heat, chart.latest_s),
        **{"class": "cells"},
    )
    _axes(svg, plot, grid=False)
    return svg


def _colour_scale(svg: Element, latest_s: float) -> None:
    """Draw what the colours mean, above the plot."""
    axis, left, right = Axis("", 0.0, max(latest_s, 1e-9)), 300.0, 660.0
    gradient = _sub(_sub(svg, "defs"), "linearGradient", id="arrival")
    for number, (red, green, blue) in enumerate(SCALE_COLOURS):
        offset = number / (len(SCALE_COLOURS) - 1)
        colour = f"#{red:02x}{green:02x}{blue:02x}"
        _sub(gradient, "stop", offset=f"{offset:.3f}", **{"stop-color": colour})
    _text(svg, left - 10, 21, "arrival, since the start of the run (s)", "end")
    _sub(
        svg,
        "rect",
        x=f"{left:g}",
        y="10",
        width=f"{right - left:g}",
        height="12",
        fill="url(#arrival)",
    )
    for tick in axis.ticks():
        _text(svg, left + axis.place(tick) * (right - left), 38, axis.text(tick), "middle")


def _picture(chart: Chart | HeatChart, height: float) -> Element:
    names = {"aria-labelledby": f"{chart.slug}-title {chart.slug}-note"}
    box = f"0 0 {_WIDTH} {height:g}"
    svg = Element("svg", {"viewBox": box, "role": "img", "id": chart.slug, **names})
    _sub(svg, "title", id=f"{chart.slug}-title").text = chart.title
    _sub(svg, "desc", id=f"{chart.slug}-note").text = chart.note
    return svg


def _axes(svg: Element, plot: _Plot, *, grid: bool = True) -> None:
    for tick in plot.y.ticks():
        _, y = plot.at(plot.x.low, tick)
        if grid:
            _sub(svg, "path", d=f"M{_LEFT:g} {y:.1f}H{_RIGHT:g}", **{"class": "grid"})
        _text(svg, _LEFT - 8, y + 4, plot.y.text(tick), "end")
    for tick in plot.x.ticks():
        x, _ = plot.at(tick, plot.y.low)
        _sub(svg, "path", d=f"M{x:.1f} {plot.bottom:g}v5", **{"class": "axis"})
        _text(svg, x, plot.bottom + 20, plot.x.text(tick), "middle")
    _sub(svg, "path", d=f"M{_LEFT:g} {plot.top:g}V{plot.bottom:g}H{_RIGHT:g}", **{"class": "axis"})
    _text(svg, (_LEFT + _RIGHT) / 2, plot.bottom + 40, plot.x.label, "middle")
    middle = (plot.top + plot.bottom) / 2
    label = _text(svg, 14, middle, plot.y.label, "middle")
    label.set("transform", f"rotate(-90 14 {middle:g})")


def _legend(chart: Chart) -> tuple[Element, float]:
    """Return what names the lines, and how high it is."""
    legend = Element("g", {"class": "legend"})
    x, y = _LEFT, _TOP_OF_LEGEND
    entries = [(line.name, _swatch(line)) for line in chart.lines]
    entries += [(band.name, f"band {_c(band.colour)}") for band in chart.bands]
    entries += [(f"{mark.name}: {mark.x:.3f} s", "mark") for mark in chart.marks]
    for name, style in entries:
        width = _SWATCH + 6 + _LETTER * len(name)
        if x > _LEFT and x + width > _RIGHT:
            x, y = _LEFT, y + _LEGEND_ROW
        if style.startswith("band"):
            place = {"x": f"{x:g}", "y": f"{y - 9:g}", "width": f"{_SWATCH:g}", "height": "10"}
            _sub(legend, "rect", **place, **{"class": style})
        else:
            _sub(legend, "path", d=f"M{x:g} {y - 4:g}h{_SWATCH:g}", **{"class": style})
        _text(legend, x + _SWATCH + 6, y, name, "start")
        x += width + 16
    return legend, y - _TOP_OF_LEGEND + 14


def _swatch(line: Line) -> str:
    return f"line {_c(line.colour)}{' dashed' if line.dashed else ''}"


def _c(colour: int) -> str:
    """Return the style of a colour; below 0 is that of what lines are compared with."""
    return "neutral" if colour < 0 else f"c{colour % _COLOURS}"


def _text(parent: Element, x: float, y: float, words: str, anchor: str) -> Element:
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor}
    text = _sub(parent, "text", **place)
    text.text = words
    return text


def _sub(parent: Element, tag: str, **attributes: str) -> Element:
    return SubElement(parent, tag, attributes)
