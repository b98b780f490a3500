"""``/peers`` over real sockets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from ..origin_server import OriginServer
from .rest_support import calling, registration

if TYPE_CHECKING:
    from pathlib import Path

H1 = {"IP": "10.1.2.3", "hostName": "h1", "port": 20000, "version": "9"}


async def test_the_supernode_is_its_own_first_peer(tmp_path: Path) -> None:
    async with calling(tmp_path) as call:
        (itself,) = await call.get("/api/v1/peers")
        assert list(itself) == ["ID", "IP", "created", "hostName", "port"]
        assert (itself["IP"], itself["port"]) == ("127.0.0.1", call.node.download_port)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", itself["created"])
        assert re.fullmatch(re.escape(itself["hostName"]) + r"-127\.0\.0\.1-\d{19}", itself["ID"])
        got = await call("DELETE", f"/api/v1/peers/{itself['ID']}")
        assert (got.status, "itself" in got.error) == (409, True)


@pytest.mark.parametrize("prefix", ["", "/api/v1", "/v1.0/api/v1"])
async def test_a_peer_comes_and_goes(tmp_path: Path, prefix: str) -> None:
    async with calling(tmp_path) as call:
        got = await call("POST", f"{prefix}/peers", H1)
        assert got.status == 201
        (name,) = got.json.values()
        assert re.fullmatch(r"h1-10\.1\.2\.3-\d{19}", name)
        shown = await call.get(f"{prefix}/peers/{name}")
        assert shown == H1 | {"ID": name, "created": shown["created"]}
        got = await call("DELETE", f"{prefix}/peers/{name}")
        assert (got.status, got.body) == (200, b"")
        for method in ("GET", "DELETE"):
            got = await call(method, f"{prefix}/peers/{name}")
            assert (got.status, name in got.error) == (404, True)


async def test_keys_in_any_case_and_what_is_empty_is_left_out(tmp_path: Path) -> None:
    async with calling(tmp_path) as call:
        body = {"ip": "10.1.2.3", "HOSTNAME": "h1", "Port": 0, "version": None, "other": [1]}
        (name,) = (await call("POST", "/api/v1/peers", body)).json.values()
        shown = await call.get(f"/api/v1/peers/{name}")
        assert shown.keys() == {"ID", "IP", "created", "hostName"}


async def test_pages(tmp_path: Path) -> None:
    async with calling(tmp_path) as call:
        for number in range(3):
            await call("POST", "/api/v1/peers", H1 | {"hostName": f"h{number}"})

        async def hosts(query: str) -> list[str]:
            return [peer["hostName"] for peer in await call.get(f"/api/v1/peers?{query}")][-3:]

        assert await hosts("") == ["h0", "h1", "h2"]
        assert await hosts("pageNum=1&pageSize=2&sortKey=IP&sortKey=x") == ["h1", "h2"]
        assert await hosts("pageNum=0&pageSize=1&sortDirect=DESC") == ["h2"]
        assert await hosts("pageNum=&pageSize=&sortDirect=asc") == ["h0", "h1", "h2"]
        assert await hosts("pageNum=9&pageSize=2") == []


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("pageNum=x", "pageNum 'x'"),
        ("pageNum=-1", "pageNum '-1'"),
        ("pageSize=1.5", "pageSize '1.5'"),
        ("pageSize=99999999999999999999", "pageSize"),
        ("sortDirect=zz", "sortDirect 'zz'"),
    ],
)
async def test_bad_pages(tmp_path: Path, query: str, named: str) -> None:
    async with calling(tmp_path) as call:
        got = await call("GET", f"/api/v1/peers?{query}")
        assert (got.status, named in got.error) == (400, True)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (H1 | {"port": 80}, "port in body should be greater than or equal to 15000"),
        (H1 | {"port": 65001}, "port in body should be less than or equal to 65000"),
        (H1 | {"IP": "10.1.2"}, 'IP in body must be of type ipv4: "10.1.2"'),
        (H1 | {"IP": None}, 'IP in body must be of type ipv4: ""'),
        (H1 | {"hostName": "a b"}, 'hostName in body must be of type hostname: "a b"'),
        (H1 | {"port": "20000"}, "`$.port`"),
        (H1 | {"version": "a\r\nb"}, "version"),
        (H1 | {"version": "v" * 20000}, "20000 characters"),
        (b"garbage", "garbage"),
        (b"[]", "JSON object"),
        (b"", "empty request"),
        (b'{"IP":' * 5000, "JSON object"),
    ],
)
async def test_bad_peers(tmp_path: Path, body: object, message: str) -> None:
    async with calling(tmp_path) as call:
        got = await call("POST", "/api/v1/peers", body)
        assert got.status == 400
        assert message in got.error
        assert len(await call.get("/api/v1/peers")) == 1


async def test_a_download_is_a_peer_while_it_lasts(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", b"x" * 10)
        async with calling(tmp_path) as call:
            body = registration(origin.url("/f"), "127.0.0.1-1-1.000", port=20001)
            task = (await call("POST", "/peer/registry", body)).json["data"]["taskId"]
            _, peer = await call.get("/api/v1/peers")
            assert (peer["port"], peer["version"], peer["hostName"]) == (20001, "1.0.6", "h")
            await call("POST", "/peer/registry", body)
            assert len(await call.get("/api/v1/peers")) == 2, "the same download again"
            await call("DELETE", f"/api/v1/tasks/{task}")
            assert len(await call.get("/api/v1/peers")) == 1


async def test_nobody_is_sent_to_a_deleted_peer(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", b"x" * 10)
        async with calling(tmp_path) as call:
            for cid in ("a", "b"):
                got = await call("POST", "/peer/registry", registration(origin.url("/f"), cid))
            data = got.json["data"]
            task, last = data["taskId"], data["pieceSize"] - 1
            report = f"/peer/piece/suc?taskId={task}&cid=a&dstCid=&pieceRange=0-{last}"
            assert (await call("GET", report)).json == {"code": 611}
            _, first, _ = await call.get("/api/v1/peers")
            assert (await call("DELETE", f"/api/v1/peers/{first['ID']}")).status == 200
            pull = f"/peer/task?srcCid=b&dstCid=&range=&result=502&status=700&taskId={task}"
            (offer,) = (await call("GET", pull)).json["data"]
            assert offer["cid"].startswith("cdnnode:")
