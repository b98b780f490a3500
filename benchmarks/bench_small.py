"""What does damselfly cost where there is little to do: its start, 1 KB, 10 MB to four hosts?"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from . import swarms
from .fetching import download, end_peer_servers, run_timed
from .hosts import hosts
from .machine import Missing, needed, settle
from .plots import Bars
from .results import Result, Spread, Table
from .servers import PYTHON, fill, nginx, origin, supernode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .servers import Server

_SMALL_BYTES: Final = 1000
_HELP: Final = "dfget --help"
_FIRST: Final = "dfget, 1 KB, warm supernode; starts a peer server"
_NEXT: Final = "the same with a peer server that runs already"
_RATES: Final[Mapping[str, str | None]] = {"of 200 Mb/s": "200mbit", "without limit": None}


@dataclass(frozen=True, slots=True)
class Plan:
    """How often programs are started, how often a file of what size goes to how many hosts."""

    starts: int
    swarms: int
    hosts: int
    file_bytes: int


FULL: Final = Plan(starts=15, swarms=7, hosts=4, file_bytes=10_000_000)
QUICK: Final = Plan(starts=1, swarms=1, hosts=2, file_bytes=2_000_000)


def measure(plan: Plan = FULL) -> Result:
    """Take turns; what hosts are needed for is left out, by name, where they cannot be made."""
    seconds = _starts(plan)
    beyond: dict[str, Spread] = {}
    for links, rate in _RATES.items():
        try:
            single, last = _swarms(plan, rate)
        except Missing as missing:
            print(f"small: without hosts {links}: {missing}", flush=True)
            continue
        size = f"{plan.file_bytes / 1e6:.0f} MB"
        seconds[f"curl from the origin, {size}, 1 host {links}"] = single
        ours = f"dfgets, {size}, cold supernode, the last of {plan.hosts} hosts {links}"
        seconds[ours] = last
        pairs = zip(last.values, single.values, strict=True)
        beyond[ours] = Spread(tuple(one - other for one, other in pairs))
    return _result(plan, seconds, beyond)


@dataclass(frozen=True, slots=True)
class _Loopback:
    """Where programs are started one at a time; ``file`` is what any path of ``source`` gives."""

    folder: Path
    file: Path
    source: Server
    node: Server

    @property
    def home(self) -> Path:
        """The work home of dfget."""
        return self.folder / "home"

    def wall_s(self, *command: str) -> float:
        """Return how long a command takes."""
        return run_timed(command, self.folder).wall_s

    def first_s(self, number: int) -> float:
        """Return how long dfget takes in a work home that is new."""
        end_peer_servers(self.home)
        shutil.rmtree(self.home, ignore_errors=True)
        return self.next_s(number)

    def next_s(self, number: int) -> float:
        """Return how long dfget takes for a file that the supernode has and this host has not."""
        url, got, warm = f"http://{self.source}/{number}", self.folder / "got", self.folder / "warm"
        download(url, self.node, warm)
        shutil.rmtree(warm)
        command = (*PYTHON, "damselfly.cli.dfget", "-u", url, "-o", str(got))
        took_s = self.wall_s(*command, "-n", str(self.node), "--home", str(self.home))
        assert got.read_bytes() == self.file.read_bytes()
        got.unlink()
        return took_s


def _starts(plan: Plan) -> dict[str, Spread]:
    """Return how long programs take that do next to nothing."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name, ExitStack() as stack:
        folder = Path(name)
        file = _new_file(folder, _SMALL_BYTES)
        source = stack.enter_context(origin(folder / "source", file))
        at = _Loopback(folder, file, source, stack.enter_context(supernode(folder / "node")))
        stack.callback(end_peer_servers, at.home)
        timed: dict[str, Callable[[int], float]] = {
            "python, nothing to do": lambda _: at.wall_s(*PYTHON[:2], "-c", ""),
            _HELP: lambda _: at.wall_s(*PYTHON, "damselfly.cli.dfget", "--help"),
            _FIRST: lambda number: at.first_s(2 * number),
            _NEXT: lambda number: at.next_s(2 * number + 1),
        }
        try:
            curl, web = needed("curl", "curl"), stack.enter_context(nginx(folder / "nginx", folder))
            url = f"http://{web}/{file.name}"
            timed["curl from nginx, 1 KB"] = lambda _: at.wall_s(curl, "-sfo", "got", url)
        except Missing as missing:
            print(f"small: without curl from nginx: {missing}", flush=True)
        rounds = [[take(number) for take in timed.values()] for number in range(plan.starts)]
    columns = zip(*rounds, strict=True)
    return {what: Spread(column) for what, column in zip(timed, columns, strict=True)}


def _swarms(plan: Plan, rate: str | None) -> tuple[Spread, Spread]:
    """Return how long one curl takes from the origin, and the last of the hosts' dfgets."""
    single: list[float] = []
    last: list[float] = []
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name, hosts(plan.hosts, rate) as made:
        folder = Path(name)
        (folder / "origin").mkdir()
        file = _new_file(folder / "origin", plan.file_bytes)
        for _ in range(plan.swarms):
            run = folder / "run"
            run.mkdir()
            single += swarms.curl(made[:1], file, run, is_checked=False).seconds
            shutil.rmtree(run)
            run.mkdir()
            last.append(max(swarms.damselfly(made, file, run).seconds))
            shutil.rmtree(run)
    return Spread(tuple(single)), Spread(tuple(last))


def _new_file(folder: Path, size: int) -> Path:
    file = folder / "file"
    with file.open("wb") as out:
        fill(out, size)
    return file


def _result(plan: Plan, seconds: Mapping[str, Spread], beyond: Mapping[str, Spread]) -> Result:
    rows = tuple(
        (what, took.text(3), beyond[what].text(3) if what in beyond else "")
        for what, took in seconds.items()
    )
    figures = {f"{what}: s": took.median for what, took in seconds.items()}
    figures |= {f"{what}: s beyond the origin": took.median for what, took in beyond.items()}
    summary = (
        f"Medians of {plan.starts} starts: {_HELP} {seconds[_HELP].median:.2f} s; {_FIRST}:"
        f" {seconds[_FIRST].median:.2f} s."
    )
    if beyond:
        most_s = max(took.median for took in beyond.values())
        summary += (
            f" {plan.file_bytes / 1e6:.0f} MB to {plan.hosts} hosts, {plan.swarms} runs: the last"
            f" has it at most {most_s:.2f} s later than one curl from the origin would have it."
        )
    bars = [took.bar(what) for what, took in seconds.items()]
    head = ("what", "seconds", "beyond the origin, s")
    plot = Bars("Where there is little to transfer", "seconds", tuple(bars))
    return Result("small", summary, Table(head, rows), figures, plot)


def main() -> None:
    """Measure and print."""
    settle()
    print(measure())


if __name__ == "__main__":
    main()
