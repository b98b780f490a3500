"""What an earlier run left of a copy: how far it is trusted, and who waits for it."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, Any

import trio

from damselfly.engine.events import OriginFailed, OriginFailure
from damselfly.engine.outcomes import FailCode
from damselfly.net.origin import OriginReader
from damselfly.net.sidecar import SidecarReader
from damselfly.net.store import PieceStore

from ..origin_server import OriginServer
from .rest_support import calling, registration
from .swarm_support import get, request, running_supernode
from .test_cdn import DATA, FRESH, PIECE, forgetful, until, until_idle

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from damselfly.engine.effects import ReadOrigin
    from damselfly.engine.ids import PieceIndex


async def part_of_a_copy(home: Path, origin: OriginServer, tmp_path: Path) -> Path:
    """Leave three pieces on disk, as a supernode that was killed would; return the data file."""
    origin.put("/f", DATA, stall_at=3 * PIECE + 100)
    async with running_supernode(home) as node, trio.open_nursery() as nursery:
        nursery.start_soon(get, request(tmp_path, origin.url("/f"), "part", node))
        await until(lambda: [held_in(path) for path in copies_in(home)] == [3])
        nursery.cancel_scope.cancel()
    (path,) = copies_in(home)
    return path


def copies_in(home: Path) -> list[Path]:
    return [log.with_suffix("") for log in (home / "repo" / "download").glob("*/*.pieces")]


def held_in(path: Path) -> int:
    log = SidecarReader(path)
    log.refresh()
    return len(log.held)


async def test_rot_in_a_part_of_a_copy_is_not_counted_against_the_origin(tmp_path: Path) -> None:
    with OriginServer() as origin:
        path = await part_of_a_copy(tmp_path / "sn", origin, tmp_path)
        with path.open("r+b") as file:
            file.seek(PIECE + 1000)
            file.write(b"rot")
        origin.put("/f", DATA)
        async with running_supernode(tmp_path / "sn", origin_retries=0) as node:
            wanted = request(tmp_path, origin.url("/f"), "b", node, back_to_source=False)
            outcome = await get(wanted)
        assert outcome.code is FailCode.SUCCESS
        assert [one.headers.get("range") for one in origin.requests("/f")[1:]] == [
            f"bytes={3 * PIECE}-",
            f"bytes={PIECE}-",
        ]
    assert (tmp_path / "b.out").read_bytes() == DATA


async def test_a_part_of_a_copy_outlives_an_origin_that_fails_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, failed = OriginReader.read, 0

    async def once_in_vain(self: OriginReader, effect: ReadOrigin, *args: Any, **more: Any) -> None:
        nonlocal failed
        failed += 1
        if failed > 1:
            return await read(self, effect, *args, **more)
        return args[1](OriginFailed(effect.fetch, OriginFailure.UNREACHABLE, "no route"))

    with OriginServer() as origin:
        await part_of_a_copy(tmp_path / "sn", origin, tmp_path)
        origin.put("/f", DATA)
        monkeypatch.setattr(OriginReader, "read", once_in_vain)
        async with running_supernode(tmp_path / "sn", origin_backoff_s=0.01) as node:
            wanted = request(tmp_path, origin.url("/f"), "b", node, back_to_source=False)
            assert (await get(wanted)).code is FailCode.SUCCESS
        assert [one.headers.get("range") for one in origin.requests("/f")[1:]] == [
            f"bytes={3 * PIECE}-"
        ]


async def test_a_registration_does_not_wait_until_a_large_part_was_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed, go_on = PieceStore.is_intact, threading.Event()

    def slowly(self: PieceStore, piece: PieceIndex) -> bool:
        assert go_on.wait(60)
        return hashed(self, piece)

    with OriginServer() as origin:
        await part_of_a_copy(tmp_path / "sn", origin, tmp_path)
        origin.put("/f", DATA)
        origin.put("/other", DATA)
        monkeypatch.setattr(PieceStore, "is_intact", slowly)
        async with calling(tmp_path / "sn") as call:
            body = registration(origin.url("/f"), "127.0.0.1-1-1.000")
            assert (await call("POST", "/peer/registry", body)).json["code"] == 200
            other = await get(request(tmp_path, origin.url("/other"), "o", call.node))
            go_on.set()
            mine = await get(request(tmp_path, origin.url("/f"), "b", call.node))
        assert (other.code, mine.code) == (FailCode.SUCCESS, FailCode.SUCCESS)
        assert (other.reason, mine.reason) == (0, 0)
    assert (tmp_path / "b.out").read_bytes() == DATA


async def test_a_v1_client_gets_no_copy_that_the_origin_disowns(tmp_path: Path) -> None:
    with OriginServer() as origin:
        for number, data in enumerate((DATA, FRESH)):
            origin.put("/f", data)
            async with calling(tmp_path / "sn") as call:
                body = registration(origin.url("/f"), f"127.0.0.1-{number}-1.000")
                task = (await call("POST", "/peer/registry", body)).json["data"]["taskId"]
                found = await call.settled(task)
                assert found["realMd5"] == hashlib.md5(data).hexdigest()


async def test_an_origin_that_never_gave_anything_leaves_nothing_on_disk(tmp_path: Path) -> None:
    with OriginServer() as origin:
        async with forgetful(tmp_path / "sn", fail_access_s=0.01) as node:
            await get(request(tmp_path, origin.url("/nothing"), "a", node))
            await until_idle(node)
        assert not [path for path in (tmp_path / "sn" / "repo").rglob("*") if path.is_file()]
