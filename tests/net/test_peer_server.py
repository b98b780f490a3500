"""The peer server in this process: every answer of protocol 3.2, and what lies on disk."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
import trio

from damselfly.engine.ids import PieceIndex
from damselfly.engine.piece import DigestForm, PieceLayout
from damselfly.engine.uploads import UploadPolicy
from damselfly.engine.wire.frame import wrap
from damselfly.net.http import HttpPool, HttpRequest, HttpResponse, open_listeners, serve_http
from damselfly.net.peer_meta import HostMeta
from damselfly.net.peer_server import PeerServerConfig, PeerServerError, serve_peer
from damselfly.net.store import PieceStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

IP = "127.0.0.1"
PIECE_SIZE = 1024
CONTENT = bytes(i % 251 for i in range(10200))
LAYOUT = PieceLayout(len(CONTENT), PIECE_SIZE)


@pytest.fixture(autouse=True)
def paranoid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every engine checked after every call."""
    monkeypatch.setenv("DAMSELFLY_CHECK", "1")


class Peer:
    """A client of one peer server."""

    def __init__(self, home: Path, port: int, pool: HttpPool) -> None:
        self.home, self.port, self._pool = home, port, pool

    async def get(self, target: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
        status, _, body = await self._pool.call(
            IP, self.port, method, target, tuple(headers.items()), timeout_s=10.0, max_body=1 << 26
        )
        return status, body

    async def check_in(self, name: str, **headers: str) -> tuple[int, bytes]:
        return await self.get(f"/check/{name}", dataDir=str(self.home / "data"), **headers)

    async def piece(
        self, name: str, piece: int = 0, piece_size: int = PIECE_SIZE, **headers: str
    ) -> tuple[int, bytes]:
        first = piece * piece_size
        return await self.get(
            f"/peer/file/{name}",
            **{
                "Range": f"bytes={first}-{first + piece_size - 1}",
                "pieceNum": str(piece),
                "pieceSize": str(piece_size),
                **headers,
            },
        )

    async def stats(self) -> dict[str, int]:
        return json.loads((await self.get("/server/stats"))[1])


def settings(home: Path, port: int = 0, **policy: float) -> PeerServerConfig:
    known = UploadPolicy(str(home / "data"), "0.1.0", **policy)  # type: ignore[arg-type]
    return PeerServerConfig(IP, home / "meta" / "host.meta", known, port)


@asynccontextmanager
async def serving(home: Path, **policy: float) -> AsyncGenerator[Peer]:
    async with HttpPool() as pool, trio.open_nursery() as nursery:
        port = await nursery.start(serve_peer, settings(home, 0, **policy))
        yield Peer(home, port, pool)
        nursery.cancel_scope.cancel()


def store(
    home: Path, name: str, held: list[int] | None = None, length: int = len(CONTENT)
) -> PieceStore:
    """Return a store of ``CONTENT`` with all bytes on disk, and ``held`` (all) verified."""
    made = PieceStore.create(home / "data" / f"{name}.service", "key")
    made.lay_out(length, PIECE_SIZE, "", keep=False)
    made.write(0, memoryview(CONTENT))
    for index in range(LAYOUT.count) if held is None else held:
        piece = PieceIndex(index)
        made.keep(piece, LAYOUT.size(piece), made.digest(piece, LAYOUT.size(piece), DigestForm(1)))
    return made


def wrapped(index: int) -> bytes:
    piece = PieceIndex(index)
    offset = LAYOUT.offset(piece)
    return wrap(CONTENT[offset : offset + LAYOUT.size(piece)], PIECE_SIZE)


async def eventually(what: str, holds: Callable[[], object]) -> None:
    """Look for what another task or process does, for much longer than it should take."""
    for _ in range(2000):
        if holds():
            return
        await trio.sleep(0.01)
    raise AssertionError(f"still not so: {what}")


# --- pieces ---


async def test_every_piece_comes_wrapped(tmp_path: Path) -> None:
    store(tmp_path, "T1").close()
    async with serving(tmp_path) as peer:
        await peer.check_in("T1")
        for index in range(LAYOUT.count):
            assert await peer.piece("T1", index) == (206, wrapped(index))


async def test_a_wrapped_piece_has_the_digest_that_v1_expects(tmp_path: Path) -> None:
    size = 4 << 20
    content = bytes(9_000_000)
    path = tmp_path / "data" / "T1.service"
    made = PieceStore.create(path, "key")
    made.lay_out(len(content), size, "", keep=False)
    made.write(0, memoryview(content))
    layout = PieceLayout(len(content), size)
    for index in range(3):
        piece = PieceIndex(index)
        made.keep(piece, layout.size(piece), made.digest(piece, layout.size(piece), DigestForm(1)))
    made.close()
    async with serving(tmp_path) as peer:
        await peer.check_in("T1")
        _, full = await peer.piece("T1", 0, size)
        _, last = await peer.piece("T1", 2, size)
    assert full[:4].hex() == "043ffffb"
    assert len(full) == size
    assert (last[:4].hex(), len(last)) == ("0409544a", 611402 + 5)
    digest = hashlib.md5(bytes.fromhex("0409544a") + bytes(611402) + b"\x7f").hexdigest()
    assert hashlib.md5(last).hexdigest() == digest


async def test_only_verified_pieces_are_given_out(tmp_path: Path) -> None:
    with store(tmp_path, "T1", held=[0, 2]) as growing:
        async with serving(tmp_path) as peer:
            await peer.check_in("T1")
            assert (await peer.piece("T1", 0))[0] == 206
            assert await peer.piece("T1", 1) == (416, b"piece 1 is not here yet\n")
            piece = PieceIndex(1)
            growing.keep(piece, LAYOUT.size(piece), growing.digest(piece, 1019, DigestForm(1)))
            assert await peer.piece("T1", 1) == (206, wrapped(1))
            growing.drop(PieceIndex(0))
            assert (await peer.piece("T1", 0))[0] == 416


async def test_a_range_over_several_pieces_needs_all_of_them(tmp_path: Path) -> None:
    store(tmp_path, "T1", held=[0, 1, 3]).close()
    async with serving(tmp_path) as peer:
        await peer.check_in("T1")
        assert (await peer.piece("T1", Range="bytes=0-2042"))[0] == 206
        assert (await peer.piece("T1", Range="bytes=0-2043"))[0] == 416


async def test_a_file_of_unknown_length_is_served_as_far_as_it_is_verified(tmp_path: Path) -> None:
    store(tmp_path, "T1", held=[0, 1], length=-1).close()
    async with serving(tmp_path) as peer:
        await peer.check_in("T1")
        assert await peer.piece("T1", 1) == (206, wrapped(1))
        assert (await peer.piece("T1", 2))[0] == 416


async def test_before_its_layout_is_known_a_download_has_no_pieces(tmp_path: Path) -> None:
    with PieceStore.create(tmp_path / "data" / "T1.service", "key"):
        async with serving(tmp_path) as peer:
            await peer.check_in("T1")
            status, text = await peer.piece("T1", 0)
            assert (status, text) == (416, b"no piece of this download is here yet\n")


async def test_a_file_cut_by_somebody_else_is_not_served(tmp_path: Path) -> None:
    store(tmp_path, "T1").close()
    os.truncate(tmp_path / "data" / "T1.service", 5000)
    async with serving(tmp_path) as peer:
        await peer.check_in("T1")
        assert (await peer.piece("T1", 9))[0] == 416
        assert (await peer.piece("T1", 0))[0] == 206


async def test_a_file_of_a_v1_dfget_has_no_log_and_is_served_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "T1.service").write_bytes(CONTENT)
    (tmp_path / "data" / "T0.service").write_bytes(b"")
    async with serving(tmp_path) as peer:
        await peer.check_in("T1")
        await peer.check_in("T0")
        assert await peer.piece("T1", 10) == (206, wrapped(10))
        assert await peer.piece("T0") == (206, bytes.fromhex("000040007f"))


