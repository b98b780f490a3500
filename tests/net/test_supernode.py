"""A real supernode over real sockets: downloads, garbage, restarts, traces."""

from __future__ import annotations

import hashlib
import json
import random
from random import Random
from typing import TYPE_CHECKING

import pytest
import trio

from damselfly.engine.config import SupernodeConfig
from damselfly.engine.outcomes import FailCode, Milestone
from damselfly.engine.supernode import SupernodeEngine
from damselfly.engine.trace import read_trace, replay
from damselfly.net.http import HttpPool
from damselfly.net.origin import OriginReader
from damselfly.net.origin_clients import OriginClients
from damselfly.net.supernode import SupernodeAddress, outward_ip

from ..origin_server import OriginServer
from .rest_support import calling, registration
from .swarm_support import Notes, get, request, running_supernode, stats_of

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

DATA = random.Random(1).randbytes(5_000_000)


async def test_one_origin_read_feeds_all(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with running_supernode(tmp_path / "sn") as node, trio.open_nursery() as nursery:
            for number in range(4):
                wanted = request(tmp_path, origin.url("/f"), str(number), node)
                nursery.start_soon(get, wanted)
            # a fifth, whose outcome is looked at
            outcome = await get(request(tmp_path, origin.url("/f"), "last", node))
        assert outcome.code is FailCode.SUCCESS
        assert outcome.progress.from_supernode == len(DATA)
        assert origin.bytes_sent("/f") == len(DATA)
    for name in ("0", "1", "2", "3", "last"):
        assert (tmp_path / f"{name}.out").read_bytes() == DATA


@pytest.mark.parametrize("size", [0, 1, 1048571, 1048572, 3 * 1048571])
async def test_sizes_at_the_edges(tmp_path: Path, size: int) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA[:size])
        async with running_supernode(tmp_path / "sn") as node:
            outcome = await get(request(tmp_path, origin.url("/f"), "a", node))
    assert (outcome.code, outcome.length) == (FailCode.SUCCESS, size)
    assert (tmp_path / "a.out").read_bytes() == DATA[:size]


