"""One file to hosts with links of their own: damselfly, BitTorrent, and a server without limits."""

from __future__ import annotations

import shutil
import tempfile
from collections import deque
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from damselfly.engine.piece import MIB

from . import swarms, torrents
from .host_results import OURS, Plan, Series, result_of
from .hosts import hosts
from .machine import Missing, settle
from .servers import fill

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .hosts import TestHost
    from .racing import Run
    from .results import Result

V1_FORM: Final = "damselfly, v1 form"
LIBTORRENT: Final = "BitTorrent (libtorrent)"
ARIA2: Final = "BitTorrent (aria2)"
CURL: Final = "curl from an unlimited nginx, sha256sum"
_PROGRAMS: Final[Mapping[str, Callable[[Sequence[TestHost], Path, Path], Run]]] = {
    OURS: swarms.damselfly,
    V1_FORM: partial(swarms.damselfly, flags=("--protocol", "v1")),
    LIBTORRENT: torrents.libtorrent,
    ARIA2: torrents.aria2,
    CURL: swarms.curl,
}
_STAND_INS: Final = {LIBTORRENT: ARIA2}
"""What is run instead of a program that is not installed."""
_SMALL_BYTES: Final = 1024

_FEW: Final = (OURS, LIBTORRENT, CURL)
_ALL: Final = tuple(_PROGRAMS)
FULL: Final[Mapping[str, Plan]] = {
    "hosts": Plan(8, 25e6, 200 * MIB, 5, _ALL),
    "hosts-1": Plan(1, 25e6, 200 * MIB, 5, _FEW),
    "hosts-16": Plan(16, 25e6, 200 * MIB, 5, _FEW),
    "hosts-slower": Plan(8, 6.25e6, 100 * MIB, 5, _FEW),
    "hosts-unshaped": Plan(4, 0.0, 256 * MIB, 5, _ALL),
}
QUICK: Final[Mapping[str, Plan]] = {
    name: replace(plan, hosts=min(2, plan.hosts), file_bytes=4 * MIB, runs=1)
    for name, plan in FULL.items()
}


def measure(name: str, plan: Plan) -> Result:
    """Run each program in turn, so often; raises ``Missing`` where hosts cannot be made."""
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as place,
        hosts(plan.hosts, plan.rate) as made,
    ):
        starts, series = take_turns(plan, made, Path(place))
    return result_of(name, plan, starts, series)


def take_turns(
    plan: Plan, made: Sequence[TestHost], folder: Path
) -> tuple[Series, dict[str, Series]]:
    """Return what a small file takes our programs, and what each program took.

    Programs that are not installed are named and left out; without ours, raises ``Missing``.
    """
    file = _new_file(folder, "file", plan.file_bytes)
    small = _new_file(folder, "small", _SMALL_BYTES)
    starts, series = Series(), {what: Series() for what in plan.programs}
    for _ in range(plan.runs):
        starts.runs.append(_run(OURS, made, small, folder / "run"))
        turns = deque(series)
        while turns:
            what = turns.popleft()
            try:
                series[what].runs.append(_run(what, made, file, folder / "run"))
            except Missing as missing:
                print(f"hosts: without {what}: {missing}", flush=True)
                del series[what]
                if (instead := _STAND_INS.get(what)) and instead not in plan.programs:
                    series[instead] = Series()
                    turns.append(instead)
    return starts, series


def _run(what: str, made: Sequence[TestHost], file: Path, folder: Path) -> Run:
    folder.mkdir()
    try:
        return _PROGRAMS[what](made, file, folder)
    finally:
        shutil.rmtree(folder)


def _new_file(folder: Path, name: str, size: int) -> Path:
    place = folder / "origin"
    place.mkdir(exist_ok=True)
    with (place / name).open("wb") as out:
        fill(out, size)
    return place / name


def main() -> None:
    """Measure and print."""
    settle()
    for name, plan in FULL.items():
        print(measure(name, plan))


if __name__ == "__main__":
    main()