async def test_the_source_pattern_gets_plain_bytes(tmp_path: Path) -> None:
    store(tmp_path, "T1").close()
    async with serving(tmp_path) as peer:
        await peer.check_in("T1")
        assert await peer.piece("T1", cdnSource="source") == (206, CONTENT[:1024])
        answer = await peer.piece("T1", Range="bytes=10000-11023", cdnSource="source")
        assert answer == (206, CONTENT[10000:])
        answer = await peer.piece("T1", Range="bytes=10240-11263", cdnSource="source")
        assert answer == (416, b"range not satisfiable\n")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Range": "bytes=0-4194303"}, 206),
        ({"Range": "bytes=0-4"}, 206),
        ({"Range": "items=0-100"}, 206),
        ({"Range": "bytes=0-3"}, 416),
        ({"Range": "bytes=12000-13000"}, 416),
        ({"pieceNum": "11"}, 416),
        ({"Range": "bytes=0-1023", "pieceNum": "3"}, 416),
        ({"Range": "bytes=5-5"}, 400),
        ({"Range": "bytes=0-"}, 400),
        ({"Range": ""}, 400),
        ({"pieceNum": ""}, 400),
        ({"pieceSize": "x"}, 400),
    ],
)
async def test_ranges(tmp_path: Path, headers: dict[str, str], status: int) -> None:
    store(tmp_path, "T1").close()
    async with serving(tmp_path) as peer:
        await peer.check_in("T1")
        asked = {"Range": "bytes=0-1023", "pieceNum": "0", "pieceSize": "1024", **headers}
        assert (await peer.get("/peer/file/T1", **asked))[0] == status
        assert (await peer.piece("T1"))[0] == 206  # and it serves on


