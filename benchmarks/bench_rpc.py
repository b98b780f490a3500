"""How many control exchanges per second does one supernode process answer?"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from .fetching import download
from .load import Job, Tally
from .machine import Missing, cpu_seconds, settle
from .plots import Bar, Bars
from .results import Result, Spread, Table
from .servers import ENVIRONMENT, PYTHON, ROOT, Server, fill, nginx, origin, plain_server, supernode

_TIMEOUT_S: Final = 60.0
_V1, _NATIVE = 3, 4
"""The rows of the cases that count."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: ``rounds`` of each case, ``seconds`` each, and the swarm's size."""

    rounds: int
    seconds: float
    peers: int
    file_bytes: int


FULL: Final = Plan(rounds=3, seconds=1.5, peers=64, file_bytes=128 << 20)
QUICK: Final = Plan(rounds=1, seconds=0.1, peers=4, file_bytes=4 << 20)


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table: who is asked what."""

    title: str
    server: Server
    kind: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of a case."""

    tally: Tally
    server_cpu_s: float


def measure(plan: Plan = FULL) -> Result:
    """Take turns through the cases; medians over the rounds."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name, ExitStack() as stack:
        folder = Path(name)
        file = folder / "file"
        with file.open("wb") as out:
            fill(out, plan.file_bytes)
        source = stack.enter_context(origin(folder / "origin", file))
        node = stack.enter_context(supernode(folder / "supernode"))
        plain = stack.enter_context(plain_server(folder / "plain"))
        cases = [
            Case("plain trio + h11, any request", plain, "stranger"),
            Case("supernode, `/_ping`", node, "ping"),
            Case("supernode, pull by a stranger", node, "stranger"),
            Case(f"supernode, pulls and reports of {plan.peers} peers", node, "v1"),
            Case(f"supernode, updates of {plan.peers} native peers", node, "native"),
        ]
        try:
            web = stack.enter_context(nginx(folder / "nginx", folder))
            cases.append(Case("nginx `return 200`: the client's limit", web, "ping"))
        except Missing as missing:
            print(f"rpc: without the client's limit: {missing}")
        samples: dict[Case, list[Sample]] = {case: [] for case in cases}
        for turn in range(plan.rounds):
            for case in cases:
                url = f"http://{source}/{case.kind}/{turn}"
                if case.kind in ("v1", "native"):
                    download(url, node, folder / "warm")
                    shutil.rmtree(folder / "warm")
                samples[case].append(_sample(case, plan, url))
    return _result(samples)


def _sample(case: Case, plan: Plan, url: str) -> Sample:
    job = Job(case.server.host, case.server.port, case.kind, plan.peers, plan.seconds, url)
    command = [*PYTHON[:1], "-m", "benchmarks.load", json.dumps(asdict(job))]
    cpu_before = cpu_seconds(case.server.pid)
    done = subprocess.run(
        command, stdout=subprocess.PIPE, check=True, timeout=_TIMEOUT_S, env=ENVIRONMENT, cwd=ROOT
    )
    return Sample(Tally(**json.loads(done.stdout)), cpu_seconds(case.server.pid) - cpu_before)


def _result(samples: dict[Case, list[Sample]]) -> Result:
    reference: tuple[float, ...] = ()
    rows: list[tuple[str, ...]] = []
    figures: dict[str, float] = {}
    bars: list[Bar] = []
    for case, runs in samples.items():
        tallies = [run.tally for run in runs]
        rate = Spread(tuple(tally.exchanges / tally.seconds for tally in tallies))
        reference = reference or rate.values
        ratio = Spread(tuple(a / b for a, b in zip(rate.values, reference, strict=True)))
        cpu_us = Spread(tuple(1e6 * run.server_cpu_s / run.tally.exchanges for run in runs))
        pieces = Spread(tuple(tally.pieces / tally.seconds for tally in tallies))
        client = Spread(tuple(tally.cpu_s / tally.seconds for tally in tallies))
        bars.append(rate.bar(case.title.replace("`", "")))
        rows.append(
            (
                case.title,
                rate.text(0),
                ratio.text(2),
                pieces.text(0) if pieces.median else "",
                cpu_us.text(0),
                f"{client.median:.0%}",
            )
        )
        figures |= {
            f"{case.title}: per s": rate.median,
            f"{case.title}: ratio": ratio.median,
            f"{case.title}: server cpu us": cpu_us.median,
        }
    _, v1_rate, v1_ratio, *_ = rows[_V1]
    _, rate, _, pieces, *_ = rows[_NATIVE]
    summary = (
        f"Scheduling a swarm of v1 peers, the supernode answers {v1_rate} exchanges a second:"
        f" {v1_ratio} times what plain trio and h11 do with an answer that is ready. To native"
        f" peers, in {rate} exchanges a second, it assigns {pieces} pieces a second."
    )
    head = (
        *("exchanges", "per second", "ratio to plain", "pieces per second"),
        *("server CPU µs each", "client busy"),
    )
    plot = Bars("Control exchanges, one server process", "per second", tuple(bars))
    return Result("rpc", summary, Table(head, tuple(rows)), figures, plot)


def main() -> None:
    """Measure and print."""
    settle()
    print(measure())


if __name__ == "__main__":
    main()
