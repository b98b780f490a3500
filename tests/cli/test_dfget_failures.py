"""What may go wrong: one clear line, the right status, and nothing under the user's name."""

from __future__ import annotations

import json
import random
import re
import signal
import socket
from functools import partial
from typing import TYPE_CHECKING

import pytest

from damselfly.cli.dfget import main
from damselfly.engine.config import DownloadConfig

from ..net.small_disk import DISK_BYTES, fill, small_disk
from .dfget_support import (
    DATA,
    MD5,
    PATIENCE_S,
    assert_nothing_delivered,
    assert_one_error_line,
    fetched,
    started,
)

if TYPE_CHECKING:
    from pathlib import Path

    from ..origin_server import OriginServer


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("status", [403, 404])
def test_the_origin_refuses(
    status: int, origin: OriginServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    origin.put("/f", DATA, status=status)
    assert fetched(tmp_path, origin.url("/f")) == 80
    out, err = capsys.readouterr()
    assert_one_error_line(err, origin.url("/f"), f"answered {status}", "check the URL")
    last = out.splitlines()[-1]
    found = re.fullmatch(r"download FAIL\(1104\) cost:\S+ length:-1 reason:\d+ error:(.*)", last)
    assert found, last
    error = json.loads(found[1])
    assert error["Code"] == 1104
    assert f"answered {status}" in error["Msg"]
    assert_nothing_delivered(tmp_path)


def test_the_origin_sends_too_little(
    origin: OriginServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    patient = partial(DownloadConfig, origin_retries=1, origin_backoff_s=0.01)
    monkeypatch.setattr("damselfly.net.fetch.DownloadConfig", patient)
    origin.put("/f", DATA, cut_at=100_000, ranges=False)
    assert fetched(tmp_path, origin.url("/f")) == 80
    err = capsys.readouterr().err
    assert "trying again" in err
    assert_one_error_line(err.splitlines()[-1], "100000", "3000000", "run again")
    assert_nothing_delivered(tmp_path)


def test_a_wrong_md5(
    origin: OriginServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetched(tmp_path, origin.url("/f"), "-p", "source", "-m", "0" * 32) == 80
    err = capsys.readouterr().err
    assert_one_error_line(err, f"expected:{'0' * 32} real:{MD5}", "check the expected value")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("place", ["out", "home"])
def test_a_place_that_cannot_be_written(
    place: str, origin: OriginServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / place).write_text("a file where a directory should be")
    assert fetched(tmp_path, origin.url("/f")) == 77
    out, err = capsys.readouterr()
    assert_one_error_line(err, str(tmp_path / place), "choose")
    assert out.splitlines()[-1].startswith("download FAIL(1101)")
    assert origin.bytes_sent("/f") == 0


def test_a_read_only_place(
    origin: OriginServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_disk(tmp_path / "out", "ro"):
        assert fetched(tmp_path, origin.url("/f")) == 77
    assert_one_error_line(capsys.readouterr().err, "out/f", "Read-only file system", "choose")
    assert origin.bytes_sent("/f") == 0


def test_a_disk_that_is_too_small_for_the_pieces(
    origin: OriginServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(DATA) > DISK_BYTES
    with small_disk(tmp_path / "home"):
        assert fetched(tmp_path, origin.url("/f")) == 80
        assert not list((tmp_path / "out").iterdir())
    out, err = capsys.readouterr()
    assert_one_error_line(err.splitlines()[-1], "No space left", "free some space")
    assert "reason:1004" in out


def test_a_full_disk_where_the_file_should_go(
    origin: OriginServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_disk(tmp_path / "out"):
        filler = fill(tmp_path / "out")
        assert fetched(tmp_path, origin.url("/f")) == 80
        assert list((tmp_path / "out").iterdir()) == [filler]
    out, err = capsys.readouterr()
    assert_one_error_line(err, str(tmp_path / "out" / "f"), "free some space")
    assert "reason:1004" in out


def test_no_supernode_answers(
    origin: OriginServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node = f"127.0.0.1:{closed_port()}"
    assert fetched(tmp_path, origin.url("/f"), "-n", node) == 0
    out, err = capsys.readouterr()
    assert_one_error_line(err, "from the source", node)
    assert out.splitlines()[4] == "start download f from the source station"
    assert out.splitlines()[-1].endswith("reason:1")
    assert (tmp_path / "out" / "f").read_bytes() == DATA


def test_no_supernode_answers_and_the_source_is_forbidden(
    origin: OriginServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node = f"127.0.0.1:{closed_port()}"
    assert fetched(tmp_path, origin.url("/f"), "-n", node, "--notbs") == 80
    out, err = capsys.readouterr()
    assert_one_error_line(err, node, "leave out --notbs")
    assert "reason:1001" in out.splitlines()[-1]
    assert origin.bytes_sent("/f") == 0
    assert_nothing_delivered(tmp_path)


@pytest.mark.parametrize(
    ("flags", "reason", "expected"),
    [
        (("-p", "source", "--notbs"), 1100, "leave out --notbs"),
        (("-p", "source", "-m", "abc", "-i", "def"), 2, "md5 'abc': expected 32 hex digits"),
    ],
)
def test_what_cannot_succeed_ends_at_once(
    flags: tuple[str, ...],
    reason: int,
    expected: str,
    origin: OriginServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert fetched(tmp_path, origin.url("/f"), *flags) == 80
    out, err = capsys.readouterr()
    assert_one_error_line(err, expected)
    last = out.splitlines()[-1]
    assert re.match(rf"download FAIL\(1104\) cost:\S+ length:-1 reason:{reason} error:", last)
    assert origin.requests("/f") == []
    assert_nothing_delivered(tmp_path)


def test_an_unknown_pattern_serves_nobody_and_is_named(
    origin: OriginServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node = f"127.0.0.1:{closed_port()}"
    assert fetched(tmp_path, origin.url("/f"), "-n", node, "-p", "surce") == 0
    assert "unknown pattern 'surce': did you mean source?" in capsys.readouterr().err
    assert not (tmp_path / "home" / "meta").exists()


def test_out_of_time(
    origin: OriginServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    origin.put("/f", DATA, stall_at=1000)
    assert fetched(tmp_path, origin.url("/f"), "-p", "source", "-e", "300ms") == 80
    assert_one_error_line(capsys.readouterr().err, "not done after 0.3 s", "--timeout")
    assert_nothing_delivered(tmp_path)


def test_a_bug_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("oh dear")

    monkeypatch.setattr("damselfly.cli.dfget._shown", broken)
    assert fetched(tmp_path, "http://127.0.0.1:1/f") == 2
    err = capsys.readouterr().err
    assert_one_error_line(err, "internal error: RuntimeError: oh dear", "--verbose")


def test_a_user_without_a_home(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.home", nobody)
    assert main(["-u", "http://127.0.0.1:1/f", "-o", "/tmp/f", "-p", "source"]) == 78
    assert_one_error_line(capsys.readouterr().err, "home directory", "--home")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_and_the_next_run_goes_on(
    number: signal.Signals, status: int, origin: OriginServer, tmp_path: Path
) -> None:
    data = random.Random(4).randbytes(12 << 20)
    origin.put("/f", data, stall_at=9 << 20, ranges=False)
    with started(tmp_path, origin.url("/f"), "-p", "source", "--json") as dfget:
        for line in dfget.stdout:
            if json.loads(line).get("held_bytes", 0) > 0:
                break
        dfget.send_signal(number)
        out, err = dfget.communicate(timeout=PATIENCE_S)
    assert dfget.returncode == status
    assert json.loads(out.splitlines()[-1])["event"] == "result"
    assert_one_error_line(err, number.name, "run the same command again")
    assert not list((tmp_path / "out").iterdir())
    origin.put("/f", data)
    with started(tmp_path, origin.url("/f"), "-p", "source", "--json") as dfget:
        out, _ = dfget.communicate(timeout=PATIENCE_S)
    assert dfget.returncode == 0
    assert json.loads(out.splitlines()[-1])["from_disk"] > 0
    assert (tmp_path / "out" / "f").read_bytes() == data


def test_a_reader_that_goes_away_is_no_internal_error(origin: OriginServer, tmp_path: Path) -> None:
    with started(tmp_path, origin.url("/f"), "-p", "source") as dfget:
        dfget.stdout.close()
        err = dfget.stderr.read()
    assert dfget.returncode == 1
    assert_one_error_line(err, "standard output")
