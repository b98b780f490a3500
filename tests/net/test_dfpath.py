"""A dfget that the operator names: how it is called, and what its failures come to."""

from __future__ import annotations

import base64
import os
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from damselfly.engine.ids import NodeAddress
from damselfly.net.dfdaemon.content import ContentRequest, OriginAnswered, Unreachable, Unsuitable
from damselfly.net.dfdaemon.dfpath import DfgetContents, dfget_arguments
from damselfly.net.dfdaemon.settings import DaemonSettings
from damselfly.net.http import FileSlice

from ..origin_server import OriginServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

DATA = b"0123456789" * 1000


@pytest.fixture
def origin() -> Iterator[OriginServer]:
    with OriginServer() as server:
        server.put("/f", DATA)
        yield server


def daemon_settings(folder: Path, script: str = "") -> DaemonSettings:
    """Return settings with a shell script as dfget; ``$4`` is the file that it is to make."""
    dfget = folder / "dfget"
    dfget.write_text(f"#!/bin/sh\n{script}\n")
    dfget.chmod(0o755)
    return DaemonSettings(folder, folder / "repo", dfpath=dfget)


@asynccontextmanager
async def running(folder: Path, script: str) -> AsyncGenerator[DfgetContents]:
    contents = DfgetContents(daemon_settings(folder, script))
    async with trio.open_nursery() as nursery:
        await nursery.start(contents.run)
        yield contents
        nursery.cancel_scope.cancel()


def left(folder: Path) -> list[str]:
    return os.listdir(folder / "repo")


async def test_the_file_is_given_with_the_origins_headers(
    tmp_path: Path, origin: OriginServer
) -> None:
    script = 'printf 0123456789%.0s $(seq 1000) > "$4"'
    async with running(tmp_path, script) as contents:
        content = await contents.open(ContentRequest(origin.url("/f")))
        (part,) = [part async for part in content.read(5, 14)]
        assert isinstance(part, FileSlice)
        assert os.pread(part.fd, part.count, part.offset) == DATA[5:15]
        assert (content.length, content.source) == (len(DATA), "p2p")
        assert "etag" in [name.lower() for name, _ in content.headers]
        assert left(tmp_path) == []
        await content.aclose()
        await content.aclose()


@pytest.mark.parametrize(
    ("script", "digest", "says"),
    [
        ("exit 79", "", "dfget ended with 79"),
        ("true", "", "dfget: No such file"),
        ('echo short > "$4"', "", "dfget fetched 6 of 10000 bytes"),
        ('head -c 10000 /dev/zero > "$4"', "sha256:" + "0" * 64, "expected sha256:000"),
    ],
)
async def test_a_failure_is_for_the_origin_unless_the_rule_is_strict(
    script: str, digest: str, says: str, tmp_path: Path, origin: OriginServer
) -> None:
    async with running(tmp_path, script) as contents:
        with pytest.raises(Unsuitable, match=says):
            await contents.open(ContentRequest(origin.url("/f"), digest=digest))
        with pytest.raises(Unreachable, match=f"{says}.* and the rule is strict"):
            await contents.open(ContentRequest(origin.url("/f"), digest=digest, strict=True))
        assert left(tmp_path) == []


async def test_the_origin_is_asked_before_any_dfget_runs(
    tmp_path: Path, origin: OriginServer
) -> None:
    origin.put("/f", DATA, status=403)
    async with running(tmp_path, f"touch {tmp_path}/called") as contents:
        with pytest.raises(OriginAnswered) as refusal:
            await contents.open(ContentRequest(origin.url("/f")))
    assert refusal.value.status == 403
    assert not (tmp_path / "called").exists()


async def test_a_client_that_leaves_ends_its_dfget(tmp_path: Path, origin: OriginServer) -> None:
    os.mkfifo(tmp_path / "fifo")
    script = f'echo part > "$4"; echo $$ > {tmp_path}/fifo; exec sleep 60'
    async with running(tmp_path, script) as contents:
        pid = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(contents.open, ContentRequest(origin.url("/f")))
            pid = int(await trio.Path(tmp_path / "fifo").read_text())
            nursery.cancel_scope.cancel()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert left(tmp_path) == []


async def test_left_overs_of_a_crash_go(tmp_path: Path) -> None:
    settings = daemon_settings(tmp_path)
    settings.local_repo.mkdir()
    for name, age_s in (("old", 7200), ("new", 10)):
        (settings.local_repo / name).write_text("")
        then = time.time() - age_s
        os.utime(settings.local_repo / name, (then, then))
    async with trio.open_nursery() as nursery:
        contents = DfgetContents(settings)
        await nursery.start(contents.run)
        nursery.cancel_scope.cancel()
    assert left(tmp_path) == ["new"]


def test_the_command_line_of_1_0_6(tmp_path: Path) -> None:
    settings = DaemonSettings(
        tmp_path,
        tmp_path / "repo",
        supernodes=(NodeAddress("10.0.0.2"), NodeAddress("10.0.0.1", 9)),
        rate_bytes_per_s=1500 << 10,
        dfget_flags=("-f", "ns"),
    )
    headers = (("Accept", "a, b"), ("X-Empty", ""), ("Host", "h"), ("Accept-Encoding", "gzip"))
    pem = base64.b64encode(b"pem").decode()
    request = ContentRequest("http://h/f", headers, insecure=True, root_cas=(pem,))
    words = dfget_arguments(settings, request, tmp_path / "U", ["one", "two"], verbose=True)
    nodes = "10.0.0.2:8002,10.0.0.1:9,10.0.0.2:8002,10.0.0.1:9"
    assert words == [
        *("-u", "http://h/f", "-o", str(tmp_path / "U"), "-f", "ns", "--dfdaemon", "--verbose"),
        *("-s", "1500KB", "--totallimit", "1500KB", "--node", nodes),
        *("--header", "Accept:a, b", "--header", "X-Empty:", "--insecure", "--cacerts", "one,two"),
    ]
