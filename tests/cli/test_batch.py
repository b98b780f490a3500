from __future__ import annotations

import io
import json
import random
import re
import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest

from damselfly.cli.batch import Wish, read_wishes
from damselfly.cli.dfget import main
from damselfly.engine.errors import ConfigError

from ..origin_server import OriginServer
from .dfget_support import PATIENCE_S, assert_one_error_line, started

if TYPE_CHECKING:
    from pathlib import Path

CONTENTS = [random.Random(seed).randbytes(100_000 + seed) for seed in range(6)]


@pytest.fixture
def origin(tmp_path: Path) -> OriginServer:
    server = OriginServer()
    for number, content in enumerate(CONTENTS):
        server.put(f"/f{number}", content)
    return server


def run(folder: Path, lines: list[str], *flags: str) -> int:
    (folder / "list").write_text("\n".join(lines))
    arguments = ["--urls", str(folder / "list"), "-o", str(folder / "out"), "-p", "source"]
    return main([*arguments, "--home", str(folder / "home"), *flags])


def test_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "list"
    file.write_text("# comment\n\n http://h/a \nhttp://h/b  name with blanks \r\n")
    wishes = (Wish("http://h/a"), Wish("http://h/b", "name with blanks"))
    assert read_wishes(str(file)) == wishes
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(file.read_bytes())))
    assert read_wishes("-") == wishes


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"# nothing\n", "is empty"), (b"\xff", "is not UTF-8"), (None, "No such file")],
)
def test_lists_that_make_no_sense(tmp_path: Path, content: bytes | None, expected: str) -> None:
    file = tmp_path / "list"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=expected):
        read_wishes(str(file))


@pytest.mark.parametrize(
    ("lines", "flags", "expected"),
    [
        (["http://h/a"], ["-u", "http://h/b"], "--urls and --url exclude each other"),
        (["http://h/a"], ["-m", "0" * 32], "--urls and --md5 exclude each other"),
        (["http://h/a"], ["--jobs", "0"], "expected a whole number of at least 1"),
        (["http://h/a", "http://g/a"], [], "out/a twice: give each URL a file of its own"),
        (["http://h/a", "ftp://g/b"], [], "url 'ftp://g/b': expected http://host/path"),
        (["http://h/.."], [], "suggests no file name"),
    ],
)
def test_batches_that_make_no_sense(
    tmp_path: Path,
    lines: list[str],
    flags: list[str],
    expected: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(tmp_path, lines, *flags) == 1
    assert_one_error_line(capsys.readouterr().err, expected)
    assert not (tmp_path / "out").exists()


def test_all_files_come_under_their_names(
    origin: OriginServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with origin:
        lines = [origin.url(f"/f{number}") for number in range(6)]
        lines[5] += " deeper/last"
        assert run(tmp_path, lines, "--jobs", "3") == 0
    for number, content in enumerate(CONTENTS[:5]):
        assert (tmp_path / "out" / f"f{number}").read_bytes() == content
    assert (tmp_path / "out" / "deeper" / "last").read_bytes() == CONTENTS[5]
    out, err = capsys.readouterr()
    assert err == ""
    *ends, summary = out.splitlines()
    assert sorted(line.rpartition("/")[2] for line in ends) == [
        "f0", "f1", "f2", "f3", "f4", "last"
    ]  # fmt: skip
    assert all(re.match(r"download SUCCESS cost:\S+ length:\d+ reason:\d+ /", one) for one in ends)
    length = sum(map(len, CONTENTS))
    assert re.fullmatch(rf"6 of 6 SUCCESS cost:\d+\.\d{{3}}s length:{length}", summary)
    log = (tmp_path / "home" / "logs" / "dfclient.log").read_text()
    assert len(set(re.findall(r"sign:(\S+) : download SUCCESS", log))) == 6


def test_one_that_fails_stops_no_other(
    origin: OriginServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").touch()
    with origin:
        lines = [origin.url("/nothing"), origin.url("/f0"), f"{origin.url('/f1')} file/x"]
        assert run(tmp_path, lines, "--jobs", "1") == 80
    out, err = capsys.readouterr()
    assert out.splitlines()[-1].startswith("1 of 3 SUCCESS")
    nothing, unwritable, last = err.splitlines()
    assert "answered 404" in nothing
    assert "file/x" in unwritable
    assert last.startswith("dfget: not all files")


def test_json_tells_downloads_apart(
    origin: OriginServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with origin:
        assert run(tmp_path, [origin.url("/f0"), origin.url("/nothing")], "--json") == 80
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events.pop().items() >= {
        "event": "summary", "downloads": 2, "succeeded": 1, "failed": 1, "length": len(CONTENTS[0])
    }.items()  # fmt: skip
    codes = {one["sign"]: one["code"] for one in events if one["event"] == "result"}
    assert sorted(codes.values()) == [0, 1104]
    assert {one["sign"] for one in events} == set(codes)


def test_a_signal_ends_all_of_them(origin: OriginServer, tmp_path: Path) -> None:
    with origin:
        origin.put("/slow", CONTENTS[0], silent=True)
        (tmp_path / "list").write_text(f"{origin.url('/f0')}\n{origin.url('/slow')}\n")
        flags = ("--urls", str(tmp_path / "list"), "-p", "source", "--jobs", "1")
        with started(tmp_path, "", *flags) as dfget:
            assert dfget.stdout.readline().startswith("download SUCCESS")
            deadline = time.monotonic() + PATIENCE_S
            while not origin.requests("/slow") and time.monotonic() < deadline:
                time.sleep(0.01)
            dfget.send_signal(signal.SIGTERM)
            out, err = dfget.communicate(timeout=PATIENCE_S)
    assert dfget.returncode == 143
    assert out.startswith("1 of 2 SUCCESS")
    assert "stopped by SIGTERM" in err