@pytest.mark.parametrize(("hosts", "piece_size"), [(2, 3 << 20), (17, 1 << 20)])
async def test_many_hosts_get_smaller_pieces(tmp_path: Path, hosts: int, piece_size: int) -> None:
    may_answer, found = trio.Event(), list[int]()

    async def origin(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some(65536)
            await may_answer.wait()
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 209715200\r\n\r\n")
            await trio.sleep_forever()

    async def register(number: int) -> None:
        wanted = registration(url, f"peer-{number}", ip=f"10.0.0.{number}")
        found.append((await call("POST", "/peer/registry", wanted)).json["data"]["pieceSize"])

    with trio.fail_after(20):
        async with calling(tmp_path / "sn") as call, trio.open_nursery() as origins:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            origins.start_soon(trio.serve_listeners, origin, listeners)
            url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/f"
            async with trio.open_nursery() as peers:
                for number in range(hosts):
                    peers.start_soon(register, number)
                looks = 1
                while (await stats_of(call.node))["requests"] < hosts + looks:
                    looks += 1
                may_answer.set()
            origins.cancel_scope.cancel()
    assert found == [piece_size] * hosts


async def test_an_origin_that_does_not_tell_the_length(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA, chunked=True)
        async with running_supernode(tmp_path / "sn") as node:
            outcome = await get(request(tmp_path, origin.url("/f"), "a", node))
    assert outcome.code is FailCode.SUCCESS
    assert outcome.progress.from_supernode == len(DATA)
    assert (tmp_path / "a.out").read_bytes() == DATA


async def test_a_recorded_run_replays_with_equal_effects(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        origin.put("/bad", DATA, status=404)
        async with running_supernode(tmp_path / "sn", tmp_path / "rec") as node:
            secret = ("Authorization: Bearer opensesame",)
            await get(request(tmp_path, origin.url("/f"), "a", node, headers=secret))
            await get(request(tmp_path, origin.url("/f"), "b", node))
            await get(request(tmp_path, origin.url("/bad"), "c", node))
    (trace,) = (tmp_path / "rec").iterdir()
    content = trace.read_bytes()
    assert b"opensesame" not in content
    header, records = read_trace([content])
    assert header["engine"] == "supernode"
    config, seed = header["config"], header["seed"]
    assert isinstance(config, SupernodeConfig)
    assert isinstance(seed, int)
    engine = SupernodeEngine(config, Random(seed))
    assert replay(engine, records) > 20  # pyright: ignore[reportArgumentType]


async def test_a_restarted_supernode_uses_its_cache(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with running_supernode(tmp_path / "sn") as node:
            await get(request(tmp_path, origin.url("/f"), "a", node))
        first = origin.bytes_sent("/f")
        async with running_supernode(tmp_path / "sn") as node:
            outcome = await get(request(tmp_path, origin.url("/f"), "b", node))
            assert (await stats_of(node))["origin_bytes"] == 0
        assert outcome.code is FailCode.SUCCESS
        assert origin.bytes_sent("/f") == first, "its word that nothing has changed was enough"
    assert (tmp_path / "b.out").read_bytes() == DATA


async def test_a_cache_of_other_content_is_not_used(tmp_path: Path) -> None:
    fresh = DATA[::-1]
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with running_supernode(tmp_path / "sn") as node:
            await get(request(tmp_path, origin.url("/f"), "a", node))
        origin.put("/f", fresh)
        async with running_supernode(tmp_path / "sn") as node:
            await get(request(tmp_path, origin.url("/f"), "b", node))
    assert (tmp_path / "b.out").read_bytes() == fresh


async def test_a_damaged_cache_is_not_given_out(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with running_supernode(tmp_path / "sn") as node:
            outcome = await get(request(tmp_path, origin.url("/f"), "a", node))
        copy = tmp_path / "sn" / "repo" / "download" / outcome.task[:3] / outcome.task
        damaged = bytearray(copy.read_bytes())
        damaged[2_000_000] ^= 1
        copy.write_bytes(damaged)
        async with running_supernode(tmp_path / "sn") as node:
            await get(request(tmp_path, origin.url("/f"), "b", node))
    assert (tmp_path / "b.out").read_bytes() == DATA


async def test_the_supernode_dies_midway_and_the_origin_gives_the_rest(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        died_with: list[int] = []
        async with trio.open_nursery() as nursery:
            async with running_supernode(tmp_path / "sn") as node:
                dying = trio.Event()

                def held(count: int) -> None:
                    if count >= 2_000_000 and not dying.is_set():
                        died_with.append(count)
                        dying.set()

                notes = Notes(when_held=held)
                wanted = request(
                    tmp_path, origin.url("/f"), "a", node, local_limit_bytes_per_s=4_000_000
                )
                finished: list[object] = []

                async def run() -> None:
                    finished.append(await get(wanted, notes))

                nursery.start_soon(run)
                await dying.wait()
            from_supernode = origin.bytes_sent("/f")
        assert from_supernode == len(DATA)
        assert "127.0.0.1" in notes.text_of(Milestone.BACK_TO_SOURCE)
        again = origin.bytes_sent("/f") - from_supernode
        assert 0 < again <= len(DATA) - died_with[0]
    assert (tmp_path / "a.out").read_bytes() == DATA


async def test_the_supernode_dies_and_the_source_is_forbidden(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with running_supernode(tmp_path / "sn") as node:
            pass
        outcome = await get(request(tmp_path, origin.url("/f"), "a", node, back_to_source=False))
        assert origin.bytes_sent("/f") == 0
    assert outcome.code is FailCode.DOWNLOAD_FAILED
    assert outcome.reason == 1001
    assert "forbidden" in outcome.message
    assert not (tmp_path / "a.out").exists()


async def test_missing_files_are_an_error_and_no_file(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA, status=404)
        async with running_supernode(tmp_path / "sn") as node:
            outcome = await get(request(tmp_path, origin.url("/f"), "a", node))
    assert outcome.code is FailCode.DOWNLOAD_FAILED
    assert "404" in outcome.message
    assert not (tmp_path / "a.out").exists()


async def test_a_wrong_md5_leaves_no_file(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with running_supernode(tmp_path / "sn") as node:
            outcome = await get(request(tmp_path, origin.url("/f"), "a", node, md5="0" * 32))
    assert outcome.code is FailCode.DOWNLOAD_FAILED
    assert "0" * 32 in outcome.message
    assert not (tmp_path / "a.out").exists()
    assert list((tmp_path / "a.home" / "data").iterdir()) == [], "the next run starts afresh"


async def test_a_long_name(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with running_supernode(tmp_path / "sn") as node:
            target = tmp_path / ("ü" * 120)
            outcome = await get(request(tmp_path, origin.url("/f"), "a", node, target=target))
    assert outcome.code is FailCode.SUCCESS
    assert target.read_bytes() == DATA


async def call(node: SupernodeAddress, method: str, target: str, body: bytes = b"", kind: str = ""):
    headers = (("Content-Type", kind),) if kind else ()
    async with HttpPool() as pool:
        status, _, answer = await pool.call(
            node.host, node.port, method, target, headers, body, timeout_s=5
        )
    return status, answer


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "application/json"),
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b'{"rawUrl": 5}', "application/json"),
        (b'{"rawUrl": "ftp://x/y"}', "application/json"),
        (b"\xff\xfe", "application/json"),
        (b"a=b&c", "application/x-www-form-urlencoded"),
    ],
)
async def test_bad_registrations_get_an_envelope(tmp_path: Path, body: bytes, kind: str) -> None:
    async with running_supernode(tmp_path) as node:
        status, answer = await call(node, "POST", "/peer/registry", body, kind)
        assert status == 200
        assert json.loads(answer)["code"] == 501
        assert await call(node, "GET", "/_ping") == (200, b"OK")


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/nothing", 404),
        ("DELETE", "/peer/task", 405),
        ("POST", "/peer/task", 405),
        ("GET", "/peer/registry", 405),
    ],
)
async def test_wrong_paths_and_methods(
    tmp_path: Path, method: str, target: str, status: int
) -> None:
    async with running_supernode(tmp_path) as node:
        assert (await call(node, method, target))[0] == status


async def test_an_oversized_registration_is_refused(tmp_path: Path) -> None:
    async with running_supernode(tmp_path) as node:
        status, _ = await call(node, "POST", "/peer/registry", b" " * (2 << 20))
        assert status == 413
        assert (await call(node, "GET", "/_ping"))[0] == 200


async def test_strangers_pull_in_vain(tmp_path: Path) -> None:
    async with running_supernode(tmp_path) as node:
        query = "srcCid=x&dstCid=&range=&result=502&status=700&taskId=" + "0" * 64
        status, answer = await call(node, "GET", f"/peer/task?{query}")
        assert (status, json.loads(answer)["code"]) == (200, 502)


async def test_a_v1_client_behind_ours_gets_the_md5_of_the_content(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with calling(tmp_path / "sn") as v1:
            await get(request(tmp_path, origin.url("/f"), "ours", v1.node))
            cid = "127.0.0.1-1-1.000"
            body = registration(origin.url("/f"), cid)
            task = (await v1("POST", "/peer/registry", body)).json["data"]["taskId"]
            pull = f"/peer/task?srcCid={cid}&taskId={task}&dstCid=&range=&result=502&status=700"
            reported: set[str] = set()
            while (reply := await v1.get(pull))["code"] == 601:
                fresh = [o["range"] for o in reply["data"] if o["range"] not in reported]
                for piece in fresh:
                    done = f"/peer/piece/suc?taskId={task}&cid={cid}&dstCid=&pieceRange={piece}"
                    assert await v1.get(done) == {"code": 611}
                reported |= set(fresh)
        assert origin.bytes_sent("/f") == len(DATA)
    assert len(reported) == 5
    assert reply == {
        "code": 600,
        "data": {"fileLength": len(DATA) + 25, "md5": hashlib.md5(DATA).hexdigest()},
    }


async def test_what_an_old_dfget_cuts_off_a_header_is_dropped(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with calling(tmp_path / "sn") as v1:
            lines = ["X-Foo: 1", "2"]  # dfget 0.4.0 --header 'X-Foo: 1,2'
            body = registration(origin.url("/f"), "127.0.0.1-1-1.000", headers=lines)
            task = (await v1("POST", "/peer/registry", body)).json["data"]["taskId"]
            assert (await v1.settled(task))["cdnStatus"] == "SUCCESS"
        assert origin.requests("/f")[0].headers["x-foo"] == "1"


async def test_the_download_port_gives_ranges_of_the_wrapped_file(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with running_supernode(tmp_path / "sn") as node, HttpPool() as pool:
            outcome = await get(request(tmp_path, origin.url("/f"), "a", node))
            path = f"/download/{outcome.task[:3]}/{outcome.task}"

            async def fetched(target: str, *headers: tuple[str, str], method: str = "GET"):
                return await pool.call(
                    node.host, node.download_port, method, target, headers,
                    timeout_s=5, max_body=1 << 26,
                )  # fmt: skip

            status, _, whole = await fetched(path)
            assert status == 200
            assert len(whole) == len(DATA) + 5 * 5
            assert whole[:4] == bytes.fromhex("010ffffb")
            status, _, part = await fetched(path, ("Range", "bytes=1048570-1048585"))
            assert (status, part) == (206, whole[1048570:1048586])
            status, _, part = await fetched(path, ("Range", "bytes=4194304-99999999"))
            assert (status, part) == (206, whole[4194304:])
            assert (await fetched(path, ("Range", "bytes=99999990-99999999")))[0] == 416
            for asked, expected in (("0-0", whole[:1]), ("-7", whole[-7:]), ("5-", whole[5:])):
                status, _, part = await fetched(path, ("Range", f"bytes={asked}"))
                assert (status, part) == (206, expected), asked
            for asked in ("nonsense", "bytes=-", "bytes=a-b", "bytes=0-1,5-6", "lines=0-1"):
                assert (await fetched(path, ("Range", asked)))[0] == 400, asked
            for asked in ("5-4", "-0", "5000025-"):
                assert (await fetched(path, ("Range", f"bytes={asked}")))[0] == 416, asked
            elsewhere = f"/download/{outcome.task[:2]}x/{outcome.task}"
            assert (await fetched(elsewhere))[0] == 404
            assert (await fetched(f"/download/../download/{path[10:]}"))[0] == 404
            assert (await fetched("/download/000/" + "0" * 64))[0] == 404
            assert (await fetched("/etc/passwd"))[0] == 404
            assert (await fetched(path, method="POST"))[0] == 405


async def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    async with running_supernode(tmp_path) as node:
        from damselfly.net.supernode import SupernodeSettings, serve_supernode

        settings = SupernodeSettings(
            home=tmp_path, port=node.port, download_port=0, advertise_ip="127.0.0.1"
        )
        with pytest.raises(OSError, match=str(node.port)):
            await serve_supernode(settings)


@pytest.mark.parametrize("certificates", [True, False])
async def test_what_reads_need_is_loaded_before_the_first_registration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certificates: bool
) -> None:
    tried: list[object] = []
    make = OriginClients._make  # pyright: ignore[reportPrivateUsage]

    def watched(self: OriginClients, trust: tuple[bool, tuple[str, ...]]) -> httpx.AsyncClient:
        tried.append(trust)
        if not certificates:
            raise FileNotFoundError("ca.pem")
        return make(self, trust)

    monkeypatch.setattr(OriginClients, "_make", watched)
    async with running_supernode(tmp_path) as node:
        assert tried == [(False, ())]
        assert await call(node, "GET", "/_ping") == (200, b"OK")


def test_the_outward_address_is_one_of_this_host() -> None:
    assert outward_ip().count(".") == 3


async def test_an_origin_that_breaks_the_reader_ends_one_task_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("nobody thought of this")

    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with running_supernode(tmp_path / "sn") as node:
            with monkeypatch.context() as patch:
                patch.setattr(OriginReader, "read", broken)
                wanted = request(tmp_path, origin.url("/f"), "a", node, back_to_source=False)
                outcome = await get(wanted)
            assert outcome.code is FailCode.DOWNLOAD_FAILED
            assert "nobody thought of this" in outcome.message
            assert await call(node, "GET", "/_ping") == (200, b"OK")
