"""Real processes on loopback: a supernode, dfgets, their peer servers, and what may befall them."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest

from .origin_server import OriginServer

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

DATA = random.Random(2).randbytes(12_000_000)
PIECE = (1 << 20) - 5
PATIENCE_S = 60


@pytest.fixture
def origin() -> Iterator[OriginServer]:
    with OriginServer() as server:
        server.put("/f", DATA)
        yield server


@pytest.fixture
def homes(tmp_path: Path) -> Iterator[Path]:
    """A folder for work homes; peer servers that are still running there are ended."""
    yield tmp_path
    for meta in tmp_path.glob("*/meta/host.meta"):
        for pid in processes_with(str(meta)):
            os.kill(pid, signal.SIGTERM)


def processes_with(argument: str) -> list[int]:
    found: list[int] = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").split()
            except OSError:
                continue
            if argument.encode() in words:
                found.append(int(folder.name))
    return found


def environment() -> dict[str, str]:
    return {**os.environ, "DAMSELFLY_CHECK": "1"}


@contextmanager
def supernode(home: Path, *flags: str) -> Generator[tuple[subprocess.Popen[str], str]]:
    """Run a supernode; gives the process and its address for ``--node``."""
    command = [
        *(sys.executable, "-m", "damselfly.cli.supernode", "--home-dir", str(home)),
        *("--advertise-ip", "127.0.0.1", "--port", "0", "--download-port", "0", *flags),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        ready = process.stdout.readline()
        assert ready.startswith("supernode ready"), ready
        address = ready.split("control http://")[1].split()[0]
        try:
            yield process, address
        finally:
            process.kill()


def dfget(home: Path, url: str, name: str, *flags: str) -> subprocess.Popen[str]:
    command = [
        *(sys.executable, "-m", "damselfly.cli.dfget", "-u", url, "-o", str(home / f"{name}.out")),
        *("--home", str(home / name), "--json", *flags),
    ]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def result_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for a dfget and return its last JSON line, with the exit status."""
    out, err = process.communicate(timeout=PATIENCE_S)
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines, err
    return {**lines[-1], "status": process.returncode, "lines": lines, "stderr": err}


def wait_until_held(process: subprocess.Popen[str], count: int) -> None:
    """Read a dfget's JSON lines until it holds so many bytes."""
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line).get("held_bytes", 0) >= count:
            return
    raise AssertionError(f"dfget ended early: {process.communicate()}")


def test_peers_feed_each_other(origin: OriginServer, homes: Path) -> None:
    with supernode(homes / "sn") as (_, node):
        running = [dfget(homes, origin.url("/f"), f"p{n}", "-n", node) for n in range(4)]
        results = [result_of(process) for process in running]
    assert [result["status"] for result in results] == [0, 0, 0, 0]
    assert origin.bytes_sent("/f") == len(DATA)
    assert sum(result["from_peers"] for result in results) > 0
    assert sum(result["from_supernode"] for result in results) <= 2.5 * len(DATA)
    for n in range(4):
        assert (homes / f"p{n}.out").read_bytes() == DATA


def test_the_peer_server_outlives_dfget_and_serves(origin: OriginServer, homes: Path) -> None:
    with supernode(homes / "sn") as (_, node):
        first = result_of(dfget(homes, origin.url("/f"), "a", "-n", node))
        assert first["from_supernode"] == len(DATA)
        assert processes_with(str(homes / "a" / "meta" / "host.meta"))
        second = result_of(dfget(homes, origin.url("/f"), "b", "-n", node))
    assert second["from_peers"] > 0
    assert (homes / "b.out").read_bytes() == DATA


