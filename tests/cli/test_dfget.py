from __future__ import annotations

import json
import os
import pty
import re
import socket
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from damselfly.cli import logs
from damselfly.cli.dfget import main
from damselfly.cli.options import DFGET, DFGET_SERVER, SUPERNODE

from .dfget_support import DATA, MD5, PATIENCE_S, assert_one_error_line, fetched, started

if TYPE_CHECKING:
    from damselfly.cli.options import Command

    from ..origin_server import OriginServer

PROTOCOL_FLAGS = {  # protocol 8.1, 1.0.6
    "--url": "-u", "--output": "-o", "--locallimit": "-s", "--totallimit": "", "--timeout": "-e",
    "--md5": "-m", "--identifier": "-i", "--filter": "-f", "--header": "", "--node": "-n",
    "--notbs": "", "--insecure": "", "--pattern": "-p", "--showbar": "-b", "--console": "",
    "--verbose": "", "--home": "", "--ip": "", "--port": "", "--expiretime": "", "--alivetime": "",
    "--minrate": "", "--callsystem": "", "--dfdaemon": "", "--cacerts": "", "--clientqueue": "",
}  # fmt: skip
OUR_FLAGS = {
    "--json": "", "--urls": "", "--jobs": "", "--digest": "", "--compat-version": "",
    "--protocol": "",
}  # fmt: skip
SERVER_FLAGS = {
    "--alivetime", "--data", "--expiretime", "--home", "--ip", "--meta", "--port", "--verbose",
    "--compat-version",
}  # fmt: skip


# --- flags ----------------------------------------------------------------------------------------


def test_the_flags_are_those_of_the_protocol_and_ours() -> None:
    ours = {f"--{one.long}": f"-{one.short}" if one.short else "" for one in DFGET.options}
    assert ours == PROTOCOL_FLAGS | OUR_FLAGS
    assert {f"--{one.long}" for one in DFGET_SERVER.options} == SERVER_FLAGS


@pytest.mark.parametrize("command", [DFGET, DFGET_SERVER, SUPERNODE], ids=lambda one: one.prog)
def test_a_table_fits_its_fields(command: Command[Any]) -> None:
    assert [one.long.replace("-", "_") for one in command.options] == [
        field.name for field in fields(command.flags)
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "Please use the command 'help' to show the help information."),
        (["-o", "x"], "no URL given"),
        (["-u"], "-u/--url: expected one argument"),
        (["-u", "abc"], "url 'abc': expected http://host/path"),
        (["-u", "http://h/f", "--nosuch"], "unknown flag --nosuch"),
        (["-u", "http://h/f", "--console=maybe"], "argument --console: 'maybe': expected true or"),
        (["-u", "http://h/f", "-b=2"], "argument -b/--showbar: '2': expected true or false"),
        (["-u", "http://h/f", "--headers=A:b"], "unknown flag --headers: did you mean --header?"),
        (["-u", "http://h/f", "config"], "unexpected argument 'config'"),
        (["-u", "http://h/f", "-s", "20X"], "rate '20X': expected a whole number of bytes"),
        (["-u", "http://h/f", "--totallimit", "-1"], "rate '-1'"),
        (["-u", "http://h/f", "-e", "5x"], "duration '5x': expected for example 30 (seconds)"),
        (["-u", "http://h/f", "--json", "--console"], "leave one out"),
        (["-u", "http://h/f", "--header", "A:b\r\nC:d"], "header 'A' has a line break"),
        (["-u", "http://h/f", "-n", "a:b:c"], "node 'a:b:c': expected host[:port][=weight]"),
        (["-u", "http://h/f", "-o", "/tmp"], "output '/tmp' is a directory"),
        (["-u", "http://h/f", "-o", "nowhere/"], "output 'nowhere/' is a directory"),
        (["-u", "http://h/.."], "suggests no file name: say with -o"),
        (["http://me:s3cret@h/f"], "a URL without a flag: give it with -u"),
        (["serve"], "unknown command 'serve': did you mean server?"),
        (["help", "serve"], "unknown command 'serve': did you mean server?"),
        (["server"], "with --ip"),
        (["server", "--nosuch"], "unknown flag --nosuch"),
    ],
)
def test_bad_flags(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert_one_error_line(err, expected)


def test_verbose_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-u", "abc", "--verbose"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.splitlines()[-1].startswith("dfget: url 'abc'")


@pytest.mark.parametrize("arguments", [["help"], ["--help"], ["-h"]])
def test_help_names_every_flag(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    if arguments == ["help"]:
        assert main(arguments) == 0
    else:
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 0
    out, err = capsys.readouterr()
    assert err == ""
    for name in (*PROTOCOL_FLAGS, *OUR_FLAGS, "dfget server", "dfget version"):
        assert name in out


def test_help_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "server"]) == 0
    assert capsys.readouterr().out == DFGET_SERVER.help()


