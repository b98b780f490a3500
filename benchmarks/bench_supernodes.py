"""Several supernodes and many files: who has which, and how often is the origin read for each?

Real processes first: on each of some hosts a dfget that is told all supernodes, for one file after
the other.  Then the simulator with as many, and with an order in which each download tries them
that is the same for a file everywhere (``hash``) or drawn (``spread``); and with its scenario of
many images.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from damselfly.engine.supernode import SupernodeEngine
from damselfly.sim.scenario import Scenario, SupernodeChoice
from damselfly.sim.scenario_file import find, load
from damselfly.sim.swarm import Swarm

from .fetching import end_peer_servers
from .machine import settle
from .racing import race, verify
from .results import Result, Table
from .servers import PYTHON, fill, nginx, supernode
from .swarms import stats_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .servers import Server

_HEAD: Final = (
    "what",
    "files at each supernode",
    "reads of a file, mean",
    "most",
    "supernodes sent, files",
    "copies",
    "seconds",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How many files of what size go to how many hosts, with how many supernodes each time.

    ``images`` is how many machines the scenario of many images has.
    """

    supernodes: tuple[int, ...]
    files: int
    file_bytes: int
    hosts: int
    images: int


FULL: Final = Plan(supernodes=(2, 3), files=12, file_bytes=20_000_000, hosts=4, images=300)
QUICK: Final = Plan(supernodes=(2,), files=2, file_bytes=2_000_000, hosts=2, images=4)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one fleet: files at each supernode, reads of the origin for each file.

    ``sent_files`` is what all supernodes sent, ``copies`` how many hosts got a file, ``seconds``
    how long all of it took.
    """

    tasks: tuple[int, ...]
    reads: tuple[float, ...]
    sent_files: float
    copies: int
    seconds: float

    @property
    def mean_reads(self) -> float:
        """How often a file was read, in the mean."""
        return sum(self.reads) / len(self.reads)


def measure(plan: Plan = FULL) -> Result:
    """Run each fleet once; raises ``Missing`` without nginx."""
    rows: list[tuple[str, ...]] = []
    figures: dict[str, float] = {}
    text: list[str] = []
    for count in plan.supernodes:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            found = _fleet(plan, count, Path(folder))
        rows.append(_row(f"{count} supernodes, {plan.hosts} hosts", found))
        figures |= {
            f"{count} supernodes: reads of a file": found.mean_reads,
            f"{count} supernodes: most reads of a file": max(found.reads),
            f"{count} supernodes: most files at one": max(found.tasks),
        }
        text.append(f"{found.mean_reads:.2f} times with {count} supernodes")
    rows += [_row(what, _simulated(scenario)) for what, scenario in _scenarios(plan).items()]
    summary = (
        f"{plan.files} files of {plan.file_bytes / 1e6:.0f} MB to {plan.hosts} hosts, all copies"
        f" compared. A file is read from the origin {', '.join(text)}."
    )
    return Result("supernodes", summary, Table(_HEAD, tuple(rows)), figures)


def _fleet(plan: Plan, count: int, folder: Path) -> Outcome:
    root, log = folder / "origin", folder / "log"
    root.mkdir()
    files = [root / f"file-{number}" for number in range(plan.files)]
    for file in files:
        with file.open("wb") as out:
            fill(out, plan.file_bytes)
    with ExitStack() as stack:
        web = stack.enter_context(nginx(folder / "nginx", root, log=log))
        nodes = [stack.enter_context(supernode(folder / f"node-{n}")) for n in range(count)]
        homes = [folder / f"home-{host}" for host in range(plan.hosts)]
        for home in homes:
            stack.callback(end_peer_servers, home)
        began = time.monotonic()
        for file in files:
            run = folder / "run"
            run.mkdir()
            url = f"http://{web}/{file.name}"
            race([_dfget(url, nodes, home, run, 2 + n) for n, home in enumerate(homes)], run)
            verify([run / home.name for home in homes], file)
            shutil.rmtree(run)
        seconds = time.monotonic() - began
        stats = [stats_of(node) for node in nodes]
    sent = Counter[str]()
    for line in log.read_text().splitlines():
        path, _, size = line.rpartition(" ")
        sent[path] += int(size)
    return Outcome(
        tasks=tuple(one["tasks"] for one in stats),
        reads=tuple(sent[f"/{file.name}"] / plan.file_bytes for file in files),
        sent_files=sum(one["upload_bytes"] for one in stats) / plan.file_bytes,
        copies=plan.hosts * plan.files,
        seconds=seconds,
    )


def _dfget(url: str, nodes: Sequence[Server], home: Path, run: Path, number: int) -> list[str]:
    """Return the command of a host; its address is what tells it from others on loopback."""
    return [
        *(*PYTHON, "damselfly.cli.dfget", "-u", url, "-o", str(run / home.name)),
        *("-n", ",".join(map(str, nodes)), "--home", str(home), "--ip", f"127.0.0.{number}"),
    ]


def _scenarios(plan: Plan) -> dict[str, Scenario]:
    """Return what is simulated, by the name of its row."""
    found: dict[str, Scenario] = {}
    for count in plan.supernodes:
        one = Scenario(
            peers=plan.hosts, files=plan.files, file_bytes=plan.file_bytes, supernodes=count
        )
        for choice in SupernodeChoice:
            what = f"dfsim, {count} supernodes, {plan.hosts} hosts, {choice.value}"
            found[what] = replace(one, supernode_choice=choice)
    most = max(plan.supernodes)
    images = replace(load(find("many-images")), peers=plan.images, supernodes=most)
    found[f"dfsim many-images, {most} supernodes, {plan.images} hosts, hash"] = images
    return found


def _simulated(scenario: Scenario) -> Outcome:
    swarm = Swarm(scenario)
    report = swarm.run()
    size = scenario.file_bytes
    engines = [node.node.engine for node in swarm.supernodes]
    copies = sum(len(wanted) for wanted in scenario.wants)
    return Outcome(
        tasks=tuple(len(one.tasks) for one in engines if isinstance(one, SupernodeEngine)),
        reads=(report.origin_bytes / size / scenario.files,),
        sent_files=report.supernode_bytes / size,
        copies=copies,
        seconds=report.max_s or 0.0,
    )


def _row(what: str, found: Outcome) -> tuple[str, ...]:
    return (
        what,
        " + ".join(map(str, found.tasks)),
        f"{found.mean_reads:.2f}",
        f"{max(found.reads):.2f}" if len(found.reads) > 1 else "",
        f"{found.sent_files:.1f}",
        str(found.copies),
        f"{found.seconds:.1f}",
    )


def main() -> None:
    """Measure and print."""
    settle()
    print(measure())


if __name__ == "__main__":
    main()
