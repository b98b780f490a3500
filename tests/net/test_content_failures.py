"""What a daemon's clients get when something breaks: the right bytes, or a cut, never less."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
import trio

from damselfly.engine.ids import NodeAddress
from damselfly.net.dfdaemon import bring
from damselfly.net.dfdaemon.content import ContentFailed, OriginAnswered, Unreachable

from ..origin_server import OriginServer
from .content_support import (
    BLOB,
    DATA,
    DIGEST,
    PIECE,
    body_of,
    bytes_of,
    drained,
    files_in,
    first_of,
    get,
    get_with_source,
    running_contents,
    running_daemon,
    wanted,
)
from .swarm_support import running_supernode

if TYPE_CHECKING:
    from pathlib import Path

    from damselfly.net.supernode import SupernodeAddress

NOBODY = NodeAddress("127.0.0.1", 9)


# --- the origin's own word ---


@pytest.mark.parametrize("status", [401, 404, 416, 503])
@pytest.mark.parametrize("has_supernode", [True, False])
async def test_the_origins_refusal_comes_through(
    tmp_path: Path, status: int, has_supernode: bool
) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA, status=status)
        async with running_daemon(tmp_path, has_supernode=has_supernode) as contents:
            with pytest.raises(OriginAnswered) as caught:
                await contents.open(wanted(origin.url("/f")))
        assert [seen.method for seen in origin.requests("/f")] == ["HEAD", "GET"]
    assert (caught.value.status, caught.value.body) == (status, b"an error page\n")


async def test_an_origin_that_knows_no_head(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA, head_status=405)
        async with (
            running_contents(tmp_path) as contents,
            await contents.open(wanted(origin.url("/f"))) as content,
        ):
            assert content.length == len(DATA)
            assert await body_of(content) == DATA


async def test_an_origin_that_nobody_reaches(tmp_path: Path) -> None:
    async with running_daemon(tmp_path) as contents:
        with pytest.raises(Unreachable, match="refused"):
            await contents.open(wanted("http://127.0.0.1:9/f"))


async def test_an_origin_that_breaks_for_good(tmp_path: Path) -> None:
    came: list[bytes] = []
    with OriginServer() as origin:
        origin.put("/f", DATA, cut_at=2 * PIECE + 5, ranges=False)
        async with (
            running_contents(tmp_path) as contents,
            await contents.open(wanted(origin.url("/f"))) as content,
        ):
            with pytest.raises(ContentFailed):
                await drained(content.read(), came)
    assert b"".join(came) == DATA[: 2 * PIECE]


# --- digests ---


@pytest.mark.parametrize("has_supernode", [True, False])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_a_wrong_digest_never_ends_well(
    tmp_path: Path, has_supernode: bool, algorithm: str
) -> None:
    digest = f"{algorithm}:{hashlib.new(algorithm, b'something else').hexdigest()}"
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with running_daemon(tmp_path, has_supernode=has_supernode) as contents:
            request = wanted(origin.url("/f"), digest=digest)
            async with await contents.open(request) as content:
                came: list[bytes] = []
                with pytest.raises(ContentFailed, match="expected"):
                    await drained(content.read(), came)
            assert len(b"".join(came)) == 8 * PIECE, "all but the last piece"
            right = f"{algorithm}:{hashlib.new(algorithm, DATA).hexdigest()}"
            request = wanted(origin.url("/f"), digest=right)
            assert await get(contents, request) == DATA


async def test_a_poisoned_swarm_is_left_aside(tmp_path: Path) -> None:
    """The supernode's copy is of what the origin had before; the digest tells."""
    with OriginServer() as origin:
        origin.put(BLOB, DATA[::-1], etag='"same"')
        async with running_supernode(tmp_path / "sn") as node:
            async with running_contents(tmp_path / "a", node) as contents:
                await get(contents, wanted(origin.url(BLOB)))
            origin.put(BLOB, DATA, etag='"same"')
            request = wanted(origin.url(BLOB), digest=DIGEST)
            async with running_contents(tmp_path / "b", node) as contents:
                with pytest.raises(ContentFailed, match="expected"):
                    await get(contents, request)
                assert await get_with_source(contents, request) == (DATA, "direct")