@pytest.mark.parametrize("word", [f"--{one.long}" for one in DFGET.options if not one.metavar])
def test_switches_are_turned_on_and_off_as_by_go_programs(word: str) -> None:
    field = word.removeprefix("--").replace("-", "_")
    for arguments, expected in [
        ([word], True),
        ([f"{word}=true"], True),
        ([f"{word}=1"], True),
        ([f"{word}=false"], False),
        ([word, f"{word}=F"], False),
        ([f"{word}=0", word], True),
    ]:
        assert getattr(DFGET.parse(arguments), field) is expected


def test_a_value_may_begin_with_a_hyphen() -> None:
    flags = DFGET.parse(["-i", "--notbs", "-o", "-x", "--header", "-a:b", "-bs", "2M", "-e=5"])
    assert (flags.identifier, flags.output, flags.header) == ("--notbs", "-x", ["-a:b"])
    assert (flags.showbar, flags.locallimit, flags.timeout, flags.notbs) == (
        True,
        2 << 20,
        5,
        False,
    )


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert re.match(r"dfget version  \d+\.\d+\.\d+\n  Python version:", capsys.readouterr().out)


# --- what is printed ------------------------------------------------------------------------------


def test_the_lines_of_a_download_from_the_source(
    origin: OriginServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetched(tmp_path, origin.url("/f")) == 0
    assert (tmp_path / "out" / "f").read_bytes() == DATA
    out, err = capsys.readouterr()
    expected = (
        rf"--\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d--  {re.escape(origin.url('/f'))}\n"
        r"dfget version:\d+\.\d+\.\d+\n"
        rf"workspace:{re.escape(str(tmp_path))}/home\n"
        rf"sign:{os.getpid()}-\d+\.\d{{3}}\n"
        r"start download f from the source station\n"
        r"download SUCCESS cost:\d+\.\d{3}s length:3000000 reason:\d+\n"
    )
    assert re.fullmatch(expected, out), out
    assert err == ""


def test_the_lines_of_a_download_through_a_supernode(origin: OriginServer, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "damselfly.cli.supernode", "--home-dir"]
    command += [str(tmp_path / "sn"), "--port", "0", "--download-port", "0"]
    with subprocess.Popen(
        [*command, "--advertise-ip", "127.0.0.1"], stdout=subprocess.PIPE, text=True
    ) as supernode:
        assert supernode.stdout is not None
        node = supernode.stdout.readline().split("control http://")[1].split()[0]
        flags = ("-n", node, "--alivetime", "1s", "-m", MD5.upper())
        with started(tmp_path, origin.url("/f"), *flags) as dfget:
            out, err = dfget.communicate(timeout=PATIENCE_S)
        supernode.terminate()
    assert (tmp_path / "out" / "f").read_bytes() == DATA
    assert out.splitlines()[4:-1] == [
        f"client:127.0.0.1 connected to node:{node}",
        "start download by dragonfly...",
    ]
    last = r"download SUCCESS cost:\d+\.\d{3}s length:3000000 reason:0"
    assert re.fullmatch(last, out.splitlines()[-1])
    assert err == ""


def test_json(origin: OriginServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fetched(tmp_path, origin.url("/f"), "-p", "source", "--json") == 0
    out, err = capsys.readouterr()
    events = [json.loads(line) for line in out.splitlines()]
    assert err == ""
    assert [event["event"] for event in events if event["event"] != "progress"] == [
        "began",
        "result",
    ]
    assert "progress" in {event["event"] for event in events}
    assert events[0]["nodes"] == []
    assert events[-1].items() >= {
        "code": 0, "length": len(DATA), "held_bytes": len(DATA), "from_origin": len(DATA),
        "output": str(tmp_path / "out" / "f"),
    }.items()  # fmt: skip


def test_json_ends_in_a_result_also_if_nothing_began(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "home").touch()
    assert fetched(tmp_path, "http://127.0.0.1:1/f", "-p", "source", "--json") == 77
    out, err = capsys.readouterr()
    result = json.loads(out.splitlines()[-1])
    assert (result["event"], result["code"]) == ("result", 1101)
    assert_one_error_line(err, result["message"])


def test_console_prints_the_log_as_well(
    origin: OriginServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetched(tmp_path, origin.url("/f"), "-p", "source", "--console") == 0
    line = (
        r"(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} INFO sign:\d+-\d+\.\d{3} : get init config:.*$"
    )
    shown = re.search(line, capsys.readouterr().out)
    assert shown
    log = (tmp_path / "home" / "logs" / "dfclient.log").read_text()
    assert shown[0] in log
    assert re.search(r"INFO sign:\S+ : download SUCCESS cost:", log)


def test_secrets_are_sent_and_not_shown(
    origin: OriginServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = origin.url("/f").replace("http://", "http://me:s3cret1@")
    flags = ("--header", "X-Auth-Token: s3cret2", "--header", "Cookie:s3cret3")
    assert fetched(tmp_path, url, "-p", "source", "--console", "--verbose", *flags) == 0
    headers = origin.requests("/f")[0].headers
    assert "authorization" in headers
    assert (headers["x-auth-token"], headers["cookie"]) == ("s3cret2", "s3cret3")
    out, err = capsys.readouterr()
    logged = (tmp_path / "home" / "logs" / "dfclient.log").read_text()
    assert "s3cret" not in f"{out}{err}{logged}"


def test_showbar_prints_plain_progress_without_a_terminal(
    origin: OriginServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetched(tmp_path, origin.url("/f"), "-p", "source", "--showbar") == 0
    out, err = capsys.readouterr()
    assert re.match(r"dfget: \d+\.\d MB", err)
    assert "MB" not in out


def test_a_terminal_gets_a_bar_and_stdout_does_not(origin: OriginServer, tmp_path: Path) -> None:
    origin.put("/f", DATA, rate_bytes_per_s=8e6)
    screen, terminal = pty.openpty()
    with started(tmp_path, origin.url("/f"), "-p", "source", stderr=terminal) as dfget:
        os.close(terminal)
        shown = b""
        try:
            while more := os.read(screen, 4096):
                shown += more
        except OSError:  # how a terminal tells that nobody writes to it any more
            pass
        os.close(screen)
        out, _ = dfget.communicate(timeout=PATIENCE_S)
    assert dfget.returncode == 0
    assert b"MB" in shown
    assert b"\x1b[" in shown
    assert "\x1b" not in out
    assert out.splitlines()[-1].startswith("download SUCCESS")


# --- where the file goes --------------------------------------------------------------------------


def test_the_url_names_the_file(
    origin: OriginServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["-u", origin.url("/f?x=1"), "--home", "home", "-p", "source"]
    assert main(arguments) == 0
    assert (tmp_path / "f?x=1").read_bytes() == DATA


def test_an_older_file_is_replaced_only_by_success(origin: OriginServer, tmp_path: Path) -> None:
    target = tmp_path / "out" / "f"
    target.parent.mkdir()
    target.write_text("old")
    assert fetched(tmp_path, origin.url("/nothing")) == 80
    assert target.read_text() == "old"
    assert fetched(tmp_path, origin.url("/f")) == 0
    assert target.read_bytes() == DATA
    assert os.listdir(target.parent) == ["f"]


def test_with_nothing_configured_and_nothing_there_all_comes_from_the_origin(
    origin: OriginServer, tmp_path: Path
) -> None:
    if Path("/etc/dragonfly/dfget.yml").exists():
        pytest.skip("this machine has a dfget.yml")
    try:
        with socket.create_server(("127.0.0.1", 8002)):
            pass
    except OSError:
        pytest.skip("something on this machine uses port 8002 of 127.0.0.1")
    assert fetched(tmp_path, origin.url("/f"), "--timeout", "60") == 0
    assert (tmp_path / "out" / "f").read_bytes() == DATA
    assert not (tmp_path / "home" / "meta").exists(), "nobody to serve, so no peer server"


# --- dfget server ---------------------------------------------------------------------------------


def test_the_server_says_its_port_and_leaves_on_a_signal(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "damselfly.cli.dfget", "server", "--ip", "127.0.0.1"]
    with subprocess.Popen(
        [*command, "--home", str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        port = int(line.removeprefix("dfget uploader server port is"))
        with socket.create_connection(("127.0.0.1", port)):
            pass
        server.terminate()
        assert server.wait(PATIENCE_S) == 0
    assert "peer server" in (tmp_path / "logs" / "dfserver.log").read_text()


def test_the_server_with_an_address_of_another_host(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["server", "--ip", "192.0.2.1", "--home", str(tmp_path)]) == 76
    assert "192.0.2.1" in capsys.readouterr().err


def test_the_server_with_a_home_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "home").touch()
    assert main(["server", "--ip", "127.0.0.1", "--home", str(tmp_path / "home")]) == 76
    assert_one_error_line(capsys.readouterr().err, str(tmp_path / "home"))


def test_the_log_goes_and_ends_where_it_is_told(
    origin: OriginServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "logs elsewhere" / "x.log"
    monkeypatch.setenv("DFGET_LOG_CONFIG_PATH", str(path))
    assert fetched(tmp_path, origin.url("/f")) == 0
    assert "download SUCCESS" in path.read_text()
    assert not (tmp_path / "home" / "logs").exists()


def test_a_log_is_replaced_when_it_is_long_and_old_ones_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    with logs.logging_to(path, logs.LogConfig(max_mb=1, backups=2)):
        for number in range(50):
            logs.LOG.info("%d %s", number, "x" * 100_000)
    kept = sorted(tmp_path.iterdir())
    assert [one.name for one in kept] == ["x.log", "x.log.1", "x.log.2"]
    assert all(one.stat().st_size <= 1 << 20 for one in kept)
    assert " : 49 x" in path.read_text()


def test_a_log_leaves_no_handler_behind(tmp_path: Path) -> None:
    with logs.logging_to(tmp_path / "x.log", sign="1-2.003"):
        logs.LOG.error("http://u:pw@h/ failed")
        assert logs.LOG.handlers
    assert not logs.LOG.handlers
    line = (tmp_path / "x.log").read_text()
    assert re.fullmatch(r"\S+ \S+\.\d{3} ERRO sign:1-2\.003 : http://redacted-1@h/ failed\n", line)
