"""The whole daemon in this process: real origins, a real supernode, clients that speak bytes."""

from __future__ import annotations

import gzip
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from damselfly.engine.ids import NodeAddress
from damselfly.net.dfdaemon.contents import Contents
from damselfly.net.dfdaemon.front import serve_daemon
from damselfly.net.dfdaemon.settings import (
    AuthCheck,
    DaemonSettings,
    Hijack,
    HijackHost,
    Mirror,
    ProxyRule,
)

from ..origin_server import OriginServer
from .content_support import BLOB, DATA
from .dfdaemon_support import Daemon, Pem, Requests, intercepted, trusting
from .http_support import RawClient
from .swarm_support import running_supernode

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

TOKEN = "Bearer opensesame"


@pytest.fixture
def origin() -> Iterator[OriginServer]:
    with OriginServer() as server:
        server.put(BLOB, DATA)
        yield server


@asynccontextmanager
async def joined(folder: Path, remote: str, **changes: Any) -> AsyncGenerator[Daemon]:
    """Run a supernode, and a daemon with a mirror of ``remote``."""
    changes = {"registry_mirror": Mirror(remote)} | changes
    async with running_supernode(folder / "sn", folder / "trace") as node:
        nodes = (NodeAddress(node.host, node.port),)
        settings = DaemonSettings(folder, folder / "repo", port=0, supernodes=nodes, **changes)
        contents, served = Contents(settings), Requests()
        async with trio.open_nursery() as nursery:
            await nursery.start(contents.run)
            _, port = await nursery.start(serve_daemon, settings, contents, served)
            yield Daemon(port, served)
            nursery.cancel_scope.cancel()


async def test_ten_clients_of_one_cold_blob_and_one_that_leaves(
    tmp_path: Path, origin: OriginServer
) -> None:
    bodies: list[bytes] = []

    async def take(server: Daemon) -> None:
        bodies.append((await server.ask(BLOB))[2])

    async def leave(server: Daemon) -> None:
        async with await RawClient.connect(server.port) as client:
            await client.send(f"GET {BLOB} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await client.stream.receive_some()

    async with joined(tmp_path, origin.url("")) as server:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave, server)
            for _ in range(10):
                nursery.start_soon(take, server)
        assert all(body == DATA for body in bodies)
        assert len(bodies) == 10
        assert origin.bytes_sent(BLOB) == len(DATA)
        assert {served.source for served in server.served} <= {"p2p", "cache"}
        status, head, body = await server.ask(BLOB)
        assert (status, body) == (200, DATA)
        assert b"x-dragonfly-source: cache\r\n" in head
        assert b"etag: " in head


async def test_ranges_of_a_cold_blob_in_parallel_with_early_close(
    tmp_path: Path, origin: OriginServer
) -> None:
    got: dict[int, bytes] = {}

    async def take(server: Daemon, first: int) -> None:
        async with await RawClient.connect(server.port) as client:
            await client.send(
                f"GET {BLOB} HTTP/1.1\r\nHost: x\r\nRange: bytes={first}-\r\n\r\n".encode()
            )
            data = b""
            while len(data.partition(b"\r\n\r\n")[2]) < 100_000:
                data += await client.stream.receive_some()
            got[first] = data.partition(b"\r\n\r\n")[2][:100_000]

    async with joined(tmp_path, origin.url("")) as server:
        async with trio.open_nursery() as nursery:
            for first in range(0, 4_000_000, 1_000_000):
                nursery.start_soon(take, server, first)
        assert got == {first: DATA[first : first + 100_000] for first in got}
        assert len(got) == 4
        status, _, body = await server.ask(BLOB, "Range: bytes=-1000")
        assert (status, body) == (206, DATA[-1000:])
        status, _, body = await server.ask(BLOB, "Range: bytes=0-9,2000000-2000009")
        assert status == 206
        assert DATA[2_000_000:2_000_010] in body
        assert origin.bytes_sent(BLOB) == len(DATA)


async def test_the_first_byte_comes_while_the_origin_stalls(
    tmp_path: Path, origin: OriginServer
) -> None:
    origin.put(BLOB, DATA, stall_at=len(DATA) - 10)
    async with (
        joined(tmp_path, origin.url("")) as server,
        await RawClient.connect(server.port) as client,
    ):
        request = f"GET {BLOB} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        await client.send(request.encode())
        got = b""
        with trio.fail_after(5):
            while b"\r\n\r\n" + DATA[:1000] not in got:
                got += await client.stream.receive_some()
        origin.release()
        assert (got + await client.rest()).endswith(DATA)


@pytest.mark.parametrize("mode", list(AuthCheck))
async def test_a_private_blob_that_is_here_is_not_for_strangers(
    tmp_path: Path, origin: OriginServer, mode: AuthCheck
) -> None:
    origin.put(BLOB, DATA, authorization=TOKEN)
    async with joined(tmp_path, origin.url(""), auth_check=mode) as server:
        assert (await server.ask(BLOB, f"Authorization: {TOKEN}"))[::2] == (200, DATA)
        status, head, body = await server.ask(BLOB)
        if mode is AuthCheck.OFF:
            assert (status, body) == (200, DATA)
        else:
            assert status == 401
            assert b"www-authenticate: bearer realm=" in head


async def test_encoded_content_reaches_the_client_as_it_is(
    tmp_path: Path, origin: OriginServer
) -> None:
    origin.put("/f.gz", DATA, gzip=True)
    rules = (ProxyRule(r"\.gz$"),)
    async with joined(tmp_path, origin.url(""), proxies=rules) as server:
        _, head, body = await server.ask(origin.url("/f.gz"), "Accept-Encoding: gzip;q=0.5")
        assert gzip.decompress(body) == DATA
        assert b"content-encoding: gzip\r\n" in head
        assert origin.requests("/f.gz")[-1].headers["accept-encoding"] == "gzip;q=0.5"


@pytest.mark.parametrize("status", [401, 403, 404, 500])
async def test_the_origin_s_own_status_comes_at_once(
    tmp_path: Path, origin: OriginServer, status: int
) -> None:
    origin.put(BLOB, b"", status=status)
    async with joined(tmp_path, origin.url("")) as server:
        assert (await server.ask(BLOB))[0] == status
        assert len(origin.requests(BLOB)) <= 2


async def test_an_intercepted_blob_comes_through_the_swarm(tmp_path: Path) -> None:
    ca = Pem.make(tmp_path, "ca", ca=True)
    hijack = Hijack(ca.cert, ca.key, (HijackHost(r"^127\.0\.0\.1:", insecure=True),))
    with OriginServer(tls=True) as origin:
        origin.put(BLOB, DATA)
        mirror = Mirror(origin.url(""), insecure=True)
        target = f"127.0.0.1:{origin.port}"
        async with (
            joined(tmp_path, origin.url(""), registry_mirror=mirror, hijack_https=hijack) as server,
            intercepted(server.port, target, trusting(ca)) as client,
        ):
            status, head, body = await client.ask(BLOB, target)
            assert (status, body) == (200, DATA)
            assert b"x-dragonfly-source: p2p\r\n" in head
            assert (await client.ask(BLOB, target, "Range: bytes=5-9"))[2] == DATA[5:10]
            assert (await server.ask(BLOB))[2] == DATA
            assert origin.bytes_sent(BLOB) == len(DATA)