def test_a_piece_that_rots_on_a_peers_disk_is_fetched_elsewhere(
    origin: OriginServer, homes: Path
) -> None:
    with supernode(homes / "sn") as (_, node):
        assert result_of(dfget(homes, origin.url("/f"), "a", "-n", node))["status"] == 0
        (served,) = (homes / "a" / "data").glob("*.service")
        with served.open("r+b") as file:
            for piece in range(len(DATA) // PIECE):
                file.seek(piece * PIECE + 1000)
                file.write(b"rot")
        result = result_of(dfget(homes, origin.url("/f"), "b", "-n", node))
    assert result["status"] == 0
    assert (homes / "b.out").read_bytes() == DATA
    assert "parent_failed" in {line.get("milestone") for line in result["lines"]}
    assert origin.bytes_sent("/f") == len(DATA)


def test_a_killed_peer_does_not_hold_up_the_others(origin: OriginServer, homes: Path) -> None:
    with supernode(homes / "sn") as (_, node):
        url = origin.url("/f")
        victim = dfget(homes, url, "victim", "-n", node, "-s", "4M")
        others = [dfget(homes, url, f"p{n}", "-n", node, "-s", "8M") for n in range(3)]
        wait_until_held(victim, 2 * PIECE)
        victim.kill()
        victim.communicate()
        for pid in processes_with(str(homes / "victim" / "meta" / "host.meta")):
            os.kill(pid, signal.SIGKILL)
        results = [result_of(process) for process in others]
    assert [result["status"] for result in results] == [0, 0, 0]
    assert not (homes / "victim.out").exists()
    assert origin.bytes_sent("/f") == len(DATA)
    for n in range(3):
        assert (homes / f"p{n}.out").read_bytes() == DATA


def test_without_a_supernode_a_killed_download_resumes(origin: OriginServer, homes: Path) -> None:
    url = origin.url("/f")
    origin.put("/f", DATA, rate_bytes_per_s=6e6)
    first = dfget(homes, url, "a", "-p", "source")
    wait_until_held(first, 4 * (4 * (1 << 20) - 5) // 2)
    first.kill()
    first.communicate()
    assert not (homes / "a.out").exists()
    asked_before = len(origin.requests("/f"))
    origin.put("/f", DATA)
    result = result_of(dfget(homes, url, "a", "-p", "source"))
    assert result["status"] == 0
    assert result["from_disk"] > 0
    asked = 0
    for request in origin.requests("/f")[asked_before:]:
        first_byte, last_byte = request.headers["range"].removeprefix("bytes=").split("-")
        asked += int(last_byte) + 1 - int(first_byte)
    assert asked == len(DATA) - result["from_disk"]
    assert (homes / "a.out").read_bytes() == DATA
    assert list((homes / "a" / "data").iterdir()) == []


def test_the_supernode_killed_midway(origin: OriginServer, homes: Path) -> None:
    with supernode(homes / "sn") as (node_process, node):
        url = origin.url("/f")
        willing = dfget(homes, url, "willing", "-n", node, "-s", "6M")
        strict = dfget(homes, url, "strict", "-n", node, "-s", "6M", "--notbs")
        wait_until_held(willing, 3 * PIECE)
        wait_until_held(strict, PIECE)
        node_process.send_signal(signal.SIGKILL)
        good, bad = result_of(willing), result_of(strict)
    assert good["status"] == 0
    assert "back_to_source" in {line.get("milestone") for line in good["lines"]}
    assert 0 < good["from_origin"] <= len(DATA) - 3 * PIECE
    assert (homes / "willing.out").read_bytes() == DATA
    assert bad["status"] == 80
    assert bad["reason"] == 1003
    assert node in bad["message"]
    assert not (homes / "strict.out").exists()


def test_a_second_supernode_takes_over(origin: OriginServer, homes: Path) -> None:
    url = origin.url("/f")
    with supernode(homes / "sn1") as (first, node1), supernode(homes / "sn2") as (_, node2):
        process = dfget(homes, url, "a", "-n", f"{node1}=9999,{node2}", "-s", "6M")
        wait_until_held(process, 3 * PIECE)
        first.kill()
        result = result_of(process)
    assert result["status"] == 0
    assert result["from_origin"] == 0
    assert result["from_supernode"] == len(DATA), "no verified piece is fetched twice"
    assert (homes / "a.out").read_bytes() == DATA


def test_several_dfgets_survive_the_restart_of_a_supernode(
    origin: OriginServer, homes: Path
) -> None:
    url = origin.url("/f")
    with supernode(homes / "sn1") as (first, node1), supernode(homes / "sn2") as (_, node2):
        # So heavy that the first one is the first to be asked by all of them.
        flags = ("-n", f"{node1}=9999,{node2}", "-s", "5M", "--notbs")
        running = [dfget(homes, url, f"p{n}", *flags) for n in range(3)]
        for process in running:
            wait_until_held(process, 3 * PIECE)
        first.kill()
        first.wait()
        with supernode(homes / "sn1", "--port", node1.rpartition(":")[2]):
            results = [result_of(process) for process in running]
    assert [result["status"] for result in results] == [0, 0, 0], results
    # Whoever had been told already where to get all the rest did not need the second one.
    milestones = [line.get("milestone") for result in results for line in result["lines"]]
    assert "migrated" in milestones
    for n, result in enumerate(results):
        received = result["from_supernode"] + result["from_peers"] + result["from_origin"]
        assert received == len(DATA), "no verified piece is fetched twice"
        assert (homes / f"p{n}.out").read_bytes() == DATA
    assert origin.bytes_sent("/f") <= 3 * len(DATA)


def test_ctrl_c_leaves_no_file_and_says_how_to_go_on(origin: OriginServer, homes: Path) -> None:
    origin.put("/f", DATA, rate_bytes_per_s=4e6)
    process = dfget(homes, origin.url("/f"), "a", "-p", "source")
    wait_until_held(process, PIECE)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "again" in err
    assert not (homes / "a.out").exists()


def test_secrets_go_to_the_origin_and_stand_nowhere(origin: OriginServer, homes: Path) -> None:
    url = origin.url("/f").replace("http://", "http://me:s3cret1@")
    records = ("--record", str(homes / "records"), "--verbose")
    with supernode(homes / "sn", *records) as (process, node):
        flags = ("-n", node, "--verbose", "--header", "Authorization: Bearer s3cret2")
        result = result_of(dfget(homes, url, "a", *flags))
        (server,) = processes_with(str(homes / "a" / "meta" / "host.meta"))
        shown = Path(f"/proc/{server}/cmdline").read_bytes()
        process.terminate()  # what was recorded last is written then
        process.wait(PATIENCE_S)
    assert result["status"] == 0
    assert origin.requests("/f")[0].headers["authorization"] == "Bearer s3cret2"
    written = {path: path.read_bytes() for path in homes.rglob("*") if path.is_file()}
    assert any(homes / "records" in path.parents for path in written)
    assert homes / "a" / "logs" / "dfclient.log" in written
    for text in (shown, json.dumps(result).encode(), *written.values()):
        assert b"s3cret" not in text


def test_peer_servers_leave_after_their_time(origin: OriginServer, homes: Path) -> None:
    with supernode(homes / "sn") as (_, node):
        flags = ("-n", node, "--alivetime", "1s", "--expiretime", "1s")
        assert result_of(dfget(homes, origin.url("/f"), "a", *flags))["status"] == 0
        meta = str(homes / "a" / "meta" / "host.meta")
        waited_until = time.monotonic() + PATIENCE_S
        while processes_with(meta):
            assert time.monotonic() < waited_until
            time.sleep(0.05)
    assert list((homes / "a" / "data").glob("*.service")) == []
    assert (homes / "a.out").read_bytes() == DATA


def test_two_dfgets_share_the_total_limit_of_their_host(origin: OriginServer, homes: Path) -> None:
    total, size = 4 << 20, 8_000_000
    for name in ("a", "b"):
        origin.put(f"/{name}", DATA[:size])
    with supernode(homes / "sn") as (_, node):
        flags = ("--node", node, "--totallimit", "4M", "--alivetime", "5s")
        flags += ("--home", str(homes / "shared"))
        began = time.monotonic()
        both = [dfget(homes, origin.url(f"/{name}"), name, *flags) for name in ("a", "b")]
        results = [result_of(one) for one in both]
        elapsed_s = time.monotonic() - began
    assert [one["status"] for one in results] == [0, 0], results
    assert 2 * size <= 1.05 * total * elapsed_s
    # The peer server's answers: whoever came first had all, until both had a half.
    log = (homes / "shared" / "logs" / "dfclient.log").read_text()
    limits = re.findall(r"limit of this download: (\d+) bytes/s of 4194304 wanted", log)
    assert "2097152" in limits
    assert set(limits) <= {"2097152", "4194304"}


def test_the_supernode_hears_how_a_download_went(origin: OriginServer, homes: Path) -> None:
    with supernode(homes / "sn") as (_, node):
        flags = ("--node", node, "--pattern", "cdn", "--callsystem", "tests")
        assert result_of(dfget(homes, origin.url("/f"), "good", *flags))["status"] == 0
        wrong = ("--digest", f"sha256:{'0' * 64}")
        assert result_of(dfget(homes, origin.url("/f"), "bad", *flags, *wrong))["status"] == 80
        with urlopen(f"http://{node}/metrics") as reply:
            metrics = reply.read().decode()
    found = re.findall(
        r"^dragonfly_dfget_download_(\w+_total|total){(.*)} (.+)$", metrics, re.MULTILINE
    )
    assert {(name, float(value)) for name, labels, value in found if '"tests"' in labels} == {
        ("size_bytes_total", len(DATA)),
        ("total", 2),
        ("failed_total", 1),
    }
