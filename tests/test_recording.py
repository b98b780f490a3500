"""A real supernode records real dfgets; the laboratory replays them and asks what else could be."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from damselfly.cli.dfsim import main
from damselfly.sim.scenario_file import load
from damselfly.sim.traces import find

from .test_end_to_end import (
    DATA,
    PATIENCE_S,
    PIECE,
    dfget,
    homes,
    origin,
    result_of,
    supernode,
    wait_until_held,
)

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from .origin_server import OriginServer

__all__ = ["homes", "origin"]


def test_production_replays_and_becomes_a_scenario(
    origin: OriginServer, homes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rec = homes / "rec"
    url = origin.url("/f").replace("://", "://me:opensesame@")
    secret = ("--header", "Authorization:Bearer c2VzYW1l", "-f", "token")
    with supernode(homes / "sn", "--record", str(rec), "--record-size", "30K") as (process, node):
        running = [
            dfget(homes, f"{url}?token=t0ps3cret", f"p{n}", "-n", node, *secret) for n in range(3)
        ]
        assert [result_of(one)["status"] for one in running] == [0, 0, 0]
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
    traces = sorted(rec.iterdir())
    assert len(traces) > 1
    for trace in traces:
        content = trace.read_bytes()
        assert b"opensesame" not in content
        assert b"c2VzYW1l" not in content
    assert main(["replay", str(rec), "--paranoid"]) == 0, capsys.readouterr().out
    assert "every answer is the recorded one" in capsys.readouterr().out
    assert main(["from-trace", str(rec), "--out", str(homes / "x.yml"), "--run"]) == 0
    said = capsys.readouterr().out
    assert "recorded" in said
    assert "simulated, damselfly" in said
    scenario = load(homes / "x.yml")
    assert (scenario.peers, scenario.file_bytes) == (3, len(DATA))
    assert scenario.layout.content_size == PIECE


def test_a_supernode_that_is_killed_leaves_what_it_wrote(
    origin: OriginServer, homes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    origin.put("/f", DATA, rate_bytes_per_s=6e6)
    with supernode(homes / "sn", "--record", str(homes / "rec")) as (process, node):
        running = dfget(homes, origin.url("/f"), "a", "-n", node)
        wait_until_held(running, 3 * PIECE)
        wait_until_written(homes / "rec")
        process.kill()
        running.kill()
        running.communicate()
    # Perhaps it was killed in the middle of a record: what is whole is replayed.
    assert main(["replay", str(homes / "rec")]) in (0, 3)
    assert " replayed" in capsys.readouterr().out
    ((recording,), _) = find([homes / "rec"])
    assert recording.missing == 0


def wait_until_written(folder: Path) -> None:
    """Return once a trace is on disk, which takes the recorder up to a second."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not any(trace.stat().st_size for trace in folder.glob("*.trace")):
        assert time.monotonic() < give_up_at, f"no trace in {folder}"
        time.sleep(0.02)
