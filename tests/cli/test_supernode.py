from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest

from damselfly.cli.config_file import supernode_choice
from damselfly.cli.options import SUPERNODE
from damselfly.cli.settings import supernode_settings
from damselfly.cli.supernode import main
from damselfly.engine.errors import ConfigError
from damselfly.net.recorder import TraceLimits

if TYPE_CHECKING:
    from collections.abc import Generator

    from damselfly.net.supernode import SupernodeSettings

PATIENCE_S = 60
READY = re.compile(
    r"supernode ready: control http://127\.0\.0\.1:(\d+) download http://127\.0\.0\.1:(\d+)"
    r" home (.*)\n"
)


@contextmanager
def started(*flags: str) -> Generator[tuple[subprocess.Popen[str], str]]:
    """Run a supernode; gives the process and the line that says that it is ready."""
    command = [sys.executable, "-P", "-m", "damselfly.cli.supernode", *flags]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline()
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--nosuch"], "unknown flag --nosuch: expected one of --home-dir, --port"),
        (["--homedir", "x"], "unknown flag --homedir: did you mean --home-dir?"),
        (["--port", "99999"], "port '99999': expected 0 to 65535"),
        (["--advertise-ip", "here"], "ip 'here': expected an address"),
        (["--config", "/nowhere.yml"], "cannot read /nowhere.yml: No such file or directory"),
        (["start"], "unexpected argument 'start'"),
        (["--pool-size", "10"], "flag --pool-size has no effect here: there is no pool of threads"),
        (["--download-path=/x"], "flag --download-path has no effect here: copies are kept in"),
        (["--max-bandwidth", "200"], "that is 200 bytes per second; give a unit, as 200MB or 200B"),
    ],
)
def test_bad_flags(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("supernode: ")
    assert err.count("\n") == 1
    assert expected in err


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help"]) == 0
    out = capsys.readouterr().out
    for option in SUPERNODE.options:
        assert f"--{option.long}" in out
    assert main(["version"]) == 0
    assert re.fullmatch(r"supernode version  \d+\.\d+\.\d+\n", capsys.readouterr().out)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_is_and_leaves_when_asked(number: signal.Signals, tmp_path: Path) -> None:
    flags = ("--home-dir", str(tmp_path), "--advertise-ip", "127.0.0.1", "--download-port", "0")
    with started(*flags, "--port", "0") as (process, line):
        ready = READY.fullmatch(line)
        assert ready, line
        assert ready[3] == str(tmp_path)
        with urlopen(f"http://127.0.0.1:{ready[1]}/_ping", timeout=PATIENCE_S) as answer:
            assert answer.read() == b"OK"
        with urlopen(f"http://127.0.0.1:{ready[1]}/damselfly/stats", timeout=PATIENCE_S) as answer:
            assert json.load(answer)["tasks"] == 0
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert out == f"stopped by {number.name}\n"
    assert err == ""
    assert (tmp_path / "logs" / "app.log").exists()


def test_the_config_file_counts(tmp_path: Path) -> None:
    config = tmp_path / "supernode.yml"
    config.write_text(
        f"base:\n  listenPort: 0\n  downloadPort: 0\n  homeDir: {tmp_path}/sn\n"
        "  advertiseIP: 127.0.0.1\n"
    )
    with started("--config", str(config)) as (_, line):
        ready = READY.fullmatch(line)
        assert ready, line
        assert ready[3] == f"{tmp_path}/sn"


def test_a_port_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--home-dir", str(tmp_path), "--advertise-ip", "127.0.0.1", "--download-port", "0"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main([*flags, "--port", str(port)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("supernode: ")
    assert err.count("\n") == 1
    assert f"127.0.0.1:{port}" in err
    assert "in use" in err


def test_a_home_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    flags = ["--advertise-ip", "127.0.0.1", "--port", "0", "--download-port", "0"]
    assert main([*flags, "--home-dir", str(tmp_path / "file")]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"{tmp_path}/file" in err


def settings(*flags: str, environ: dict[str, str] | None = None) -> SupernodeSettings:
    parsed = SUPERNODE.parse(["--home-dir", "/sn", *flags])
    chosen = supernode_choice(parsed, environ or {}, Path(parsed.config) if parsed.config else None)
    return supernode_settings(parsed, chosen)


def test_how_much_of_a_trace_is_kept(tmp_path: Path) -> None:
    default = settings()
    assert (default.record_dir, default.trace) == (None, TraceLimits(64 << 20, 8))
    told = settings("--record", "/r", "--record-size", "1M", "--record-files", "3")
    assert (told.record_dir, told.trace) == (Path("/r"), TraceLimits(1 << 20, 3))
    file = tmp_path / "supernode.yml"
    file.write_text("base: {recordDir: /t, recordFileSize: 2MB, recordFiles: 5}\n")
    told = settings("--config", str(file), environ={"SUPERNODE_RECORD_FILES": "6"})
    assert (told.record_dir, told.trace) == (Path("/t"), TraceLimits(2 << 20, 6))
    with pytest.raises(ConfigError, match="number of trace files is 1: expected at least 2"):
        settings("--record-files", "1")
    with pytest.raises(ConfigError, match="size of trace files is 0: expected at least 1 byte"):
        settings("--record-size", "0")
