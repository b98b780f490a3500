"""What the flags of dfget do to the download, beyond those that ``test_dfget`` looks at."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from damselfly.cli.command import Command
from damselfly.cli.dfget import main
from damselfly.cli.options import DFGET

from ..origin_server import CERTIFICATE, OriginServer
from .dfget_support import DATA, PATIENCE_S, assert_one_error_line, fetched, started

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

SHA256 = hashlib.sha256(DATA).hexdigest()


@contextmanager
def running_supernode(home: Path) -> Generator[str]:
    """Give ``host:port`` of a supernode in a process of its own."""
    command = [sys.executable, "-P", "-m", "damselfly.cli.supernode", "--home-dir", str(home)]
    command += ["--port", "0", "--download-port", "0", "--advertise-ip", "127.0.0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supernode:
        assert supernode.stdout is not None
        yield supernode.stdout.readline().split("control http://")[1].split()[0]
        supernode.terminate()


@pytest.mark.parametrize(
    "arguments",
    [
        ["-u", "http://a/b", "--output=c", "-n", "a:1=2,b", "--node", "c", "--insecure"],
        ["--notbs=false", "--verbose", "--verbose=false", "-f", "a&b", "-u=x", "--url", "y"],
        ["--header", "A: b", "--header=C:d", "--cacerts", "a,b", "--cacerts", "c", "-o", "-d"],
        ["--locallimit", "20M", "--timeout", "1h", "--totallimit=1", "--clientqueue", "3"],
        [],
    ],
)
def test_what_is_parsed_without_argparse_is_the_same(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plainly = DFGET.parse(arguments)

    def never(*_: object) -> None:
        return None

    monkeypatch.setattr(Command, "_parsed", never)
    assert DFGET.parse(arguments) == plainly


def test_a_right_digest(origin: OriginServer, tmp_path: Path) -> None:
    flags = ("-p", "source", "--digest", f"sha256:{SHA256.upper()}")
    assert fetched(tmp_path, origin.url("/f"), *flags) == 0
    assert (tmp_path / "out" / "f").read_bytes() == DATA


def test_a_wrong_digest(
    origin: OriginServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = "0" * 64
    assert fetched(tmp_path, origin.url("/f"), "-p", "source", "--digest", f"sha256:{wrong}") == 80
    out, err = capsys.readouterr()
    assert_one_error_line(err, f"sha256 not match, expected:{wrong} real:{SHA256}")
    assert out.splitlines()[-1].startswith("download FAIL(1104)")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--digest", "0" * 64], "expected sha256: and 64 hex digits"),
        (["--digest", "md5:" + "0" * 32], "--md5 takes an MD5"),
        (["--cacerts", "/nowhere.pem"], "cannot read the certificates in /nowhere.pem"),
        (["--cacerts", str(CERTIFICATE)], "has a private key"),
        (["--cacerts", __file__], "holds no PEM certificates"),
        (["--cacerts", "a,,b"], "expected names separated by commas"),
        (["--clientqueue", "0"], "expected a whole number of at least 1"),
        (["--minrate", "64X"], "rate '64X'"),
        (["--compat-version", "1 0"], "version '1 0': expected for example 1.0.6"),
    ],
)
def test_values_that_make_no_sense(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-u", "http://h/f", *arguments]) == 1
    assert_one_error_line(capsys.readouterr().err, expected)


@pytest.fixture
def root_ca(tmp_path: Path) -> Path:
    """Give the file that an administrator would: the certificate without its key."""
    _, mark, certificate = CERTIFICATE.read_text().partition("-----BEGIN CERTIFICATE-----")
    path = tmp_path / "ca.pem"
    path.write_text(mark + certificate)
    return path


def test_named_certificates_are_trusted(
    root_ca: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with OriginServer(tls=True) as origin:
        origin.put("/f", DATA)
        url = origin.url("/f")
        assert fetched(tmp_path, url) == 80
        assert "certificate" in capsys.readouterr().err.lower()
        assert fetched(tmp_path, url, "-p", "source", "--cacerts", str(root_ca)) == 0
    assert (tmp_path / "out" / "f").read_bytes() == DATA


def test_a_supernode_trusts_the_named_certificates_too(root_ca: Path, tmp_path: Path) -> None:
    with OriginServer(tls=True) as origin, running_supernode(tmp_path / "sn") as node:
        origin.put("/f", DATA)
        flags = ("-n", node, "--alivetime", "1s", "--cacerts", str(root_ca), "--notbs")
        with started(tmp_path, origin.url("/f"), *flags) as dfget:
            out, err = dfget.communicate(timeout=PATIENCE_S)
    assert dfget.returncode == 0, f"{out}{err}"
    log = (tmp_path / "home" / "logs" / "dfclient.log").read_text()
    assert base64.b64encode(root_ca.read_bytes()).decode() not in log


def test_dfget_and_its_server_say_they_are_another_version(
    origin: OriginServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["version", "--compat-version", "1.0.6"]) == 0
    assert re.match(r"dfget version  1\.0\.6\n.*damselfly \d", capsys.readouterr().out)
    with running_supernode(tmp_path / "sn") as node:
        flags = ("-n", node, "--alivetime", "2s", "--compat-version", "1.0.6")
        with started(tmp_path, origin.url("/f"), *flags) as dfget:
            out, _ = dfget.communicate(timeout=PATIENCE_S)
        assert out.splitlines()[1] == "dfget version:1.0.6"
        port = int(
            (tmp_path / "home" / "meta" / "host.meta").read_text().split(":")[1].strip(' "}\n')
        )
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/check/x") as reply:
            assert reply.read() == b"x@1.0.6"
