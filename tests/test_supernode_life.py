"""Real processes: a supernode that is killed and comes back, and one that keeps no copies."""

from __future__ import annotations

import json
import random
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from damselfly.engine.config import CdnPattern

from .net.swarm_support import running_supernode, stats_of
from .origin_server import OriginServer
from .test_end_to_end import (
    PIECE,
    environment,
    homes,
    result_of,
    supernode,
    wait_until_held,
)
from .test_end_to_end import dfget as start_dfget

if TYPE_CHECKING:
    from pathlib import Path

    from damselfly.net.supernode import SupernodeAddress

DATA = random.Random(4).randbytes(9_000_000)
__all__ = ["homes"]


async def dfget(home: Path, url: str, name: str, node: SupernodeAddress, *flags: str) -> Any:
    command = [
        *(sys.executable, "-m", "damselfly.cli.dfget", "-u", url, "-o", str(home / f"{name}.out")),
        *("--home", str(home / name), "--json", "-n", f"{node.host}:{node.port}", *flags),
    ]
    with trio.fail_after(60):
        done = await trio.run_process(
            command, capture_stdout=True, capture_stderr=True, env=environment(), check=False
        )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("at_once", [False, True])
async def test_peers_feed_each_other_plain_pieces(homes: Path, at_once: bool) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        source = partial(running_supernode, cdn_pattern=CdnPattern.SOURCE, rare_copies=0)
        async with source(homes / "sn") as node:
            results: dict[str, Any] = {}

            async def run(name: str) -> None:
                results[name] = await dfget(homes, origin.url("/f"), name, node)

            if at_once:
                async with trio.open_nursery() as nursery:
                    for name in ("a", "b", "c"):
                        nursery.start_soon(run, name)
            else:
                for name in ("a", "b", "c"):
                    await run(name)
            assert (await stats_of(node))["upload_bytes"] == 0
        sent = origin.bytes_sent("/f") - 1
    if at_once:
        assert len(DATA) <= sent <= 1.5 * len(DATA)
    else:
        assert sent == len(DATA), "each byte once, and one to see"
    assert sum(result["from_origin"] for result in results.values()) == sent
    assert sum(result["from_peers"] for result in results.values()) == 3 * len(DATA) - sent
    for name in ("a", "b", "c"):
        assert results[name]["from_supernode"] == 0
        assert (homes / f"{name}.out").read_bytes() == DATA


def test_a_killed_supernode_comes_back_to_where_everybody_was(homes: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA, rate_bytes_per_s=5e6)
        with supernode(homes / "sn") as (process, node):
            running = [
                start_dfget(homes, origin.url("/f"), f"p{n}", "-n", node, "--notbs")
                for n in range(3)
            ]
            wait_until_held(running[0], 2 * PIECE)
            process.kill()
            process.wait()
        assert origin.bytes_sent("/f") < len(DATA), "it died in the middle of its own read"
        with supernode(homes / "sn", "--port", node.rpartition(":")[2]):
            results = [result_of(one) for one in running]
        assert origin.bytes_sent("/f") <= len(DATA) + PIECE
    for n, result in enumerate(results):
        assert result["status"] == 0, result
        fetched = result["from_supernode"] + result["from_peers"]
        assert (fetched, result["from_origin"]) == (len(DATA), 0), "no piece was fetched twice"
        assert (homes / f"p{n}.out").read_bytes() == DATA
