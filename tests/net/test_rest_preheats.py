"""Preheats of files over real sockets; those of images are in ``test_rest_images``."""

from __future__ import annotations

import logging
import random
from random import Random
from typing import TYPE_CHECKING

import pytest

from damselfly.engine.config import SupernodeConfig
from damselfly.engine.ids import task_id
from damselfly.engine.outcomes import FailCode
from damselfly.engine.supernode import SupernodeEngine
from damselfly.engine.trace import read_trace, replay

from ..origin_server import OriginServer
from .rest_support import Caller, calling, registration
from .swarm_support import get, request

if TYPE_CHECKING:
    from pathlib import Path

DATA = random.Random(3).randbytes(2_500_000)


async def preheat(call: Caller, url: str, **changes: object) -> str:
    got = await call("POST", "/preheats", {"type": "file", "url": url} | changes)
    assert got.status == 201, got
    assert list(got.json) == ["ID"]
    return got.json["ID"]


def test_the_id_is_the_recorded_one() -> None:
    recorded = "64502a738c2b7cc9c7a679ae44fe82dc18d3bfc18fd53eab040478ce313fb26f"
    assert task_id("http://127.0.0.1:9000/f/1004") == recorded


async def test_a_preheated_file_costs_the_origin_nothing_more(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with calling(tmp_path / "sn") as call:
            headers = {"X-Token": "t"}
            name = await preheat(
                call, origin.url("/f?v=1&cut=2"), filter="cut&x", identifier="i", headers=headers
            )
            listed = await call("GET", "/preheats")
            assert b'/f?v=1&cut=2","Type":"file","Filter":"cut&x"' in listed.body, "& as it is"
            assert name == task_id(origin.url("/f?v=1"), identifier="i")
            ended = await call.ended(name)
            assert list(ended) == ["ID", "finishTime", "startTime", "status"]
            assert (ended["ID"], ended["status"]) == (name, "SUCCESS")
            assert ended["startTime"] <= ended["finishTime"]
            assert origin.requests("/f")[0].headers["x-token"] == "t"
            before = origin.bytes_sent("/f"), len(origin.requests("/f"))
            wanted = request(
                tmp_path,
                origin.url("/f?v=1&cut=3"),
                "a",
                call.node,
                dropped=("cut",),
                identifier="i",
            )
            outcome = await get(wanted)
            assert (outcome.code, outcome.task) == (FailCode.SUCCESS, name)
            assert before == (origin.bytes_sent("/f"), len(origin.requests("/f")))
            assert before[0] == len(DATA)
    assert (tmp_path / "a.out").read_bytes() == DATA


async def test_a_record_as_1_0_6_lists_it(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA, status=404)
        async with calling(tmp_path) as call:
            assert await call.get("/preheats") == []
            name = await preheat(call, origin.url("/f"))
            ended = await call.ended(name)
            assert (ended["status"], "404 Not Found" in ended["errorMsg"]) == ("FAILED", True)
            (record,) = await call.get("/api/v1/preheats")
            assert list(record) == [
                "ID", "URL", "Type", "Filter", "Identifier", "Headers", "ParentID", "Children",
                "Status", "StartTime", "FinishTime", "ErrorMsg",
            ]  # fmt: skip
            assert record["StartTime"] <= record["FinishTime"]
            assert record | {"StartTime": 0, "FinishTime": 0} == {
                "ID": name,
                "URL": origin.url("/f"),
                "Type": "file",
                "Filter": "",
                "Identifier": "",
                "Headers": None,
                "ParentID": "",
                "Children": None,
                "Status": "FAILED",
                "StartTime": 0,
                "FinishTime": 0,
                "ErrorMsg": ended["errorMsg"],
            }


async def test_an_entry_of_that_id_exists_until_it_is_deleted(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with calling(tmp_path) as call:
            name = await preheat(call, origin.url("/f"))
            await call.ended(name)
            for prefix in ("", "/api/v1"):
                body = {"type": "file", "url": origin.url("/f")}
                got = await call("POST", f"{prefix}/preheats", body)
                assert got.status == 208
                assert got.error == f"preheat task already exists, id:{name}"
            for _ in range(2):
                got = await call("DELETE", f"/preheats/{name}")
                assert (got.status, got.body) == (200, b"true\n")
            got = await call("GET", f"/preheats/{name}")
            assert (got.status, got.error) == (404, f"{name} doesn't exists")
            assert await preheat(call, origin.url("/f")) == name


async def test_how_it_stands_while_it_runs(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA, stall_at=1000)
        async with calling(tmp_path) as call:
            name = await preheat(call, origin.url("/f"))
            found = await call.ended(name, "RUNNING")
            assert found["finishTime"] == "1970-01-01T00:00:00.000Z"
            assert "errorMsg" not in found
            got = await call("DELETE", f"/preheats/{name}")
            assert got.status == 200
            assert await call.get("/preheats") == []
            origin.release()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"url": "http://x/f"}, "validation failure list:\ntype in body is required"),
        (
            {"type": "bogus", "url": "http://x/f"},
            "validation failure list:\ntype in body should be one of [image file]",
        ),
        (
            {},
            "validation failure list:\ntype in body is required\nurl in body is required",
        ),
        ({"type": "file", "url": "ab"}, "url in body should be at least 3 chars long"),
        ({"type": "file", "url": "ftp://x/f"}, "ftp://x/f"),
        ({"type": "image", "url": "http://x/f"}, "/v2/<name>/manifests/<reference>"),
        ({"type": "file", "url": "http://x/f", "headers": {"A": "b\r\nC: d"}}, "headers"),
        ({"type": "file", "url": "http://x/f", "headers": {"A\r\nB": "c"}}, "headers"),
        ({"type": "file", "url": "http://x/f", "headers": {"": "c"}}, "headers"),
        ({"type": "file", "url": "http://x/f", "headers": ["A:b"]}, "`$.headers`"),
        ({"type": "file", "url": "http://x/\nf"}, "url"),
        (b"", "empty request"),
        (b" \n", "empty request"),
        (b"{", "JSON"),
    ],
)
async def test_preheats_that_cannot_be(tmp_path: Path, body: object, message: str) -> None:
    async with calling(tmp_path) as call:
        got = await call("POST", "/preheats", body)
        assert (got.status, message in got.error) == (400, True), got
        assert await call.get("/preheats") == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1:1", "127.0.0.1:99999", "[", "%zz", "...", "a..b", "\u2603", "a" * 300, "@"]
)
async def test_hosts_that_nobody_can_reach_harm_nobody(tmp_path: Path, host: str) -> None:
    async with calling(tmp_path, origin_retries=0) as call:
        name = await preheat(call, f"http://{host}/f")
        assert (await call.ended(name))["status"] == "FAILED"
        got = await call("POST", "/peer/registry", registration(f"http://{host}/g", "a"))
        assert got.json["code"] == 607
        assert (await call("GET", "/_ping")).status == 200


