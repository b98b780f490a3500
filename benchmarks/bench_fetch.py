"""How long does one dfget take from a warm supernode, and how long curl and aria2 from nginx?

Same file, same tmpfs, all verified: dfget checks each piece, curl's file goes through sha256sum,
aria2 is told the digest.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .fetching import download, run_timed
from .machine import Missing, cpu_seconds, needed, settle
from .plots import Bars
from .racing import digest
from .results import Result, Spread, Table
from .servers import fill, nginx, supernode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .servers import Server


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: ``rounds`` of each program, ``cold`` ones before, the file's size."""

    rounds: int
    cold: int
    file_bytes: int


FULL: Final = Plan(rounds=9, cold=3, file_bytes=256_000_000)
QUICK: Final = Plan(rounds=1, cold=1, file_bytes=4_000_000)
_CONNECTIONS: Final = 4
"""Of aria2, to one server."""


@dataclass(frozen=True, slots=True)
class Run:
    """One download: what its parts took, and the CPU time of client and server.

    ``transfer_s`` is dfget without Python's start, or curl alone.  ``fast_s`` is curl followed by
    OpenSSL's SHA-256 in this process; sha256sum, which ``wall_s`` has in it, is often slower.
    """

    wall_s: float
    transfer_s: float
    client_cpu_s: float
    server_cpu_s: float
    fast_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Field:
    """Where the runs happen."""

    folder: Path
    url: str
    sha256: str
    web: Server
    node: Server


def measure(plan: Plan = FULL) -> Result:
    """Take turns, each pair in the other order than the one before, aria2 between the pairs.

    Raises ``Missing`` without nginx or curl; without aria2 its row is left out.
    """
    curl = needed("curl", "curl")
    try:
        aria2c = needed("aria2c", "aria2")
    except Missing as missing:
        print(f"fetch: without aria2 from nginx: {missing}", flush=True)
        aria2c = ""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        folder = Path(name)
        (folder / "root").mkdir()
        file = folder / "root" / "file"
        with file.open("wb") as out:
            fill(out, plan.file_bytes)
        with (
            nginx(folder / "nginx", folder / "root") as web,
            supernode(folder / "supernode") as node,
        ):
            field = Field(folder, f"http://{web}/file", digest(file), web, node)
            cold = [_with_dfget(field, f"?{turn}") for turn in range(plan.cold)]
            _with_dfget(field)  # the supernode reads its copy
            ours: list[Run] = []
            theirs: list[Run] = []
            many: list[Run] = []
            for turn in range(plan.rounds):
                if turn % 2:
                    theirs.append(_with_curl(field, curl))
                ours.append(_with_dfget(field))
                if not turn % 2:
                    theirs.append(_with_curl(field, curl))
                if aria2c:
                    many.append(_with_aria2(field, aria2c))
    return _result(cold, ours, theirs, many, plan)


def _with_dfget(field: Field, query: str = "") -> Run:
    folder = field.folder / "dfget"
    served_s = cpu_seconds(field.node.pid)
    cost, outcome = download(field.url + query, field.node, folder)
    served_s = cpu_seconds(field.node.pid) - served_s
    assert outcome["from_supernode"] == outcome["length"], outcome
    assert digest(folder / "file") == field.sha256
    shutil.rmtree(folder)
    return Run(cost.wall_s, outcome["seconds"], cost.cpu_s, served_s)


def _with_curl(field: Field, curl: str) -> Run:
    folder = field.folder / "curl"
    folder.mkdir()
    served_s = cpu_seconds(field.web.pid)
    got = run_timed([curl, "--silent", "--fail", "--output", "file", field.url], folder)
    served_s = cpu_seconds(field.web.pid) - served_s
    hashed = run_timed([needed("sha256sum", "coreutils"), "file"], folder)
    assert hashed.output.split()[0] == field.sha256
    began = time.perf_counter()
    assert digest(folder / "file") == field.sha256
    fast_s = got.wall_s + time.perf_counter() - began
    shutil.rmtree(folder)
    wall_s, cpu_s = got.wall_s + hashed.wall_s, got.cpu_s + hashed.cpu_s
    return Run(wall_s, got.wall_s, cpu_s, served_s, fast_s)


def _with_aria2(field: Field, aria2c: str) -> Run:
    folder = field.folder / "aria2"
    folder.mkdir()
    command = [aria2c, "--no-conf", "--quiet", "--file-allocation=none", "--min-split-size=1M"]
    command += [f"--split={_CONNECTIONS}", f"--max-connection-per-server={_CONNECTIONS}"]
    command += [f"--checksum=sha-256={field.sha256}", "--out=file", field.url]
    served_s = cpu_seconds(field.web.pid)
    got = run_timed(command, folder)
    served_s = cpu_seconds(field.web.pid) - served_s
    assert digest(folder / "file") == field.sha256
    shutil.rmtree(folder)
    return Run(got.wall_s, got.wall_s, got.cpu_s, served_s)


