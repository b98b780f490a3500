"""Runs as one HTML page that needs nothing else: no script, no network."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Final
from xml.etree.ElementTree import Element, SubElement, tostring

from ..report import percentile
from .charts import HeatChart, amount
from .plots import charts, percentile_rows
from .svg import drawn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..compare import Interval, Row
    from .charts import Chart
    from .plots import Run

_STYLE: Final = Path(__file__).with_name("page.css")


@dataclass(frozen=True, slots=True)
class Subject:
    """What a page is about: a scenario's ``name``, the command that makes it again, and its YAML.

    ``missing`` says what an interrupt has cut off; empty: nothing.
    """

    name: str
    command: str
    settings: str
    missing: str = ""


def page(subject: Subject, runs: Sequence[Run], rows: Sequence[Row] = ()) -> str:
    """Return the page about at least one run; ``rows`` compare policies over several seeds."""
    html = Element("html", {"lang": "en"})
    head = SubElement(html, "head")
    SubElement(head, "meta", {"charset": "utf-8"})
    viewport = "width=device-width, initial-scale=1"
    SubElement(head, "meta", {"name": "viewport", "content": viewport})
    _add(head, "title", f"{subject.name}: swarm report")
    _add(head, "style", _STYLE.read_text(encoding="utf-8"))
    body = SubElement(html, "body")
    _header(body, subject, runs)
    _results(body, runs)
    if rows:
        _seeds(body, rows)
    lines, maps = (SubElement(body, "div", {"class": "charts"}) for _ in range(2))
    for chart in charts(runs):
        section = _figure(maps if isinstance(chart, HeatChart) else lines, chart)
        if chart.slug == "fairness":
            _uploads(section, runs)
    _footer(body, subject, runs)
    return f"<!doctype html>\n{tostring(html, encoding='unicode', method='html')}\n"


def _header(body: Element, subject: Subject, runs: Sequence[Run]) -> None:
    scenario = runs[0].report.scenario
    layout = scenario.layout
    bound_mean_s, bound_max_s = scenario.bounds
    header = SubElement(body, "header")
    _add(header, "h1", f"{subject.name}: swarm report")
    if subject.missing:
        _add(header, "p", f"Partial: {subject.missing}", "alarm")
    files = f"{scenario.files} files of " if scenario.files > 1 else ""
    supernodes = f"{scenario.supernodes} supernode{'s' if scenario.supernodes != 1 else ''}"
    facts = (
        f"{scenario.peers:,} peers, {files}{amount(scenario.file_bytes)} in {layout.count:,} pieces"
        f" of {layout.piece_size:,} bytes, {supernodes}, seed {scenario.seed}."
    )
    _add(header, "p", facts)
    bound = (
        "No schedule can do better than these lower bounds: mean"
        f" {bound_mean_s:.3f} s, last peer {bound_max_s:.3f} s."
    )
    _add(header, "p", bound)
    _add(header, "p", "The command that makes this page again:", "note")
    _add(header, "pre", subject.command)


def _results(body: Element, runs: Sequence[Run]) -> None:
    bound_mean_s, bound_max_s = runs[0].report.scenario.bounds
    head = ("", "mean s", "p50 s", "p90 s", "p99 s", "last s", "mean / bound", "last / bound")
    head += ("origin files", "supernode files", "finished", "without", "upload Gini")
    bound = ("lower bound", f"{bound_mean_s:.3f}", "", "", "", f"{bound_max_s:.3f}", "1", "1")
    lines: list[tuple[str, ...]] = [bound + ("",) * (len(head) - len(bound))]
    for run in runs:
        report, times = run.report, run.report.completions_s
        size = max(1, report.scenario.file_bytes)
        middle = [_seconds(percentile(times, percent)) for percent in (50, 90, 99)]
        lines.append(
            (
                f"{run.name}{' (partial)' if report.is_partial else ''}",
                _seconds(report.mean_s),
                *middle,
                _seconds(report.max_s),
                _seconds(report.ratio_mean),
                _seconds(report.ratio_max),
                f"{report.origin_bytes / size:.2f}",
                f"{report.supernode_bytes / size:.2f}",
                f"{len(times):,}",
                f"{report.unfinished:,}",
                f"{run.record.gini:.3f}",
            )
        )
    section = SubElement(body, "section")
    _add(section, "h2", "Results")
    note = (
        "Seconds are counted from each peer's own start. Files sent by the origin and by supernodes"
        " are in copies of one file; “without” counts live peers that did not get theirs."
    )
    _add(section, "p", note, "note")
    _table(section, head, lines)


def _seeds(body: Element, rows: Sequence[Row]) -> None:
    """Compare the policies over several seeds."""
    head = ("policy", "seeds", "mean s", "p99 s", "last s", "mean / bound", "last / bound")
    head += ("origin files", "supernode files", "mean, against the first")
    lines = [
        (
            row.policy,
            f"{row.runs}",
            *(_spread(row.seconds[metric]) for metric in ("mean", "p99", "max")),
            f"{row.ratio_mean:.3f}",
            f"{row.ratio_max:.3f}",
            f"{row.origin_files:.2f}",
            f"{row.supernode_files:.2f}",
            _longer(row.against.get("mean")) if row is not rows[0] else "",
        )
        for row in rows
    ]
    section = SubElement(body, "section")
    _add(section, "h2", "Over several seeds")
    note = (
        "Means with 95 % confidence intervals. Differences are taken seed by seed: above 0 a policy"
        " is slower than the first."
    )
    _add(section, "p", note, "note")
    _table(section, head, lines)


def _figure(parent: Element, chart: Chart | HeatChart) -> Element:
    section = SubElement(parent, "section")
    _add(section, "h2", chart.title)
    _add(section, "p", chart.note, "note")
    section.append(drawn(chart))
    return section


def _uploads(section: Element, runs: Sequence[Run]) -> None:
    columns = [percentile_rows(run) for run in runs]
    head = ("uploaded by a peer, in files", *(run.name for run in runs))
    lines = [(cells[0][0], *(text for _, text in cells)) for cells in zip(*columns, strict=True)]
    _table(section, head, lines)


def _footer(body: Element, subject: Subject, runs: Sequence[Run]) -> None:
    section = SubElement(body, "section")
    _add(section, "h2", "The scenario")
    note = "As a file for --scenario; whatever is not here is as by default."
    _add(section, "p", note, "note")
    _add(section, "pre", subject.settings)
    digests = (f"{run.name} {run.report.trace_digest}" for run in runs)
    _add(section, "p", f"Digests of all that happened: {', '.join(digests)}.", "note")


def _table(parent: Element, head: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    table = SubElement(SubElement(parent, "div", {"class": "scroll"}), "table")
    row = SubElement(SubElement(table, "thead"), "tr")
    for cell in head:
        SubElement(row, "th", {"scope": "col"}).text = cell
    rows = SubElement(table, "tbody")
    for line in lines:
        row = SubElement(rows, "tr")
        SubElement(row, "th", {"scope": "row"}).text = line[0]
        for cell in line[1:]:
            SubElement(row, "td").text = cell


def _add(parent: Element, tag: str, text: str, kind: str = "") -> None:
    SubElement(parent, tag, {"class": kind} if kind else {}).text = text


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _spread(interval: Interval) -> str:
    mean, half = interval
    return f"{mean:.3f}" if half == inf else f"{mean:.3f} ± {half:.3f}"


def _longer(interval: Interval | None) -> str:
    if interval is None:
        return ""
    mean, half = interval
    return f"{mean:+.1%}" if half == inf else f"{mean:+.1%} ± {half:.1%}"
