from __future__ import annotations

import base64
import re
import struct
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from damselfly.sim.compare import interval, outcome_of, tabulate
from damselfly.sim.pages import png
from damselfly.sim.pages.charts import Axis, Chart, HeatChart, Scale
from damselfly.sim.pages.page import Subject, page
from damselfly.sim.pages.plots import Run, charts, percentile_rows
from damselfly.sim.recorder import Recorder
from damselfly.sim.scenario import Scenario
from damselfly.sim.swarm import Swarm

if TYPE_CHECKING:
    from pathlib import Path

SUBJECT = Subject('<crowd> & "co"', "dfsim report out.html --peers 9", "peers: 9\n")


def recorded(scenario: Scenario) -> Run:
    recorder = Recorder()
    report = Swarm(scenario, recorder=recorder).run()
    return Run(scenario.policy, report, recorder.record())


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    scenario = Scenario(peers=9, file_bytes=8_000_000, seed=1)
    return [recorded(replace(scenario, policy=name)) for name in ("damselfly", "dragonfly-v1")]


class Balance(HTMLParser):
    """Notes what a page refers to, and whether its tags are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "iframe", "img", "object", "base")
        self.links += [
            value or "" for name, value in attrs if name in ("src", "href", "xlink:href")
        ]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def parsed(text: str) -> Balance:
    reader = Balance()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def pictures(text: str) -> dict[str, ElementTree.Element]:
    found = [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]
    return {picture.attrib["id"]: picture for picture in found}


def test_a_page_needs_nothing_else_and_is_well_formed(runs: list[Run]) -> None:
    text = page(SUBJECT, runs)
    reader = parsed(text)
    assert all(link.startswith("data:image/png;base64,") for link in reader.links)
    assert len(reader.links) == 2
    assert "http" not in text
    assert "url(" not in text.replace("url(#", "")
    assert "@import" not in text


def test_every_chart_is_there_with_its_title_axes_and_lines(runs: list[Run]) -> None:
    drawn = pictures(page(SUBJECT, runs))
    assert list(drawn) == [
        *("completion", "progress", "sources-damselfly", "sources-dragonfly-v1", "fairness"),
        *("arrivals-damselfly", "arrivals-dragonfly-v1"),
    ]
    for slug, svg in drawn.items():
        names = svg.attrib["aria-labelledby"].split()
        assert [svg.find(f"*[@id='{name}']") is not None for name in names] == [True, True]
        assert svg.attrib["role"] == "img"
        texts = " ".join(element.text or "" for element in svg.iter("text"))
        if slug.startswith("arrivals"):
            assert all(word in texts for word in ("piece", "peer", "(s)"))
            continue
        assert re.search(r"\((s|%)\).*\((%|bytes)\)", texts), texts
        lines = [path for path in svg.findall("path") if "line" in path.attrib["class"]]
        assert lines
        assert all(path.attrib["d"].count("L") >= 1 for path in lines)


def test_a_curve_rises_from_nobody_to_everybody(runs: list[Run]) -> None:
    completion = charts(runs)[0]
    assert isinstance(completion, Chart)
    for line in completion.lines:
        assert line.points[0] == (0.0, 0.0)
        assert line.points[-1][1] == pytest.approx(100.0)
    assert [mark.x for mark in completion.marks] == list(runs[0].report.scenario.bounds)


def test_tables_have_the_figures_and_text_is_escaped(runs: list[Run]) -> None:
    outcomes = [outcome_of("x", run.report) for run in runs]
    twins = [replace(one, seed=2, mean_s=one.mean_s * 1.1) for one in outcomes]
    rows = tabulate([*outcomes, *twins], [run.name for run in runs])
    text = page(replace(SUBJECT, missing="interrupted at 1 s."), runs, rows)
    words = parsed(text).words
    assert '<crowd> & "co": swarm report' in words
    assert "Partial: interrupted at 1 s." in words
    assert SUBJECT.command in words
    for run in runs:
        assert f"{run.report.mean_s:.3f}" in words
        assert all(cell in words for _, cell in percentile_rows(run))
    mean = interval([outcomes[0].mean_s, twins[0].mean_s])
    assert f"{mean.mean:.3f} ± {mean.half:.3f}" in words
    assert "<crowd>" not in text


def test_a_heat_map_is_a_png_of_one_pixel_a_cell(runs: list[Run]) -> None:
    uri = parsed(page(SUBJECT, runs[:1])).links[0]
    data = base64.b64decode(uri.partition(",")[2])
    heat = runs[0].record.heat
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", data[16:24]) == (heat.columns, heat.rows)
    start = data.index(b"IDAT")
    (length,) = struct.unpack(">I", data[start - 4 : start])
    rows = zlib.decompress(data[start + 4 : start + 4 + length])
    assert len(rows) == heat.rows * (heat.columns + 1)
    lines = [rows[n : n + heat.columns + 1] for n in range(0, len(rows), heat.columns + 1)]
    cells = b"".join(line[1:] for line in lines)
    latest = max(range(len(cells)), key=lambda cell: heat.arrived_s[cell] or 0.0)
    assert cells[latest] == max(cells)
    assert min(cells) > 0  # 0 is for what never came


def test_a_run_of_nothing_has_a_page_too() -> None:
    run = recorded(Scenario(peers=1, file_bytes=0))
    parsed(page(SUBJECT, [run]))
    nobody = Run("nobody", replace(run.report, completions_s=(), unfinished=1), run.record)
    assert "-" in parsed(page(SUBJECT, [nobody])).words


def test_images_for_documents(runs: list[Run], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra plots is not installed")
    paths = png.write([*charts(runs)[1:3], charts(runs)[-1]], tmp_path / "images")
    assert [path.name for path in paths] == [
        *("progress.png", "sources-damselfly.png", "arrivals-dragonfly-v1.png"),
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (Axis("", 0.0, 8.3), ["0", "2", "4", "6", "8"]),
        (Axis("", 0.0, 100.0, unit="%"), ["0%", "20%", "40%", "60%", "80%", "100%"]),
        (Axis("", 0, 3, whole=True), ["0", "1", "2", "3"]),
        (Axis("", 40, 0, whole=True), ["0", "5", "10", "15", "20", "25", "30", "35", "40"]),
        (Axis("", 5e5, 3e8, Scale.LOG, "B"), ["1 MB", "10 MB", "100 MB"]),
        (Axis("", 1e-9, 2e-9), ["1e-09", "1.2e-09", "1.4e-09", "1.6e-09", "1.8e-09", "2e-09"]),
    ],
)
def test_ticks_are_round(axis: Axis, ticks: list[str]) -> None:
    assert [axis.text(tick) for tick in axis.ticks()] == ticks


def test_places_along_an_axis() -> None:
    assert Axis("", 40, 0).place(40) == 0
    assert Axis("", 1, 100, Scale.LOG).place(10) == pytest.approx(0.5)
    assert Axis("", 1, 100, Scale.LOG).place(0) == 0
    assert Axis("", 0, 10).place(11) == 1


def test_colours_mean_the_same_in_all_heat_maps(runs: list[Run]) -> None:
    maps = [chart for chart in charts(runs) if isinstance(chart, HeatChart)]
    assert len({chart.latest_s for chart in maps}) == 1
