"""``python -m benchmarks [names]``: measure, print, and keep the results."""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from . import (
    bench_dfdaemon,
    bench_engine,
    bench_fetch,
    bench_hosts,
    bench_published,
    bench_rpc,
    bench_sim,
    bench_small,
    bench_supernodes,
)
from .machine import Missing, settle, this_machine
from .results import FOLDER, Result, keep

if TYPE_CHECKING:
    from collections.abc import Callable

_FULL: Final[dict[str, Callable[[], Result]]] = {
    "fetch": bench_fetch.measure,
    "small": bench_small.measure,
    "dfdaemon": bench_dfdaemon.measure,
    "rpc": bench_rpc.measure,
    "engine": bench_engine.measure,
    "sim": bench_sim.measure,
    **{name: partial(bench_hosts.measure, name, plan) for name, plan in bench_hosts.FULL.items()},
    "supernodes": bench_supernodes.measure,
    "published": bench_published.measure,
}
_QUICK: Final[dict[str, Callable[[], Result]]] = {
    "fetch": partial(bench_fetch.measure, bench_fetch.QUICK),
    "small": partial(bench_small.measure, bench_small.QUICK),
    "dfdaemon": partial(bench_dfdaemon.measure, bench_dfdaemon.QUICK),
    "rpc": partial(bench_rpc.measure, bench_rpc.QUICK),
    "engine": partial(bench_engine.measure, bench_engine.QUICK),
    "sim": partial(bench_sim.measure, bench_sim.QUICK),
    **{name: partial(bench_hosts.measure, name, plan) for name, plan in bench_hosts.QUICK.items()},
    "supernodes": partial(bench_supernodes.measure, bench_supernodes.QUICK),
    "published": partial(bench_published.measure, bench_published.QUICK),
}
_ONLY_NAMED: Final = ("published",)
"""Too long to be run with all others."""


def main() -> None:
    """Run the benchmarks that are named, or all that are short."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"{', '.join(_FULL)}")
    parser.add_argument(
        "--quick", action="store_true", help="only see that they run; the figures mean nothing"
    )
    parser.add_argument(
        "--into",
        type=Path,
        metavar="DIR",
        help="keep results in README.md, results.jsonl and plots/ there (default: benchmarks/,"
        " with --quick nowhere)",
    )
    flags = parser.parse_args()
    if unknown := [name for name in flags.names if name not in _FULL]:
        parser.error(f"no benchmark {unknown[0]!r}: expected {', '.join(_FULL)}")
    into: Path | None = flags.into or (None if flags.quick else FOLDER)
    settle()
    machine = this_machine()
    print(f"{machine}\n", flush=True)
    benchmarks = _QUICK if flags.quick else _FULL
    names = flags.names or [name for name in benchmarks if name not in _ONLY_NAMED]
    results: list[Result] = []
    try:
        for name in names:
            began = time.monotonic()
            try:
                result = benchmarks[name]()
            except Missing as missing:
                print(f"{name}: skipped: {missing}\n", flush=True)
                continue
            results.append(result)
            print(f"{name}: {result}\n\ntook {time.monotonic() - began:.0f} s\n", flush=True)
    finally:
        if into is not None and results:
            keep(results, machine, into)


if __name__ == "__main__":
    main()