async def test_a_missing_file_is_404_and_a_name_never_seen_500(tmp_path: Path) -> None:
    async with serving(tmp_path) as peer:
        await peer.check_in("TX")
        path = tmp_path / "data" / "TX.service"
        missing = f"stat {path}: no such file or directory\n".encode()
        assert await peer.piece("TX") == (404, missing)
        assert await peer.piece("nope") == (500, b"failed to get taskPath: nope\n")


async def test_what_is_no_plain_file_is_not_served(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link.service").symlink_to("/etc/passwd")
    (tmp_path / "data" / "directory.service").mkdir()
    os.mkfifo(tmp_path / "data" / "fifo.service")
    async with serving(tmp_path) as peer:
        for name in ("link", "directory", "fifo"):
            await peer.check_in(name)
            status, text = await peer.piece(name)
            assert (status, b"root:" in text) == (403, False)


async def test_a_name_cannot_leave_the_data_directory(tmp_path: Path) -> None:
    (tmp_path / "secret.service").write_bytes(CONTENT)
    async with serving(tmp_path) as peer:
        for name in ("../secret", "..%2fsecret", "%2e%2e%2fsecret", f"{tmp_path}/secret"):
            assert (await peer.check_in(name))[0] == 400
            assert (await peer.piece(name))[0] == 500
        assert (await peer.get("/check/secret", dataDir=str(tmp_path)))[0] == 400
        assert (await peer.get("/check/%ff"))[0] == 400


async def test_odd_names_are_decoded(tmp_path: Path) -> None:
    store(tmp_path, "a b%…-1-2.000").close()
    name = "a%20b%25%E2%80%A6-1-2.000"
    async with serving(tmp_path) as peer:
        assert await peer.check_in(name) == (200, "a b%…-1-2.000@0.1.0".encode())
        assert await peer.piece(name) == (206, wrapped(0))


# --- the other endpoints, and HTTP ---


async def test_endpoints_answer_as_v1_does(tmp_path: Path) -> None:
    async with serving(tmp_path) as peer:
        assert await peer.get("/server/ping") == (200, b"success")
        assert await peer.get("/nosuch") == (404, b"404 page not found\n")
        assert await peer.get("/server/ping", "POST") == (405, b"")
        assert await peer.get("/peer/file/T1", "POST") == (405, b"")
        assert await peer.check_in("T1", totalLimit="0") == (200, b"T1@0.1.0")
        assert await peer.get("/check/TY", totalLimit="abc") == (200, b"TY@0.1.0")
        assert await peer.get("/check/") == (200, b"@0.1.0")
        assert await peer.get("/rate/T1", rateLimit="1000") == (200, b"1000")
        assert (await peer.get("/rate/T1"))[0] == 400
        assert await peer.check_in("T1", totalLimit="3000") == (200, b"T1@0.1.0")
        assert await peer.get("/rate/T1", rateLimit="2000") == (200, b"2000")
        assert await peer.get("/rate/TY", rateLimit="2000") == (200, b"1500")
        finish = "/client/finish?taskFileName=T1&taskID=abc&cid=c1"
        assert await peer.get(f"{finish}&superNode=127.0.0.1") == (200, b"success")
        assert await peer.get(finish) == (200, b"success")
        assert await peer.get("/client/finish") == (400, b"invalid params")
        assert (await peer.get("/client/finish?" + "&".join("x=1" for _ in range(99))))[0] == 400
        assert await peer.get("/rate/TY", rateLimit="2000") == (200, b"2000")


async def test_content_types(tmp_path: Path) -> None:
    async with serving(tmp_path) as peer, HttpPool() as pool:
        for target, expected in (
            ("/server/ping", "application/octet-stream"),
            ("/nosuch", "text/plain; charset=utf-8"),
            ("/peer/file/x", "text/plain; charset=utf-8"),
            ("/server/stats", "application/json"),
        ):
            _, headers, _ = await pool.call(IP, peer.port, "GET", target, timeout_s=10.0)
            assert dict(headers)["content-type"] == expected


async def test_uploads_are_counted(tmp_path: Path) -> None:
    store(tmp_path, "T1", held=[0]).close()
    async with serving(tmp_path) as peer:
        await peer.check_in("T1")
        await peer.piece("T1", 0)
        await peer.piece("T1", 1)
        assert await peer.stats() == {
            "uploads": 1,
            "bytes": 1024,
            "active": 0,
            "downloads": {"T1": 1024},
        }


async def test_a_host_waits_in_line_until_one_of_its_pieces_is_through(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with (tmp_path / "data" / "T1.service").open("wb") as file:
        file.truncate(64 << 20)
    async with serving(tmp_path, host_slots=1, line_s=60.0) as peer, trio.open_nursery() as nursery:
        await peer.check_in("T1")
        stream = await trio.open_tcp_stream(IP, peer.port)
        await stream.send_all(
            b"GET /peer/file/T1 HTTP/1.1\r\nHost: x\r\nRange: bytes=0-67108863\r\n"
            b"pieceNum: 0\r\npieceSize: 4194304\r\n\r\n"
        )
        assert await stream.receive_some(12) == b"HTTP/1.1 206"
        with trio.move_on_after(0.1) as patience:
            await peer.piece("T1")
        assert patience.cancelled_caught
        statuses: list[int] = []

        async def ask() -> None:
            statuses.append((await peer.piece("T1"))[0])

        nursery.start_soon(ask)
        await stream.aclose()
    assert statuses == [206]


async def test_a_client_that_leaves_gives_its_slot_back(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with (tmp_path / "data" / "T1.service").open("wb") as file:
        file.truncate(64 << 20)
    async with serving(tmp_path, up_slots=1) as peer:
        await peer.check_in("T1")
        stream = await trio.open_tcp_stream(IP, peer.port)
        await stream.send_all(
            b"GET /peer/file/T1 HTTP/1.1\r\nHost: x\r\nRange: bytes=0-67108863\r\n"
            b"pieceNum: 0\r\npieceSize: 4194304\r\n\r\n"
        )
        assert await stream.receive_some(12) == b"HTTP/1.1 206"
        assert (await peer.piece("T1"))[0] == 503
        await stream.aclose()
        statuses = [503]
        while statuses[-1] == 503:
            statuses.append((await peer.piece("T1"))[0])
        assert statuses[-1] == 206
        assert (await peer.stats())["active"] == 0


async def test_clients_that_vanish_cost_neither_slots_nor_files(tmp_path: Path) -> None:
    store(tmp_path, "T1").close()
    request = (
        b"GET /peer/file/T1 HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1023\r\n"
        b"pieceNum: 0\r\npieceSize: 1024\r\n\r\n"
    )
    reset = struct.pack("ii", 1, 0)
    async with serving(tmp_path) as peer:
        await peer.check_in("T1")
        before = len(os.listdir("/proc/self/fd"))
        for number in range(100):
            stream = await trio.open_tcp_stream(IP, peer.port)
            await stream.send_all(request * (1 + number % 3))
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            for _ in range(number % 5):
                await trio.lowlevel.checkpoint()
            stream.socket.close()
        await eventually("files closed", lambda: len(os.listdir("/proc/self/fd")) <= before)
        assert (await peer.stats())["active"] == 0
        assert await peer.piece("T1") == (206, wrapped(0))


async def test_a_total_limit_holds_for_all_uploads_together(tmp_path: Path) -> None:
    size = 1 << 20
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "T1.service").write_bytes(bytes(size))
    async with serving(tmp_path) as peer:
        await peer.check_in("T1", totalLimit=str(4 * size))
        began = time.monotonic()
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(peer.piece, "T1", 0, size)
        burst = 256 << 10
        assert time.monotonic() - began >= (2 * size - 2 * burst) / (4 * size)


# --- life and death ---


@asynccontextmanager
async def supernode() -> AsyncGenerator[tuple[int, list[str]]]:
    """Write down what a supernode is told."""
    told: list[str] = []

    async def handle(request: HttpRequest) -> HttpResponse:
        await trio.lowlevel.checkpoint()
        told.append(request.target)
        return HttpResponse(200, (b'{"code":612}',))

    async with trio.open_nursery() as nursery:
        listeners = await open_listeners(IP, 0)
        await nursery.start(serve_http, handle, listeners)
        yield listeners[0].socket.getsockname()[1], told
        nursery.cancel_scope.cancel()


async def test_a_finished_download_expires_and_its_supernode_is_told(tmp_path: Path) -> None:
    store(tmp_path, "T1").close()
    data = tmp_path / "data"
    (data / "notes.txt").write_text("not ours")
    (data / "sub.service").mkdir()
    with store(tmp_path, "busy"):
        async with (
            supernode() as (port, told),
            serving(tmp_path, survey_s=0.05, expire_s=0) as peer,
        ):
            await peer.check_in("T1")
            await peer.check_in("busy")
            await peer.get(
                f"/client/finish?taskFileName=T1&taskID=abc&cid=c1&superNode={IP}:{port}"
            )
            await eventually("T1 is deleted", lambda: not list(data.glob("T1*")))
            await eventually("the supernode is told", lambda: told)
            assert told == ["/peer/service/down?taskId=abc&cid=c1"]
            assert (await peer.piece("T1"))[0] == 500
            assert (await peer.piece("busy"))[0] == 206
    assert sorted(os.listdir(data)) == [
        "busy.service",
        "busy.service.pieces",
        "notes.txt",
        "sub.service",
    ]


async def test_what_a_v1_dfget_left_goes_with_its_download(tmp_path: Path) -> None:
    data, name = tmp_path / "data", "f-12-1795450898.031"
    data.mkdir()
    for left in (name, f"{name}.service", "busy.service", "notes.txt"):
        (data / left).write_bytes(CONTENT)
    async with serving(tmp_path, survey_s=0.05, expire_s=0) as peer:
        for finished in (name, "busy.service", "notes.txt"):
            await peer.get(f"/client/finish?taskFileName={finished}&taskID=abc&cid=c1&superNode=")
        await eventually("all are forgotten", lambda: not list(data.glob("f-*")))
    assert sorted(os.listdir(data)) == ["busy.service", "notes.txt"]


async def test_a_supernode_that_is_gone_keeps_nothing_from_expiring(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store(tmp_path, "T1").close()
    async with serving(tmp_path, survey_s=0.05, expire_s=0) as peer:
        query = f"taskFileName=T1&taskID=abc&cid=c1&superNode={IP}:1"
        await peer.get(f"/client/finish?{query}")
        await eventually("T1 is deleted", lambda: not os.listdir(tmp_path / "data"))
        await eventually("said so", lambda: "failed to send service down" in caplog.text)


async def test_leftovers_of_earlier_servers_go_in_their_time(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("partial", "delivered", "linked"):
        with store(tmp_path, name) as made:
            if name == "delivered":
                made.finish(len(CONTENT))
    (tmp_path / "target").hardlink_to(data / "linked.service")
    (data / "log-only.service.pieces").write_bytes(b"junk")
    for file in data.iterdir():
        os.utime(file, (0, time.time() - 100))
    busy = store(tmp_path, "busy")
    os.utime(data / "busy.service", (0, 0))
    os.utime(data / "busy.service.pieces", (0, 0))
    with busy:
        async with serving(tmp_path, survey_s=0.05, expire_s=50, partial_keep_s=1000):
            await eventually("deleted", lambda: len(os.listdir(data)) == 5)
    assert sorted(os.listdir(data)) == [
        "busy.service",
        "busy.service.pieces",
        "log-only.service.pieces",
        "partial.service",
        "partial.service.pieces",
    ]
    assert (tmp_path / "target").read_bytes() == CONTENT
    async with serving(tmp_path, survey_s=0.05, expire_s=50, partial_keep_s=60):
        await eventually("deleted", lambda: not os.listdir(data))


async def test_a_server_that_nobody_needs_ends(tmp_path: Path) -> None:
    meta = HostMeta(tmp_path / "meta" / "host.meta")
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve_peer, settings(tmp_path, alive_s=0.05))
            assert meta.read_port() == port
    assert (tmp_path / "meta" / "host.meta").read_text() == '{"servicePort":0}'


async def test_uploads_end_before_the_server_does(tmp_path: Path) -> None:
    store(tmp_path, "T1").close()
    size = len(CONTENT)
    async with HttpPool() as pool, trio.open_nursery() as nursery:
        port = await nursery.start(serve_peer, settings(tmp_path))
        peer = Peer(tmp_path, port, pool)
        await peer.check_in("T1", totalLimit="50000")
        await peer.get("/client/finish?taskFileName=T1&taskID=abc&cid=c1")
        for _ in range(26):  # spend the burst, so that the next one takes its time
            await peer.piece("T1", 0, 15 << 20)
        nursery.start_soon(signal_when_active, peer)
        status, body = await peer.piece("T1", 0, 15 << 20)
    assert (status, len(body)) == (206, size + 5)
    assert os.listdir(tmp_path / "data") == []


async def signal_when_active(peer: Peer) -> None:
    while (await peer.stats())["active"] == 0:
        await trio.lowlevel.checkpoint()
    os.kill(os.getpid(), 15)


# --- ports ---


async def test_a_port_given_is_tried_once(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((IP, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PeerServerError, match=f"cannot listen on {IP}:{port}"):
            await serve_peer(settings(tmp_path, port))
    assert HostMeta(tmp_path / "meta" / "host.meta").read_port() == 0
    async with trio.open_nursery() as nursery:
        assert await nursery.start(serve_peer, settings(tmp_path, port)) == port
        nursery.cancel_scope.cancel()


async def test_a_port_of_v1s_choice_that_is_in_use_is_passed_over(tmp_path: Path) -> None:
    first = 15000 + int(time.time()) // 300 % 50000
    held: list[trio.SocketListener] = []
    for port in (first, first + 1):
        with suppress(OSError):  # in use already, which serves as well
            held += await open_listeners(IP, port)
    async with serving(tmp_path) as peer:
        assert first + 1 < peer.port < 65000
        async with serving(tmp_path / "other home") as other:
            assert peer.port != other.port
    for listener in held:
        await listener.aclose()


async def test_one_home_has_one_server_for_an_address(tmp_path: Path) -> None:
    async with serving(tmp_path) as peer, trio.open_nursery() as nursery:
        assert await nursery.start(serve_peer, settings(tmp_path)) == peer.port
        HostMeta(tmp_path / "meta" / "host.meta").write_port(1)
        with pytest.raises(PeerServerError, match="does not answer on port 1"):
            await serve_peer(settings(tmp_path))


@pytest.mark.parametrize("ip", ["", "192.0.2.1"])
async def test_an_address_that_is_not_ours_is_refused(tmp_path: Path, ip: str) -> None:
    policy = UploadPolicy(str(tmp_path / "data"), "0.1.0")
    with pytest.raises(PeerServerError):
        await serve_peer(PeerServerConfig(ip, tmp_path / "meta" / "host.meta", policy))
