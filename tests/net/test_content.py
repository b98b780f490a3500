"""What a daemon fetches for its clients: shared, streamed, kept, given to other peers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trio

from damselfly.net.dfdaemon.content import Content, ContentFailed, Unsuitable
from damselfly.net.dfdaemon.settings import Bounds

from ..origin_server import DATE, OriginServer
from .content_support import (
    BLOB,
    DATA,
    DIGEST,
    PIECE,
    body_of,
    drained,
    files_in,
    first_of,
    get,
    get_with_source,
    running_contents,
    running_daemon,
    until,
    wanted,
)
from .swarm_support import running_supernode

if TYPE_CHECKING:
    from pathlib import Path


async def test_ten_clients_share_one_read_and_one_may_leave(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put(BLOB, DATA, rate_bytes_per_s=40e6)
        request = wanted(origin.url(BLOB), digest=DIGEST)
        bodies: list[bytes] = []
        async with running_daemon(tmp_path) as contents:

            async def read() -> None:
                bodies.append(await get(contents, request))

            async def leave() -> None:
                async with await contents.open(request) as content:
                    await anext(content.read())

            async with trio.open_nursery() as nursery:
                nursery.start_soon(leave)
                for _ in range(9):
                    nursery.start_soon(read)
        assert bodies == [DATA] * 9
        assert origin.bytes_sent(BLOB) == len(DATA)
        asked = [seen.method for seen in origin.requests(BLOB)]
        assert sorted(asked) == ["GET", "HEAD"]


async def test_headers_of_the_origin_are_kept(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put(BLOB, DATA, etag='"one"', set_cookie="secret=1")
        request = wanted(origin.url(BLOB), digest=DIGEST)
        async with running_daemon(tmp_path) as contents:
            async with await contents.open(request) as content:
                assert content.length == len(DATA)
                cold = dict(content.headers)
                assert await body_of(content) == DATA
            async with await contents.open(request) as content:
                assert dict(content.headers) == cold
    assert cold["ETag"] == '"one"'
    assert cold["Last-Modified"] == DATE
    assert cold["Docker-Content-Digest"] == DIGEST
    assert not {"set-cookie", "content-length", "date"} & {name.lower() for name in cold}


@pytest.mark.parametrize("has_supernode", [True, False])
async def test_bytes_come_while_the_last_piece_stalls(tmp_path: Path, has_supernode: bool) -> None:
    with OriginServer() as origin:
        # From the origin, the first read is one of 8 MiB: seven whole pieces.
        origin.put("/f", DATA, stall_at=6 * PIECE + 5)
        async with (
            running_daemon(tmp_path, has_supernode=has_supernode) as contents,
            await contents.open(wanted(origin.url("/f"))) as content,
        ):
            reading = content.read()
            came = await first_of(reading, 6 * PIECE)
            origin.release()
            came += await drained(reading)
    assert came == DATA


async def test_ranges_are_of_the_whole_task(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put(BLOB, DATA)
        request = wanted(origin.url(BLOB), digest=DIGEST)
        async with running_daemon(tmp_path) as contents:
            parts: dict[int, bytes] = {}

            async def read(content: Content, first: int, last: int | None) -> None:
                parts[first] = await body_of(content, first, last)

            async with await contents.open(request) as content, trio.open_nursery() as nursery:
                nursery.start_soon(read, content, 5 * PIECE - 3, 5 * PIECE + 3)
                nursery.start_soon(read, content, 100, 100)
                nursery.start_soon(read, content, len(DATA) - 10, None)
        assert origin.bytes_sent(BLOB) == len(DATA)
    assert parts == {
        5 * PIECE - 3: DATA[5 * PIECE - 3 : 5 * PIECE + 4],
        100: DATA[100:101],
        len(DATA) - 10: DATA[-10:],
    }


async def test_the_second_daemon_takes_nothing_from_the_origin(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put(BLOB, DATA)
        request = wanted(origin.url(BLOB), digest=DIGEST)
        async with (
            running_supernode(tmp_path / "sn", rare_copies=0) as node,
            running_contents(tmp_path / "a", node) as first,
        ):
            assert await get_with_source(first, request) == (DATA, "p2p")
            async with (
                running_contents(tmp_path / "b", node) as second,
                await second.open(request) as content,
            ):
                assert await body_of(content) == DATA
                progress = content.progress
        assert origin.bytes_sent(BLOB) == len(DATA)
    assert (progress.from_peers, progress.from_origin) == (len(DATA), 0)


async def test_without_any_supernode(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put(BLOB, DATA)
        request = wanted(origin.url(BLOB), digest=DIGEST)
        async with running_contents(tmp_path / "d") as contents:
            assert await get_with_source(contents, request) == (DATA, "direct")
            assert await get_with_source(contents, request) == (DATA, "cache")
        assert origin.bytes_sent(BLOB) == len(DATA)


@pytest.mark.parametrize("has_supernode", [True, False])
async def test_an_origin_that_does_not_tell_the_length(tmp_path: Path, has_supernode: bool) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA, chunked=True, ranges=False)
        async with (
            running_daemon(tmp_path, has_supernode=has_supernode) as contents,
            await contents.open(wanted(origin.url("/f"))) as content,
        ):
            assert content.length is None
            assert await body_of(content) == DATA
            assert content.length == len(DATA)


@pytest.mark.parametrize("has_supernode", [True, False])
@pytest.mark.parametrize("size", [0, 1, PIECE, PIECE + 1])
async def test_sizes_at_the_edges(tmp_path: Path, size: int, has_supernode: bool) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA[:size])
        async with (
            running_daemon(tmp_path, has_supernode=has_supernode) as contents,
            await contents.open(wanted(origin.url("/f"))) as content,
        ):
            assert content.length == size
            assert await body_of(content) == DATA[:size]


async def test_an_encoded_answer_is_passed_through(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA, gzip=True)
        async with running_contents(tmp_path) as contents:
            with pytest.raises(Unsuitable, match="encoded"):
                await contents.open(wanted(origin.url("/f")))


async def test_content_that_has_changed_is_read_again(tmp_path: Path) -> None:
    fresh = DATA[::-1]
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with running_contents(tmp_path) as contents:
            assert await get(contents, wanted(origin.url("/f"))) == DATA
            origin.put("/f", fresh)
            assert await get(contents, wanted(origin.url("/f"))) == fresh


# --- what is kept ---


async def test_a_restart_keeps_what_is_here(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put(BLOB, DATA)
        request = wanted(origin.url(BLOB), digest=DIGEST)
        async with running_contents(tmp_path) as contents:
            await get(contents, request)
        before = origin.bytes_sent(BLOB)
        (name,) = files_in(tmp_path)
        assert (tmp_path / "repo" / name).stat().st_mode & 0o777 == 0o600
        async with running_contents(tmp_path) as contents, await contents.open(request) as content:
            assert content.source == "cache"
            assert dict(content.headers)["Docker-Content-Digest"] == DIGEST
            assert await body_of(content) == DATA
        assert origin.bytes_sent(BLOB) == before


async def test_a_restart_gives_out_no_damaged_piece(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put(BLOB, DATA)
        request = wanted(origin.url(BLOB), digest=DIGEST)
        async with running_contents(tmp_path) as contents:
            await get(contents, request)
        (name,) = files_in(tmp_path)
        with (tmp_path / "repo" / name).open("r+b") as file:
            file.seek(PIECE + 7)
            file.write(bytes([DATA[PIECE + 7] ^ 1]))
        came: list[bytes] = []
        async with running_contents(tmp_path) as contents:
            async with await contents.open(request) as content:
                with pytest.raises(ContentFailed, match="damaged"):
                    await drained(content.read(), came)
            assert DATA.startswith(b"".join(came))
            assert await get(contents, request) == DATA


async def test_a_restart_goes_on_with_half_a_download(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put(BLOB, DATA, stall_at=3 * PIECE + 5)
        request = wanted(origin.url(BLOB), digest=DIGEST)
        async with running_contents(tmp_path) as contents, await contents.open(request) as content:
            await first_of(content.read(), 3 * PIECE)
        origin.put(BLOB, DATA)
        before = origin.bytes_sent(BLOB)
        async with running_contents(tmp_path) as contents:
            assert await get(contents, request) == DATA
        assert 0 < origin.bytes_sent(BLOB) - before <= len(DATA) - 3 * PIECE


async def test_what_was_unused_for_longest_goes_first(tmp_path: Path) -> None:
    with OriginServer() as origin:
        for name in "abc":
            origin.put(f"/{name}", DATA[:100_000])
        bounds = Bounds(store_bytes=250_000)
        async with running_contents(tmp_path, bounds=bounds) as contents:
            for name in "abac":  # the third is a hit, so that b is the one to go
                await get(contents, wanted(origin.url(f"/{name}")))
            sources = {
                name: (await get_with_source(contents, wanted(origin.url(f"/{name}"))))[1]
                for name in "ac"
            }
            assert sources == {"a": "cache", "c": "cache"}
            assert len(origin.requests("/b")) == 2
            await get(contents, wanted(origin.url("/b")))
            assert [seen.method for seen in origin.requests("/b")] == ["HEAD", "GET"] * 2
        assert len(files_in(tmp_path)) == 2


async def test_what_is_being_read_never_goes(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/a", DATA[:100_000])
        origin.put("/b", DATA[:200_000])
        bounds = Bounds(store_bytes=250_000)
        async with running_contents(tmp_path, bounds=bounds) as contents:
            async with await contents.open(wanted(origin.url("/a"))) as content:
                with pytest.raises(Unsuitable, match="no room"):
                    await contents.open(wanted(origin.url("/b")))
                assert await body_of(content) == DATA[:100_000]
            assert await get(contents, wanted(origin.url("/b"))) == DATA[:200_000]


async def test_left_overs_go(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    repo.mkdir()
    for name in ("stray", "x.service", "x.service.pieces"):
        (repo / name).write_bytes(b"?")
        os.utime(repo / name, (1, 1))
    (repo / "fresh").write_bytes(b"!")
    async with running_contents(tmp_path):
        await until(lambda: not (repo / "stray").exists())
    assert sorted(path.name for path in repo.iterdir() if path.is_file()) == ["fresh"]


# --- clients that leave ---


async def test_a_download_that_all_have_left_ends_and_leaves_no_file(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA, stall_at=2 * PIECE)
        async with running_contents(tmp_path, linger_s=0.0) as contents:
            async with await contents.open(wanted(origin.url("/f"))) as content:
                await anext(content.read())
            await until(lambda: not files_in(tmp_path))


async def test_a_download_that_is_half_done_goes_on(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA, stall_at=6 * PIECE + 5)
        async with running_contents(tmp_path, linger_s=0.0) as contents:
            async with await contents.open(wanted(origin.url("/f"))) as content:
                await first_of(content.read(), 6 * PIECE)
            origin.release()
            await until(lambda: origin.bytes_sent("/f") == len(DATA))
            assert await get(contents, wanted(origin.url("/f"))) == DATA
        assert origin.bytes_sent("/f") == len(DATA)
