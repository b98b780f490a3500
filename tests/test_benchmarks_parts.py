"""What benchmarks are made of: plots, a tracker, torrents, and what is said of what is missing."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from benchmarks import bench_hosts, plots, results
from benchmarks.bench_hosts import ARIA2, CURL, LIBTORRENT
from benchmarks.host_results import OURS, Plan, Series, result_of
from benchmarks.machine import Missing
from benchmarks.racing import Run
from benchmarks.tracker import tracker, write_torrent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.hosts import TestHost

ROOT = Path(__file__).parent.parent
BARS = plots.Bars(
    "A title", "seconds", (plots.Bar("damselfly", 2.0, 1.5, 4.0), plots.Bar("another", 1234.5)), 1.0
)
LINES = plots.Lines("A title", "clients", "s", (1.0, 2.0), (plots.Line("mean", (3.0, 4.0)),))
UNSHAPED = Plan(2, 0.0, 1_000_000, 1, (OURS, LIBTORRENT, CURL))


def a_run(seconds: float, *, giving_cpu_s: float | None = None) -> Run:
    return Run((seconds, seconds), 2_000_000, 1_000_000, 1.5, giving_cpu_s, 0.25, 1.0)


@pytest.mark.parametrize("plot", [BARS, LINES])
def test_a_plot_is_svg_that_depends_on_nothing_but_its_figures(
    plot: plots.Plot, tmp_path: Path
) -> None:
    for name in ("first", "second"):
        plots.write(plot, tmp_path / "made" / name)
    first, second = [(tmp_path / "made" / name).read_bytes() for name in ("first", "second")]
    assert first == second
    svg = ElementTree.fromstring(first)
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    words = "".join(svg.itertext())
    assert "A title" in words
    assert ("damselfly" in words) == isinstance(plot, plots.Bars)
    plots.write(replace(plot, title="Another"), tmp_path / "third")
    assert (tmp_path / "third").read_bytes() != first


def test_bars_say_their_figures_and_the_bound(tmp_path: Path) -> None:
    plots.write(BARS, tmp_path / "bars.svg")
    words = list(ElementTree.parse(tmp_path / "bars.svg").getroot().itertext())
    assert {"damselfly", "another", "2", "1,234"} <= set(words)
    assert "seconds; dashed: the lower bound, 1" in words


def test_a_median_comes_with_its_spread() -> None:
    assert results.Spread((3.0, 1.0, 2.0)).bar("x") == plots.Bar("x", 2.0, 1.0, 3.0)


def test_a_torrent_describes_its_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a" * 10 + b"b" * 3)
    write_torrent(tmp_path / "torrent", tmp_path / "file", 10, "http://t/announce")
    hashes = [hashlib.sha1(piece).digest() for piece in (b"a" * 10, b"b" * 3)]
    assert (tmp_path / "torrent").read_bytes() == (
        b"d8:announce17:http://t/announce4:infod6:lengthi13e4:name4:file12:piece lengthi10e"
        b"6:pieces40:" + b"".join(hashes) + b"ee"
    )


def test_a_tracker_tells_others_and_remembers_what_was_sent() -> None:
    with tracker("127.0.0.1") as found:
        port = found.url.rpartition(":")[2].partition("/")[0]

        def announce(ip: str, uploaded: int, event: str = "") -> bytes:
            said = f"port=6881&uploaded={uploaded}&info_hash=%ff%00" + event
            request = f"GET /announce?{said} HTTP/1.0\r\n\r\n".encode()
            return _asked(ip, int(port), request).partition(b"\r\n\r\n")[2]

        nobody = b"d8:intervali600e5:peers0:e"
        assert announce("127.0.0.2", 0, "&event=started") == nobody
        found.await_start("127.0.0.2", 60)
        with pytest.raises(RuntimeError, match=r"127\.0\.0\.9 did not come to the tracker"):
            found.await_start("127.0.0.9", 0)
        peers = b"\x7f\x00\x00\x02" + (6881).to_bytes(2, "big")
        assert announce("127.0.0.3", 0) == b"d8:intervali600e5:peers6:" + peers + b"e"
        assert announce("127.0.0.2", 77, "&event=stopped") != nobody
        assert found.uploaded("127.0.0.2") == 77
        assert announce("127.0.0.3", 0) == nobody


def _asked(ip: str, port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), source_address=(ip, 0)) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(4096), b""))


@pytest.mark.parametrize("missing", [(), (LIBTORRENT,), (CURL,), (LIBTORRENT, ARIA2)])
def test_what_is_not_installed_is_named_and_replaced(
    missing: Sequence[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(what: str, made: Sequence[TestHost], file: Path, folder: Path) -> Run:
        if what in missing:
            raise Missing(f"{what} is missing")
        return a_run(1.0)

    monkeypatch.setattr(bench_hosts, "_run", run)
    starts, series = bench_hosts.take_turns(replace(UNSHAPED, runs=2), (), tmp_path)
    assert len(starts.runs) == 2
    want = [what for what in UNSHAPED.programs if what not in missing]
    if missing == (LIBTORRENT,):
        want.append(ARIA2)
    assert sorted(series) == sorted(want)
    assert all(len(found.runs) == 2 for found in series.values())
    said = capsys.readouterr().out
    assert [what for what in missing if f"without {what}: {what} is missing" in said] == [*missing]


def test_without_ours_hosts_are_skipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(what: str, made: Sequence[TestHost], file: Path, folder: Path) -> Run:
        raise Missing("nginx is missing")

    monkeypatch.setattr(bench_hosts, "_run", run)
    with pytest.raises(Missing, match="nginx"):
        bench_hosts.take_turns(UNSHAPED, (), tmp_path)


def test_hosts_without_limit_are_compared_with_bittorrent() -> None:
    series = {
        OURS: Series([a_run(3.0, giving_cpu_s=0.5)]),
        LIBTORRENT: Series([a_run(4.0)]),
    }
    plan = replace(UNSHAPED, file_bytes=500_000_000)
    found = result_of("hosts-unshaped", plan, Series([a_run(1.0)]), series)
    assert "The last host takes 0.75 of BitTorrent's time, 0.50 without that start" in found.summary
    assert "costs 1.00 CPU s where it is received and 0.75 where it is sent" in found.summary
    assert found.figures["last to BitTorrent's"] == 0.75
    assert found.table.head[3:5] == ("mean to BitTorrent's", "last to BitTorrent's")
    assert [row[3] for row in found.table.rows] == ["0.75", "1.00"]


@pytest.mark.parametrize(("busy_s", "limit"), [(0.1, "is not the limit"), (99.0, "is the limit")])
def test_when_the_cpu_is_the_limit_it_says_so(busy_s: float, limit: str) -> None:
    series = {OURS: Series([replace(a_run(3.0), machine_cpu_s=busy_s)])}
    found = result_of("hosts-unshaped", UNSHAPED, Series([a_run(1.0)]), series)
    assert f"the CPU {limit}" in found.summary
    assert "BitTorrent's time" not in found.summary


def test_shaped_hosts_stand_beside_bound_and_simulator() -> None:
    plan = replace(UNSHAPED, rate_bytes_per_s=1e6, file_bytes=1_000_000)
    series = {OURS: Series([a_run(2.0)]), CURL: Series([a_run(1.5)])}
    found = result_of("hosts", plan, Series([a_run(0.25)]), series)
    assert [row[0] for row in found.table.rows] == [OURS, "dfsim, 0.25 s later", CURL]
    assert [row[3] for row in found.table.rows][::2] == ["2.00", "1.50"]
    assert isinstance(found.plot, plots.Bars)
    assert found.plot.bound == 1.0


def test_nobody_needs_the_rights_to_make_hosts() -> None:
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("setpriv is missing (Debian package util-linux)")
    without = [setpriv, "--bounding-set", "-sys_admin,-net_admin"]
    command = [sys.executable, "-m", "benchmarks", "--quick", "hosts", "small", "engine"]
    done = subprocess.run(
        [*without, *command] if os.geteuid() == 0 else command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "hosts: skipped: hosts " in done.stdout
    assert "small: without hosts of 200 Mb/s: hosts " in done.stdout
    assert "small: Medians of 1 starts" in done.stdout
    assert "engine: With " in done.stdout