def _result(
    cold: Sequence[Run],
    ours: Sequence[Run],
    theirs: Sequence[Run],
    many: Sequence[Run],
    plan: Plan,
) -> Result:
    pairs = list(zip(ours, theirs, strict=True))
    process = Spread(tuple(curl.wall_s / dfget.wall_s for dfget, curl in pairs))
    started = Spread(tuple(curl.wall_s / dfget.transfer_s for dfget, curl in pairs))
    started_fast = Spread(tuple(curl.fast_s / dfget.transfer_s for dfget, curl in pairs))
    start_s = Spread(tuple(run.wall_s - run.transfer_s for run in ours)).median
    rows = [
        _row("dfget from supernode, whole process", [r.wall_s for r in ours], plan, ours),
        _row("dfget from supernode, once started", [r.transfer_s for r in ours], plan),
        _row("the same while the supernode reads nginx", [r.transfer_s for r in cold], plan, cold),
        _row("curl from nginx, then sha256sum", [r.wall_s for r in theirs], plan, theirs),
        _row("curl from nginx, then OpenSSL's SHA-256", [r.fast_s for r in theirs], plan),
        _row("curl from nginx, unverified", [r.transfer_s for r in theirs], plan),
    ]
    bars = [
        Spread(tuple(run.wall_s for run in ours)).bar("damselfly, whole process"),
        Spread(tuple(run.transfer_s for run in ours)).bar("damselfly, once started"),
        Spread(tuple(run.wall_s for run in theirs)).bar("curl, sha256sum"),
        Spread(tuple(run.fast_s for run in theirs)).bar("curl, OpenSSL's SHA-256"),
    ]
    figures = {
        "rate ratio, whole process to curl and sha256sum": process.median,
        "rate ratio, once started to curl and sha256sum": started.median,
        "rate ratio, once started to curl and OpenSSL": started_fast.median,
        "start s": start_s,
        "cold MB per s": plan.file_bytes / Spread(tuple(r.transfer_s for r in cold)).median / 1e6,
        "dfget cpu s per GB": _per_gb([run.client_cpu_s for run in ours], plan),
        "supernode cpu s per GB": _per_gb([run.server_cpu_s for run in ours], plan),
        "curl and sha256sum cpu s per GB": _per_gb([run.client_cpu_s for run in theirs], plan),
        "nginx cpu s per GB": _per_gb([run.server_cpu_s for run in theirs], plan),
    }
    if many:
        took = Spread(tuple(run.wall_s for run in many))
        what = f"aria2 from nginx, {_CONNECTIONS} connections, --checksum"
        rows.append(_row(what, took.values, plan, many))
        bars.append(took.bar(f"aria2, {_CONNECTIONS} connections"))
        figures["aria2 s"] = took.median
    title = f"{plan.file_bytes / 1e6:.0f} MB from one server, verified"
    summary = (
        f"{plan.file_bytes / 1e6:.0f} MB, {plan.rounds} pairs. The rate of dfget to that of curl"
        f" with sha256sum: {process.text(2)} as a whole process, {started.text(2)} once Python has"
        f" started, which takes {start_s:.2f} s; to curl with OpenSSL: {started_fast.text(2)}."
    )
    head = ("what", "seconds", "MB/s", "client CPU s/GB", "server CPU s/GB")
    plot = Bars(title, "seconds", tuple(bars))
    return Result("fetch", summary, Table(head, tuple(rows)), figures, plot)


def _row(
    what: str, seconds: Sequence[float], plan: Plan, costs: Sequence[Run] = ()
) -> tuple[str, ...]:
    took = Spread(tuple(seconds))
    client = f"{_per_gb([run.client_cpu_s for run in costs], plan):.2f}" if costs else ""
    server = f"{_per_gb([run.server_cpu_s for run in costs], plan):.2f}" if costs else ""
    return what, took.text(3), f"{plan.file_bytes / took.median / 1e6:.0f}", client, server


def _per_gb(cpu_s: Sequence[float], plan: Plan) -> float:
    return Spread(tuple(cpu_s)).median / plan.file_bytes * 1e9


def main() -> None:
    """Measure and print."""
    settle()
    print(measure())


if __name__ == "__main__":
    main()
