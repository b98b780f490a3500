"""``python -m benchmarks [names]``: measure, print, and keep the results."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from . import bench_engine, bench_fetch, bench_hosts, bench_rpc, bench_sim
from .machine import Missing, settle, this_machine
from .results import FOLDER, Result, keep

if TYPE_CHECKING:
    from collections.abc import Callable

_FULL: Final[dict[str, Callable[[], Result]]] = {
    "fetch": bench_fetch.measure,
    "rpc": bench_rpc.measure,
    "engine": bench_engine.measure,
    "sim": bench_sim.measure,
    "hosts": bench_hosts.measure,
    "hosts-unshaped": partial(bench_hosts.measure, bench_hosts.UNSHAPED, "hosts-unshaped"),
}
_QUICK: Final[dict[str, Callable[[], Result]]] = {
    "fetch": partial(bench_fetch.measure, bench_fetch.QUICK),
    "rpc": partial(bench_rpc.measure, bench_rpc.QUICK),
    "engine": partial(bench_engine.measure, bench_engine.QUICK),
    "sim": partial(bench_sim.measure, bench_sim.QUICK),
    "hosts": partial(bench_hosts.measure, bench_hosts.QUICK),
}


def main() -> None:
    """Run the benchmarks that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"{', '.join(_FULL)}")
    parser.add_argument(
        "--quick", action="store_true", help="only see that they run; the figures mean nothing"
    )
    parser.add_argument(
        "--into",
        type=Path,
        metavar="DIR",
        help="keep results in README.md and results.jsonl there (default: benchmarks/, with"
        " --quick nowhere)",
    )
    flags = parser.parse_args()
    if unknown := [name for name in flags.names if name not in _FULL]:
        parser.error(f"no benchmark {unknown[0]!r}: expected {', '.join(_FULL)}")
    into: Path | None = flags.into or (None if flags.quick else FOLDER)
    settle()
    machine = this_machine()
    print(f"{machine}\n", flush=True)
    benchmarks = _QUICK if flags.quick else _FULL
    results: list[Result] = []
    for name in flags.names or benchmarks:
        try:
            result = benchmarks[name]()
        except Missing as missing:
            print(f"{name}: skipped: {missing}\n", flush=True)
            continue
        results.append(result)
        print(f"{name}: {result}\n", flush=True)
    if into is not None and results:
        keep(results, machine, into)


if __name__ == "__main__":
    main()
