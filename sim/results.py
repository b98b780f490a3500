"""What a sweep came to: one JSON object a line and run, added as runs end, and the best of it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from math import inf
from statistics import fmean
from typing import TYPE_CHECKING, Any

import msgspec

from ..engine.errors import ConfigError
from .compare import interval
from .sweep import Result

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .compare import Interval


def read_results(path: Path) -> list[Result]:
    """Return the rows in a file, none if there is no file.

    A last line without an end is what an interrupt has left of one: it is cut off.

    Raises:
        ConfigError: a line is no row; names file and line.

    """
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        os.truncate(path, sum(map(len, lines[:-1])))
        lines.pop()
    decoder = msgspec.json.Decoder(Result)
    results: list[Result] = []
    for number, line in enumerate(lines, 1):
        try:
            results.append(decoder.decode(line))
        except msgspec.MsgspecError as error:
            expected = "expected a row as a sweep writes it; name another file"
            raise ConfigError(f"{path}:{number}: {error}: {expected}") from error
    return results


def add_result(path: Path, result: Result) -> None:
    """Add a row."""
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{json.dumps(asdict(result))}\n")


@dataclass(frozen=True, slots=True)
class Setting:
    """Some parameters, with means over their seeds; ``supernode_files`` in copies of one file."""

    parameters: dict[str, Any]
    seeds: int
    mean_s: Interval
    max_s: Interval
    bound_mean_s: float
    ratio_mean: float
    supernode_files: float
    unfinished: int


def ranked(results: Iterable[Result]) -> list[Setting]:
    """Return the parameters that were tried, the nearest to the bound first.

    Where peers were left without the file is behind all others.
    """
    found: dict[str, list[Result]] = {}
    for result in results:
        found.setdefault(json.dumps(result.parameters, sort_keys=True), []).append(result)
    settings = [_setting(rows) for rows in found.values()]
    return sorted(settings, key=lambda one: (one.unfinished > 0, one.ratio_mean))


def _setting(rows: list[Result]) -> Setting:
    return Setting(
        parameters=rows[0].parameters,
        seeds=len(rows),
        mean_s=interval([_or_inf(row.mean_s) for row in rows]),
        max_s=interval([_or_inf(row.max_s) for row in rows]),
        bound_mean_s=fmean(row.bound_mean_s for row in rows),
        ratio_mean=fmean(_or_inf(row.ratio_mean) for row in rows),
        supernode_files=fmean(row.supernode_bytes / max(1, row.file_bytes) for row in rows),
        unfinished=sum(row.unfinished for row in rows),
    )


def _or_inf(value: float | None) -> float:
    return inf if value is None else value