async def test_a_corrupt_piece_of_a_peer_is_fetched_elsewhere(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put(BLOB, DATA)
        request = wanted(origin.url(BLOB), digest=DIGEST)
        async with (
            running_supernode(tmp_path / "sn", rare_copies=0) as node,
            running_contents(tmp_path / "a", node) as first,
        ):
            await get(first, request)
            (name,) = files_in(tmp_path / "a")
            with (tmp_path / "a" / "repo" / name).open("r+b") as file:
                file.seek(3 * PIECE + 7)
                file.write(bytes([DATA[3 * PIECE + 7] ^ 1]))
            async with (
                running_contents(tmp_path / "b", node) as second,
                await second.open(request) as content,
            ):
                assert await body_of(content) == DATA
                progress = content.progress
        assert origin.bytes_sent(BLOB) == len(DATA)
    assert progress.from_peers > 0
    assert progress.from_supernode >= PIECE


# --- supernodes and peers that die ---


async def test_the_supernode_dies_midway(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put(BLOB, DATA)
        request = wanted(origin.url(BLOB), digest=DIGEST)
        async with trio.open_nursery() as nursery:
            dying = trio.Event()
            node = await nursery.start(_short_lived, tmp_path / "sn", dying)
            async with running_contents(
                tmp_path / "d", node, rate_bytes_per_s=8_000_000
            ) as contents:
                async with await contents.open(request) as content:
                    reading = content.read()
                    came = bytes_of(await anext(reading))
                    dying.set()
                    came += await drained(reading)
                    progress = content.progress
                    assert content.source == "p2p"
                # Once it is known to be dead, it is not asked again.
                origin.put("/g", DATA)
                assert await get_with_source(contents, wanted(origin.url("/g"))) == (DATA, "direct")
    assert came == DATA
    assert progress.from_supernode > 0
    assert progress.from_origin > 0
    assert progress.from_supernode + progress.from_origin <= len(DATA) + 8 * PIECE


async def test_a_parent_dies_midway(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put(BLOB, DATA)
        request = wanted(origin.url(BLOB), digest=DIGEST)
        async with (
            running_supernode(tmp_path / "sn", rare_copies=0) as node,
            trio.open_nursery() as nursery,
        ):
            dying = trio.Event()

            async def parent(
                *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
            ) -> None:
                async with running_contents(tmp_path / "a", node) as contents:
                    await get(contents, request)
                    task_status.started()
                    await dying.wait()

            await nursery.start(parent)
            async with (
                running_contents(tmp_path / "b", node, rate_bytes_per_s=8_000_000) as contents,
                await contents.open(request) as content,
            ):
                reading = content.read()
                came = bytes_of(await anext(reading))
                dying.set()
                came += await drained(reading)
                progress = content.progress
        assert origin.bytes_sent(BLOB) == len(DATA)
    assert came == DATA
    assert progress.from_peers > 0
    assert progress.from_supernode > 0


async def test_a_supernode_that_is_not_there(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put(BLOB, DATA)
        request = wanted(origin.url(BLOB), digest=DIGEST)
        async with running_contents(tmp_path, NOBODY) as contents:
            assert await get_with_source(contents, request) == (DATA, "direct")
        assert origin.bytes_sent(BLOB) == len(DATA)


async def test_a_supernode_that_comes_back_is_used_again(tmp_path: Path) -> None:
    with OriginServer() as origin:
        async with running_supernode(tmp_path / "sn") as node:
            pass
        async with running_contents(tmp_path / "d", node) as contents:
            origin.put("/0", DATA)
            assert (await get_with_source(contents, wanted(origin.url("/0"))))[1] == "direct"
            async with running_supernode(tmp_path / "sn", at=node):
                source, number = "", 0
                while source != "p2p":
                    number += 1
                    origin.put(f"/{number}", DATA[:1000])
                    request = wanted(origin.url(f"/{number}"))
                    source = (await get_with_source(contents, request))[1]
                    await trio.sleep(0.05)


async def test_what_broke_off_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bring, "STRICT_REJOIN_S", 0.1)
    with OriginServer() as origin:
        origin.put(BLOB, DATA, stall_at=4 * PIECE + 5)
        request = wanted(origin.url(BLOB), digest=DIGEST, strict=True)
        async with trio.open_nursery() as nursery:
            dying = trio.Event()
            node = await nursery.start(_short_lived, tmp_path / "sn", dying)
            async with running_contents(tmp_path / "d", node) as contents:
                async with await contents.open(request) as content:
                    reading = content.read()
                    await first_of(reading, 4 * PIECE)
                    dying.set()
                    with pytest.raises(ContentFailed, match="forbidden"):
                        await drained(reading)
                origin.put(BLOB, DATA)
                async with (
                    running_supernode(tmp_path / "sn", at=node),
                    await contents.open(request) as content,
                ):
                    assert await body_of(content) == DATA
                    assert content.progress.from_disk == 4 * PIECE


async def test_a_strict_rule_never_falls_back(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put(BLOB, DATA)
        request = wanted(origin.url(BLOB), digest=DIGEST, strict=True)
        async with running_contents(tmp_path / "a", NOBODY) as contents:
            with pytest.raises(ContentFailed, match="forbidden"):
                await get(contents, request)
        async with running_contents(tmp_path / "b") as contents:
            with pytest.raises(Unreachable, match="strict"):
                await get(contents, request)
            origin.put("/encoded", DATA, gzip=True)
            with pytest.raises(Unreachable, match=r"encoded.*strict"):
                await contents.open(wanted(origin.url("/encoded"), strict=True))
        assert origin.bytes_sent(BLOB) == 0
        async with (
            running_supernode(tmp_path / "sn") as node,
            running_contents(tmp_path / "c", node) as contents,
        ):
            assert await get_with_source(contents, request) == (DATA, "p2p")


async def _short_lived(
    home: Path,
    dying: trio.Event,
    *,
    task_status: trio.TaskStatus[SupernodeAddress] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Be a supernode until ``dying`` is set."""
    async with running_supernode(home) as node:
        task_status.started(node)
        await dying.wait()
