"""What a benchmark found: a table and a plot for people, figures for programs; where they go."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .machine import Missing
from .plots import Bar, write

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .machine import Machine
    from .plots import Plot

FOLDER: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a head, all of one length; the first column is text, the others are numbers."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        columns = list(zip(self.head, *self.rows, strict=True))
        widths = [max(map(len, column)) for column in columns]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        return "\n".join(_row(row, widths) for row in (self.head, rule, *self.rows))


@dataclass(frozen=True, slots=True)
class Result:
    """One benchmark's outcome.  ``summary`` is the finding in a sentence or two."""

    name: str
    summary: str
    table: Table
    figures: Mapping[str, float]
    plot: Plot | None = None

    def __str__(self) -> str:
        return f"{self.summary}\n\n{self.table}"


@dataclass(frozen=True, slots=True)
class Spread:
    """Repeated measurements of one thing."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one; of an even number the lower of the two."""
        return sorted(self.values)[(len(self.values) - 1) // 2]

    def text(self, digits: int) -> str:
        """Return ``median (least to most)``."""
        low, high = min(self.values), max(self.values)
        return f"{self.median:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"

    def bar(self, name: str) -> Bar:
        """Return it as a bar of a plot."""
        return Bar(name, self.median, min(self.values), max(self.values))


def keep(results: Sequence[Result], machine: Machine, folder: Path) -> None:
    """Write tables into ``README.md``, plots beside it, a line of figures to ``results.jsonl``."""
    date, version = time.strftime("%Y-%m-%d"), commit()
    readme = folder / "README.md"
    text = readme.read_text()
    for result in results:
        origin = f"`python -m benchmarks {result.name}`, {date}, commit {version}; {machine}."
        part = f"{result}\n\n{_drawn(result, folder)}{origin}"
        text = put_between_marks(text, result.name, part)
    readme.write_text(text)
    line = {
        "date": date,
        "commit": version,
        "machine": asdict(machine),
        "figures": {
            result.name: {what: float(f"{value:.4g}") for what, value in result.figures.items()}
            for result in results
        },
    }
    with (folder / "results.jsonl").open("a") as out:
        out.write(json.dumps(line) + "\n")


def _drawn(result: Result, folder: Path) -> str:
    """Write the plot, if there is one; return what shows it in the README."""
    if result.plot is None:
        return ""
    path = folder / "plots" / f"{result.name}.svg"
    try:
        write(result.plot, path)
    except Missing as missing:
        print(f"{result.name}: without its plot: {missing}", flush=True)
        return ""
    return f"![{result.plot.title}](plots/{path.name})\n\n"


def put_between_marks(text: str, name: str, part: str) -> str:
    """Return ``text`` with ``part`` between the marks of ``name``.

    Raises ``ValueError`` if a mark is missing.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise ValueError(f"README.md: expected the marks {begin} and {end}, in this order")
    return f"{before}{begin}\n{part}\n{end}{after}"


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    rest = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
    return f"| {' | '.join((first, *rest))} |"


def commit() -> str:
    """Return which version this is, and whether it was changed since."""
    name = _git("rev-parse", "--short", "HEAD") or "unknown"
    is_changed = _git("status", "--porcelain", "--", ".", ":!benchmarks")
    return f"{name}, with changes" if is_changed else name


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(FOLDER.parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