async def test_a_recorded_run_with_preheats_replays(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with calling(tmp_path / "sn", tmp_path / "rec") as call:
            secret = {"Authorization": "Bearer opensesame"}
            name = await preheat(call, origin.url("/f"), headers=secret)
            await call.ended(name)
            await call("DELETE", f"/api/v1/tasks/{name}?full=true")
            await call("GET", f"/api/v1/tasks/{name}")
    (trace,) = (tmp_path / "rec").iterdir()
    content = trace.read_bytes()
    assert b"opensesame" not in content
    header, records = read_trace([content])
    config, seed = header["config"], header["seed"]
    assert isinstance(config, SupernodeConfig)
    assert isinstance(seed, int)
    engine = SupernodeEngine(config, Random(seed))
    assert replay(engine, records) > 4  # pyright: ignore[reportArgumentType]


async def test_secrets_stay_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with OriginServer() as origin:
        origin.put("/f", DATA, status=403)
        async with calling(tmp_path) as call:
            url = origin.url("/f").replace("//", "//u:opensesame@")
            headers = {"Authorization": "Bearer opensesame", "cookie": "opensesame", "A": "b"}
            name = await preheat(call, url, headers=headers)
            await call.ended(name)
            shown = [await call("GET", path) for path in ("/preheats", f"/preheats/{name}")]
            assert not any(b"opensesame" in got.body for got in shown)
            (record,) = shown[0].json
            assert record["Headers"].keys() == headers.keys()
            assert record["Headers"]["A"] == "b"
            assert len(origin.requests("/f")) == 1
    ours = [record for record in caplog.records if record.name.startswith("damselfly")]
    assert not any("opensesame" in record.getMessage() for record in ours)
