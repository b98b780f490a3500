from __future__ import annotations

import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from damselfly.cli.demo import main
from damselfly.cli.demo_report import PlainScreen, TerminalScreen, Verdict
from damselfly.cli.demo_swarm import Peer

from ..origin_server import OriginServer

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = 4_000_000
PATIENCE_S = 60


def started(folder: Path, *flags: str) -> subprocess.Popen[str]:
    """Run a demo that has its temporary directory in ``folder``."""
    (folder / "tmp").mkdir()
    command = [sys.executable, "-P", "-m", "damselfly.cli.demo", *flags]
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder / "tmp")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_cleaned_up(folder: Path) -> None:
    assert not list((folder / "tmp").iterdir())
    for command_line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert str(folder) not in command_line.read_bytes().decode(errors="replace")
        except OSError:
            continue


def figures(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "demo.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--peers", "0"], "peers '0': expected 1 to 200"),
        (["--peers", ""], "peers '': expected 1 to 200"),
        (["--peers", "many"], "peers 'many'"),
        (["--size", "big"], "size 'big'"),
        (["--size", "9999TB"], "take a smaller --size"),
        (["--url", "ftp://h/f"], "url 'ftp://h/f'"),
        (["5"], "unexpected argument '5'"),
    ],
)
def test_bad_flags(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("demo: ")
    assert err.count("\n") == 1
    assert expected in err


def test_all_get_the_file_although_one_is_killed(tmp_path: Path) -> None:
    with started(tmp_path, "--size", str(SIZE), "--peers", "2", "--kill") as demo:
        out, err = demo.communicate(timeout=PATIENCE_S)
    assert demo.returncode == 0, err
    assert err == ""
    assert "peer 3 was killed at" in out
    found = figures(tmp_path)
    assert found["identical"]
    assert found["origin_bytes"] == SIZE
    assert f"{found['supernode_bytes'] / SIZE:.2f} copies" in out
    assert len(found["peers"]) == 2
    assert found["peers"][0]["sha256"] == found["peers"][1]["sha256"]
    for peer in found["peers"]:
        assert set(peer) == {"seconds", "bytes_supernode", "bytes_peers", "sha256"}
        assert peer["sha256"][:12] in out
        assert peer["bytes_supernode"] + peer["bytes_peers"] >= SIZE
    assert_cleaned_up(tmp_path)


def test_a_file_of_the_users_own(tmp_path: Path) -> None:
    data = random.Random(5).randbytes(SIZE)
    with OriginServer() as origin:
        origin.put("/own", data)
        flags = ("--url", origin.url("/own"), "--peers", "2", "--json", "figures.json")
        with started(tmp_path, *flags) as demo:
            _, err = demo.communicate(timeout=PATIENCE_S)
    assert demo.returncode == 0, err
    found = json.loads((tmp_path / "figures.json").read_text())
    assert found["identical"]
    assert found["origin_bytes"] == SIZE
    assert found["peers"][0]["sha256"] == hashlib.sha256(data).hexdigest()
    assert_cleaned_up(tmp_path)


def test_an_origin_that_has_no_such_file(tmp_path: Path) -> None:
    with (
        OriginServer() as origin,
        started(tmp_path, "--url", origin.url("/no"), "--peers", "1") as demo,
    ):
        out, err = demo.communicate(timeout=PATIENCE_S)
    assert demo.returncode == 1
    assert "no file" in out
    assert err.startswith("demo: peer 1: ")
    assert err.count("\n") == 1
    assert "404" in err
    assert not figures(tmp_path)["identical"]
    assert_cleaned_up(tmp_path)


def test_ctrl_c_cleans_up(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/own", random.Random(5).randbytes(SIZE), stall_at=SIZE // 2)
        with started(tmp_path, "--url", origin.url("/own"), "--peers", "1") as demo:
            assert demo.stdout is not None
            while not origin.requests("/own"):
                assert demo.stdout.readline(), "the demo ended early"
            demo.send_signal(signal.SIGINT)
            _, err = demo.communicate(timeout=PATIENCE_S)
    assert demo.returncode == 130
    assert err == "demo: stopped by SIGINT\n"
    assert not (tmp_path / "demo.json").exists()
    assert_cleaned_up(tmp_path)


# --- the verdict ----------------------------------------------------------------------------------


def peer(name: str, sha256: str, **state: Any) -> Peer:
    return Peer(name, Path("/nowhere"), "127.0.0.1", length=100, sha256=sha256, **state)


def problems(*peers: Peer, expected: str = "good", origin_bytes: int = 100) -> list[str]:
    return Verdict(peers, expected, origin_bytes, 200).problems()


def test_a_verdict_is_only_good_if_all_is_well() -> None:
    fine, other = peer("a", "good"), peer("b", "bad")
    assert problems(fine, peer("b", "good")) == []
    assert problems(fine, peer("k", "", kill_at=0.3, is_killed=True)) == []
    assert problems(fine, other) == ["not all peers have the same file as the origin"]
    assert problems(other, other) == ["not all peers have the same file as the origin"]
    assert problems(other, other, expected="") == []
    assert problems(fine, other, expected="") == ["not all peers have the same file as the origin"]
    assert problems(fine, origin_bytes=200) == ["the origin sent 200 bytes for a file of 100"]
    assert problems(fine, origin_bytes=200, expected="") == []
    assert problems(fine, peer("b", "", error="lost"))[0] == "b: lost"


def test_the_screens_name_how_far_each_is() -> None:
    peers = [peer("peer 1", "", held_bytes=50), peer("peer 2", "", held_bytes=100)]
    terminal, plain = io.StringIO(), io.StringIO()
    for screen in (TerminalScreen(terminal), PlainScreen(plain)):
        screen.draw(peers)
        screen.close()
    assert "peer 1" in terminal.getvalue()
    assert "50/100 bytes" in terminal.getvalue()
    assert plain.getvalue().endswith("50% 100%\n")


# --- the origin -----------------------------------------------------------------------------------


@pytest.fixture
def demo_origin(tmp_path: Path) -> Iterator[HTTPConnection]:
    (tmp_path / "file").write_bytes(b"0123456789")
    command = [sys.executable, "-P", "-m", "damselfly.cli.demo_origin", str(tmp_path / "file")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        host, port = process.stdout.readline().rpartition("/")[2].split(":")
        connection = HTTPConnection(host, int(port), timeout=PATIENCE_S)
        yield connection
        connection.close()
        process.kill()


def asked(
    connection: HTTPConnection, method: str = "GET", path: str = "/file", **headers: str
) -> tuple[int, str | None, bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, headers=named)
    answer = connection.getresponse()
    return answer.status, answer.headers["Content-Range"], answer.read()


def test_the_demos_origin_is_an_ordinary_one_that_counts(demo_origin: HTTPConnection) -> None:
    assert asked(demo_origin) == (200, None, b"0123456789")
    assert asked(demo_origin, "HEAD") == (200, None, b"")
    assert asked(demo_origin, Range="bytes=2-4") == (206, "bytes 2-4/10", b"234")
    assert asked(demo_origin, Range="bytes=8-") == (206, "bytes 8-9/10", b"89")
    assert asked(demo_origin, Range="bytes=8-99") == (206, "bytes 8-9/10", b"89")
    assert asked(demo_origin, Range="bytes=10-") == (416, "bytes */10", b"")
    assert asked(demo_origin, Range="bytes=2-4", If_Range='"other"')[0] == 200
    assert asked(demo_origin, path="/bytes-sent") == (200, None, b"27")
