"""``/tasks`` and their pieces over real sockets."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING, Any

import pytest
import trio

from damselfly.engine.ids import task_id

from ..origin_server import OriginServer
from .rest_support import Caller, calling, registration
from .swarm_support import get, request

if TYPE_CHECKING:
    from pathlib import Path

DATA = random.Random(2).randbytes(3_000_000)
PEER = {"IP": "127.0.0.1", "hostName": "h1", "port": 20000}
UNKNOWN = "0" * 64
PIECE_KEYS = ["pID", "pieceRange", "pieceSize", "pieceMD5", "peerIP", "peerPort", "path"]


async def made_peer(call: Caller, **changes: object) -> str:
    got = await call("POST", "/api/v1/peers", PEER | changes)
    assert got.status == 201
    return got.json["ID"]


async def made_task(call: Caller, url: str, peer: str, cid: str, **changes: object) -> Any:
    """Return what ``POST /tasks`` answers."""
    body = {"rawURL": url, "cID": cid, "peerID": peer, "path": f"/peer/file/{cid}"} | changes
    got = await call("POST", "/api/v1/tasks", body)
    assert got.status == 201, got
    return got.json


def range_of(piece: int, size: int) -> str:
    return f"{piece * size}-{(piece + 1) * size - 1}"


async def test_a_task_as_1_0_6_shows_it(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with calling(tmp_path / "sn") as call:
            md5 = hashlib.md5(DATA).hexdigest()
            outcome = await get(request(tmp_path, origin.url("/f"), "a", call.node, md5=md5))
            shown = await call.get(f"/api/v1/tasks/{outcome.task}")
            assert shown == {
                "ID": task_id(origin.url("/f"), md5=md5),
                "cdnStatus": "SUCCESS",
                "fileLength": len(DATA) + 5 * 3,
                "httpFileLength": len(DATA),
                "md5": md5,
                "pieceSize": 1 << 20,
                "pieceTotal": 3,
                "rawURL": origin.url("/f"),
                "realMd5": md5,
                "taskURL": origin.url("/f"),
            }
            got = await call("GET", f"/api/v1/tasks/{UNKNOWN}")
            assert (got.status, UNKNOWN in got.error) == (404, True)


@pytest.mark.parametrize(
    ("user", "query"), [("", ""), ("user:opensesame@", ""), ("", "?a=1&X-Amz-Signature=opensesame")]
)
async def test_secrets_are_not_shown(tmp_path: Path, user: str, query: str) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with calling(tmp_path) as call:
            url = origin.url("/f").replace("//", f"//{user}") + query
            headers = ["Authorization: Bearer opensesame", "X-Plain:yes"]
            body = registration(url, "a", headers=headers)
            task = (await call("POST", "/peer/registry", body)).json["data"]["taskId"]
            got = await call("GET", f"/api/v1/tasks/{task}")
            assert b"opensesame" not in got.body
            assert got.json["headers"].keys() == {"Authorization", "X-Plain"}
            assert got.json["headers"]["X-Plain"] == "yes"
            assert origin.requests("/f")[0].headers["authorization"] == "Bearer opensesame"


async def test_a_failed_task_is_shown_as_failed(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA, status=403)
        async with calling(tmp_path) as call:
            await call("POST", "/peer/registry", registration(origin.url("/f"), "a"))
            shown = await call.get(f"/api/v1/tasks/{task_id(origin.url('/f'))}")
            assert (shown["cdnStatus"], shown["httpFileLength"]) == ("FAILED", -1)
            assert shown.keys().isdisjoint({"fileLength", "pieceTotal", "realMd5", "headers"})


@pytest.mark.parametrize("full", ["", "?full=false", "?full=true"])
async def test_a_deleted_task_is_read_again(tmp_path: Path, full: str) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with calling(tmp_path / "sn") as call:
            outcome = await get(request(tmp_path, origin.url("/f"), "a", call.node))
            copy = tmp_path / "sn" / "repo" / "download" / outcome.task[:3] / outcome.task
            got = await call("DELETE", f"/api/v1/tasks/{outcome.task}{full}")
            assert (got.status, got.body) == (200, b"")
            assert (await call("GET", f"/api/v1/tasks/{outcome.task}")).status == 404
            again = await get(request(tmp_path, origin.url("/f"), "b", call.node))
            assert (tmp_path / "b.out").read_bytes() == DATA
            assert again.task == outcome.task
            twice = full == "?full=true"
            assert (origin.bytes_sent("/f") >= 2 * len(DATA)) is twice
            assert copy.exists()


async def test_a_task_deleted_in_the_middle_of_its_read(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA, stall_at=1000)
        async with calling(tmp_path / "sn") as call:
            body = registration(origin.url("/f"), "a")
            task = (await call("POST", "/peer/registry", body)).json["data"]["taskId"]
            pull = f"/peer/task?srcCid=a&dstCid=&range=&result=502&status=700&taskId={task}"
            replies: list[int] = []

            async def wait() -> None:
                replies.append((await call("GET", pull)).json["code"])

            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                assert (await call("DELETE", f"/api/v1/tasks/{task}?full=true")).status == 200
            assert (await call("GET", pull)).json["code"] == 502
            assert replies == [502]
            origin.put("/f", DATA)
            outcome = await get(request(tmp_path, origin.url("/f"), "b", call.node))
            assert outcome.task == task
            origin.release()
    assert (tmp_path / "b.out").read_bytes() == DATA


async def test_deleting_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    async with calling(tmp_path) as call:
        for name in (UNKNOWN, "nosuch", "..%2f..%2fetc", "%00"):
            got = await call("DELETE", f"/api/v1/tasks/{name}?full=true")
            assert (got.status, got.body) == (200, b"")


# --- POST /tasks ----------------------------------------------------------------------------------


async def test_a_task_is_made_for_a_peer(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with calling(tmp_path) as call:
            peer = await made_peer(call)
            made = await made_task(
                call,
                origin.url("/f?a=1&b=2"),
                peer,
                "c1",
                filter=["b"],
                headers={"X-A": "1"},
                callSystem="cs",
                supernodeIP="127.0.0.1",
            )
            url = origin.url("/f?a=1")
            assert made == {
                "ID": task_id(url),
                "fileLength": len(DATA),
                "pieceSize": 1 << 20,
                "cdnSource": "supernode",
            }
            shown = await call.get(f"/api/v1/tasks/{made['ID']}")
            assert (shown["taskURL"], shown["rawURL"]) == (url, origin.url("/f?a=1&b=2"))
            assert shown["headers"] == {"X-A": "1"}
            assert origin.requests("/f")[0].headers["x-a"] == "1"


@pytest.mark.parametrize(
    ("changes", "status", "named"),
    [
        ({"peerID": "none"}, 404, "peer none"),
        ({"peerID": ""}, 400, "peerID in body is required"),
        ({"cID": ""}, 400, "cID in body is required"),
        ({"rawURL": "ftp://x/y"}, 400, "ftp://x/y"),
        ({"path": "x"}, 400, "path in body"),
        ({"path": "/" + "x" * 600}, 400, "path in body"),
        ({"headers": {"X-A": "a\r\nb"}}, 400, "headers"),
        ({"headers": {"a b": "c"}}, 400, "headers"),
        ({"headers": {"A": 5}}, 400, "headers"),
        ({"filter": "a"}, 400, "filter"),
        ({"taskId": UNKNOWN}, 400, "taskId"),
        ({"md5": "1" * 32}, 502, "md5"),
    ],
)
async def test_tasks_that_cannot_be(
    tmp_path: Path, changes: dict[str, object], status: int, named: str
) -> None:
    with OriginServer() as origin:
        origin.put("/f", b"")
        async with calling(tmp_path) as call:
            peer = await made_peer(call)
            body = {"rawURL": origin.url("/f"), "cID": "c", "peerID": peer, "path": "/p"} | changes
            got = await call("POST", "/api/v1/tasks", body)
            if got.status == 201:  # the digest is known at the end only
                await call("GET", f"/api/v1/tasks/{got.json['ID']}/pieces?clientID=c")
                got = await call("POST", "/api/v1/tasks", body)
            assert (got.status, named in got.error) == (status, True), got


async def test_an_origin_that_fails_is_a_bad_gateway(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA, status=404)
        async with calling(tmp_path) as call:
            peer = await made_peer(call)
            body = {"rawURL": origin.url("/f"), "cID": "c", "peerID": peer, "path": "/p"}
            for _ in range(2):
                got = await call("POST", "/api/v1/tasks", body)
                assert (got.status, "404" in got.error) == (502, True)
            assert len(origin.requests("/f")) == 1, "a failure is remembered"


async def test_one_id_for_two_contents_is_a_conflict(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with calling(tmp_path) as call:
            peer = await made_peer(call)
            await made_task(call, origin.url("/f"), peer, "c", identifier="1" * 32)
            body = {"rawURL": origin.url("/f"), "cID": "d", "peerID": peer, "path": "/p"}
            got = await call("POST", "/api/v1/tasks", body | {"md5": "1" * 32})
            assert (got.status, "another" in got.error) == (409, True)


# --- pieces ---------------------------------------------------------------------------------------


async def test_a_whole_download_by_rest_and_what_others_get_of_it(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with calling(tmp_path) as call:
            one, two = [await made_peer(call, hostName=name) for name in ("h1", "h2")]
            made = await made_task(call, origin.url("/f"), one, "c1")
            await made_task(call, origin.url("/f"), two, "c2", path="/peer/file/two")
            pieces, size = f"/api/v1/tasks/{made['ID']}/pieces", made["pieceSize"]
            itself = (await call.get("/api/v1/peers?pageSize=1"))[0]["ID"]

            done: list[str] = []
            while len(done) < 3:
                got = await call("GET", f"{pieces}?clientID=c1&num=1")
                assert got.headers["x-damselfly-code"] in ("601", "602")
                for piece in got.json:
                    assert list(piece) == PIECE_KEYS
                    assert piece["pID"] == itself
                    assert piece["peerPort"] == call.node.download_port
                    assert piece["pieceMD5"].partition(":")[2].isdecimal()
                    done.append(piece["pieceRange"])
                    body = {"clientID": "c1", "dstPID": itself, "pieceStatus": "SUCCESS"}
                    got = await call("PUT", f"{pieces}/{piece['pieceRange']}", body)
                    assert (got.status, got.body) == (200, b"")
            assert sorted(done) == sorted(range_of(piece, size) for piece in range(3))
            got = await call("GET", f"{pieces}?clientID=c1")
            assert (got.json, got.headers["x-damselfly-code"]) == ([], "600")

            got = await call("GET", f"{pieces}?clientID=c2", {"dfgetTaskStatus": "STARTED"})
            assert {piece["pID"] for piece in got.json} == {one}
            assert {piece["path"] for piece in got.json} == {"/peer/file/c1"}
            failed = {"clientID": "c2", "dstPID": one, "pieceStatus": "FAILED"}
            for piece in got.json:
                await call("PUT", f"{pieces}/{piece['pieceRange']}", failed)
            again = {"dfgetTaskStatus": "RUNNING"}
            got = await call("GET", f"{pieces}?clientID=c2", again)
            assert {piece["pID"] for piece in got.json} == {itself}


async def test_a_peer_that_says_it_has_all_is_believed(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with calling(tmp_path) as call:
            one, two = [await made_peer(call, hostName=name) for name in ("h1", "h2")]
            task = (await made_task(call, origin.url("/f"), one, "c1"))["ID"]
            await call("POST", "/preheats", {"type": "file", "url": origin.url("/f")})
            await call.ended(task)
            got = await call("PUT", f"/api/v1/tasks/{task}", {"peerID": one})
            assert (got.status, got.body) == (200, b"")
            await made_task(call, origin.url("/f"), two, "c2")
            got = await call("GET", f"/api/v1/tasks/{task}/pieces?clientID=c2")
            assert {piece["pID"] for piece in got.json} == {one}
            for body, status in (({"peerID": "none"}, 404), ({}, 400), (b"x", 400)):
                assert (await call("PUT", f"/api/v1/tasks/{task}", body)).status == status
            stranger = await made_peer(call)
            got = await call("PUT", f"/api/v1/tasks/{task}", {"peerID": stranger})
            assert (got.status, stranger in got.error) == (404, True)
            got = await call("PUT", f"/api/v1/tasks/{UNKNOWN}", {"peerID": one})
            assert got.status == 404


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_piece_errors_are_taken(tmp_path: Path, method: str) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with calling(tmp_path) as call:
            peer = await made_peer(call)
            made = await made_task(call, origin.url("/f"), peer, "c1")
            whole = range_of(0, made["pieceSize"])
            error = f"/api/v1/tasks/{made['ID']}/pieces/{whole}/error"
            body = {"srcCid": "c1", "dstPid": peer, "dstIp": "10.0.0.1", "range": whole}
            for kind in ("FILE_NOT_EXIST", "FILE_MD5_NOT_MATCH"):
                got = await call(method, error, body | {"errorType": kind})
                assert (got.status, got.body) == (200, b"")
            got = await call(method, error, body | {"errorType": "BOGUS"})
            assert got.status == 400
            assert "one of [FILE_NOT_EXIST FILE_MD5_NOT_MATCH]" in got.error
            bad = error.replace(whole, "0-9")
            got = await call(method, bad, body | {"errorType": "FILE_NOT_EXIST"})
            assert (got.status, "'0-9'" in got.error) == (400, True)


async def test_pieces_that_cannot_be(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with calling(tmp_path) as call:
            made = await made_task(call, origin.url("/f"), await made_peer(call), "c1")
            pieces = f"/api/v1/tasks/{made['ID']}/pieces"
            whole = range_of(0, made["pieceSize"])
            for query, body, status in (
                ("", b"", 400),
                ("?clientID=", b"", 400),
                ("?clientID=c1&num=0", b"", 400),
                ("?clientID=c1&num=x", b"", 400),
                ("?clientID=" + "c" * 600, b"", 400),
                ("?clientID=a%0d%0ab", b"", 400),
                ("?clientID=nobody", b"", 404),
                ("?clientID=c1", {"dfgetTaskStatus": "X"}, 400),
                ("?clientID=c1", {"dfgetTaskStatus": "RUNNING", "pieceResult": "FAILED"}, 400),
                ("?clientID=c1", {"dfgetTaskStatus": "RUNNING", "pieceRange": whole}, 400),
                ("?clientID=c1", {"pieceRange": "zz"}, 400),
            ):
                got = await call("GET", pieces + query, body)
                assert (got.status, bool(got.error)) == (status, True), (query, body)
            assert (await call("GET", f"/api/v1/tasks/{UNKNOWN}/pieces?clientID=c1")).status == 404
            for piece, body, status in (
                (whole, {"clientID": "c1", "pieceStatus": "INVALID"}, 400),
                (whole, {"clientID": "c1", "pieceStatus": "X"}, 400),
                (whole, {"pieceStatus": "SUCCESS"}, 400),
                (whole, {"clientID": "nobody", "pieceStatus": "SUCCESS"}, 404),
                (whole, {"clientID": "nobody", "pieceStatus": "SEMISUC"}, 404),
                ("0-99", {"clientID": "c1", "pieceStatus": "SUCCESS"}, 400),
            ):
                got = await call("PUT", f"{pieces}/{piece}", body)
                assert (got.status, bool(got.error)) == (status, True), (piece, body)
