from __future__ import annotations

import hashlib
import random
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from damselfly.engine.events import (
    OriginEnded,
    OriginEvent,
    OriginFailure,
    OriginOpened,
    OriginPieceStored,
)
from damselfly.engine.ids import FetchId
from damselfly.engine.piece import PieceLayout, PieceSizePolicy
from damselfly.net.origin import OriginReader
from damselfly.net.store import PieceStore

from ..origin_server import DATE, OriginServer
from .origin_support import (
    CONTENT,
    DATA,
    MD5,
    PIECE_SIZE,
    Disk,
    Run,
    effect,
    piece_stored,
    raw_origin,
    read,
    stored_pieces,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def origin() -> Generator[OriginServer]:
    with OriginServer() as origin:
        yield origin


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "data")


@pytest.fixture
async def reader() -> AsyncGenerator[OriginReader]:
    async with OriginReader() as reader:
        yield reader


# --- whole files ----------------------------------------------------------------------------------


async def test_a_file_comes_in_pieces(
    origin: OriginServer, reader: OriginReader, disk: Disk, tmp_path: Path
) -> None:
    origin.put("/file", DATA, etag='"v1"')
    run = await read(reader, effect(origin.url("/file"), wants_md5=True), disk)
    assert run.events == [
        OriginOpened(FetchId(7), len(DATA), PIECE_SIZE, ranged=True, validator='"v1"'),
        *stored_pieces(DATA),
        OriginEnded(FetchId(7), len(DATA), MD5),
    ]
    assert (tmp_path / "data").read_bytes() == DATA
    assert run.body_bytes == origin.bytes_sent("/file") == len(DATA)
    (request,) = origin.requests("/file")
    assert request.headers["accept-encoding"] == "identity"
    assert "range" not in request.headers


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_file_of_unknown_length_ends_where_it_ends(
    origin: OriginServer, reader: OriginReader, disk: Disk, tmp_path: Path, chunked: bool
) -> None:
    origin.put("/file", DATA, chunked=chunked, until_close=not chunked)
    run = await read(reader, effect(origin.url("/file"), wants_md5=True), disk)
    assert run.opened.length == -1
    assert run.ended == OriginEnded(FetchId(7), len(DATA), MD5)
    assert run.events[1:-1] == stored_pieces(DATA)
    assert (tmp_path / "data").read_bytes() == DATA


async def test_a_length_that_is_a_multiple_makes_no_empty_piece(
    origin: OriginServer, reader: OriginReader, disk: Disk
) -> None:
    origin.put("/file", DATA[: 2 * CONTENT], chunked=True)
    run = await read(reader, effect(origin.url("/file")), disk)
    assert run.events[1:] == [
        *stored_pieces(DATA[: 2 * CONTENT]),
        OriginEnded(FetchId(7), 2 * CONTENT),
    ]


@pytest.mark.parametrize("last_byte", [None, 99])
@pytest.mark.parametrize("chunked", [True, False])
async def test_an_empty_file_has_one_empty_piece(
    origin: OriginServer, reader: OriginReader, disk: Disk, chunked: bool, last_byte: int | None
) -> None:
    origin.put("/file", b"", chunked=chunked)
    run = await read(reader, effect(origin.url("/file"), 0, last_byte, wants_md5=True), disk)
    known = last_byte is not None or not chunked
    assert run.opened.length == (0 if known else -1)
    empty = hashlib.md5(b"").hexdigest()
    assert run.events[1:] == [piece_stored(0, b""), OriginEnded(FetchId(7), 0, empty)]


async def test_pieces_may_be_larger_than_what_is_written_at_once(
    origin: OriginServer, reader: OriginReader, disk: Disk, tmp_path: Path
) -> None:
    data = random.Random(1).randbytes(7_000_000)
    origin.put("/file", data)
    asked = effect(origin.url("/file"), piece_size=3_000_005, wants_md5=True)
    run = await read(reader, asked, disk)
    starts = enumerate(range(0, len(data), 3_000_000))
    assert run.events[1:] == [
        *(piece_stored(piece, data[start : start + 3_000_000]) for piece, start in starts),
        OriginEnded(FetchId(7), len(data), hashlib.md5(data).hexdigest()),
    ]
    assert (tmp_path / "data").read_bytes() == data


@pytest.mark.parametrize(("length", "piece_size"), [(1000, 1 << 20), (-1, 4 << 20)])
async def test_a_policy_cuts_by_the_length(
    origin: OriginServer, reader: OriginReader, disk: Disk, length: int, piece_size: int
) -> None:
    origin.put("/file", DATA[:1000], chunked=length < 0)
    asked = effect(origin.url("/file"), piece_size=PieceSizePolicy.ADAPTIVE)
    run = await read(reader, asked, disk)
    assert (run.opened.length, run.opened.piece_size) == (length, piece_size)


@pytest.mark.parametrize(
    ("etag", "last_modified", "validator"),
    [
        ('"v1"', DATE, '"v1"'),
        ('W/"v1"', DATE, DATE),
        ('W/"v1"', "", ""),
        ("", DATE, DATE),
        ("", "yesterday", ""),
        ('"' + "x" * 2000 + '"', "", ""),
    ],
)
async def test_only_strong_validators_count(
    origin: OriginServer,
    reader: OriginReader,
    disk: Disk,
    etag: str,
    last_modified: str,
    validator: str,
) -> None:
    origin.put("/file", DATA, etag=etag, last_modified=last_modified)
    run = await read(reader, effect(origin.url("/file")), disk)
    assert run.opened.validator == validator


@pytest.mark.parametrize(("ranges", "unit"), [(True, "none"), (False, "bytes")])
async def test_ranges_must_be_advertised(
    origin: OriginServer, reader: OriginReader, disk: Disk, ranges: bool, unit: str
) -> None:
    origin.put("/file", DATA, ranges=ranges, accept_ranges=unit)
    assert not (await read(reader, effect(origin.url("/file")), disk)).opened.ranged


# --- parts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("validator", ["", '"v1"', DATE])
async def test_a_part_is_asked_for_by_its_range(
    origin: OriginServer, reader: OriginReader, disk: Disk, tmp_path: Path, validator: str
) -> None:
    origin.put("/file", DATA, etag='"v1"')
    asked = effect(origin.url("/file"), CONTENT, 2 * CONTENT - 1, validator=validator)
    run = await read(reader, asked, disk)
    assert run.events == [
        OriginOpened(FetchId(7), len(DATA), PIECE_SIZE, ranged=True, validator='"v1"'),
        *stored_pieces(DATA[CONTENT : 2 * CONTENT], first=1),
        OriginEnded(FetchId(7), len(DATA)),
    ]
    assert run.body_bytes == CONTENT
    (request,) = origin.requests("/file")
    assert request.headers["range"] == f"bytes={CONTENT}-{2 * CONTENT - 1}"
    assert request.headers.get("if-range", "") == validator
    with (tmp_path / "data").open("rb") as file:
        assert file.read(CONTENT) == bytes(CONTENT)
        assert file.read() == DATA[CONTENT : 2 * CONTENT]


@pytest.mark.parametrize("last_byte", [None, len(DATA) - 1, 10 * CONTENT])
async def test_the_last_part_ends_with_the_file(
    origin: OriginServer, reader: OriginReader, disk: Disk, last_byte: int | None
) -> None:
    origin.put("/file", DATA)
    run = await read(reader, effect(origin.url("/file"), 2 * CONTENT, last_byte), disk)
    assert run.events[1:] == [
        *stored_pieces(DATA[2 * CONTENT :], first=2),
        OriginEnded(FetchId(7), len(DATA)),
    ]


async def test_md5_is_told_only_of_whole_files(
    origin: OriginServer, reader: OriginReader, disk: Disk
) -> None:
    origin.put("/file", DATA)
    for first, last, md5 in [(0, CONTENT - 1, ""), (CONTENT, None, ""), (0, len(DATA) - 1, MD5)]:
        run = await read(reader, effect(origin.url("/file"), first, last, wants_md5=True), disk)
        assert run.ended.md5 == md5


async def test_an_origin_without_ranges_sends_all_from_the_start(
    origin: OriginServer, reader: OriginReader, disk: Disk
) -> None:
    origin.put("/file", DATA, ranges=False)
    run = await read(reader, effect(origin.url("/file"), 0, CONTENT - 1), disk)
    assert not run.opened.ranged
    assert run.events[1:] == [*stored_pieces(DATA), OriginEnded(FetchId(7), len(DATA))]


@pytest.mark.parametrize(("first_byte", "validator"), [(0, '"v1"'), (CONTENT, "")])
async def test_the_whole_file_is_no_part(
    origin: OriginServer, reader: OriginReader, disk: Disk, first_byte: int, validator: str
) -> None:
    origin.put("/file", DATA, ranges=False, etag='"v1"')
    last_byte = first_byte + CONTENT - 1
    asked = effect(origin.url("/file"), first_byte, last_byte, validator=validator)
    run = await read(reader, asked, disk)
    assert run.events == [run.failed]
    assert run.failed.failure is OriginFailure.CHANGED
    assert f"sent the whole file when asked for bytes={first_byte}-" in run.failed.reason


@pytest.mark.parametrize("if_range", [True, False])
@pytest.mark.parametrize("first_byte", [0, CONTENT])
@pytest.mark.parametrize("by_date", [True, False])
async def test_other_content_is_never_mixed_in(
    origin: OriginServer,
    reader: OriginReader,
    disk: Disk,
    first_byte: int,
    if_range: bool,
    by_date: bool,
) -> None:
    date = "Fri, 02 Jan 2026 00:00:00 GMT"
    etag = "" if by_date else '"v2"'
    origin.put("/file", DATA, etag=etag, last_modified=date, if_range=if_range)
    validator = DATE if by_date else '"v1"'
    asked = effect(origin.url("/file"), first_byte, None, validator=validator)
    run = await read(reader, asked, disk)
    assert run.events == [run.failed]
    assert run.failed.failure is OriginFailure.CHANGED
    assert f"expected {validator}, found {etag or date}" in run.failed.reason


async def test_a_part_beyond_the_end_means_change(
    origin: OriginServer, reader: OriginReader, disk: Disk
) -> None:
    origin.put("/file", DATA[:CONTENT])
    run = await read(reader, effect(origin.url("/file"), CONTENT, None), disk)
    assert (run.failed.failure, run.failed.status) == (OriginFailure.CHANGED, 416)
    assert "has no bytes=100000- (416, Content-Range 'bytes */100000')" in run.failed.reason


@pytest.mark.parametrize(
    "content_range",
    [
        "",
        "bytes 0-99999/300456",
        "bytes 100000-199998/300456",
        "bytes 100000-199999/*",
        "bytes 100000-199999/150000",
        "bytes 199999-100000/300456",
        "pieces 100000-199999/300456",
        f"bytes 100000-199999/{'9' * 30}",
    ],
)
async def test_a_206_must_be_what_was_asked_for(
    origin: OriginServer, reader: OriginReader, disk: Disk, content_range: str
) -> None:
    origin.put("/file", DATA, content_range=content_range)
    run = await read(reader, effect(origin.url("/file"), CONTENT, 2 * CONTENT - 1), disk)
    assert run.events == [run.failed]
    assert run.failed.failure is OriginFailure.BAD_ANSWER
    assert f"Content-Range {content_range!r}" in run.failed.reason


@pytest.mark.parametrize(
    ("body", "failure"),
    [(b"99\r\n", OriginFailure.BAD_ANSWER), (b"9\r\n", OriginFailure.SHORT)],
    ids=["long", "short"],
)
async def test_a_chunked_206_is_as_long_as_it_said(
    reader: OriginReader, disk: Disk, body: bytes, failure: OriginFailure
) -> None:
    size = int(body, 16)
    answer = b"HTTP/1.1 206 Partial Content\r\nTransfer-Encoding: chunked\r\n"
    answer += b"Content-Range: bytes 0-99/200\r\n\r\n" + body + bytes(size) + b"\r\n0\r\n\r\n"
    async with raw_origin(answer) as url:
        run = await read(reader, effect(url, 0, 99), disk)
    assert run.failed.failure is failure
    assert run.pieces == []


# --- a task that is a part: the user's own Range --------------------------------------------------


@pytest.mark.parametrize(
    ("user_range", "task"),
    [
        ("bytes=1000-250999", DATA[1000:251000]),
        ("bytes=1000-", DATA[1000:]),
        ("bytes=1000-999999", DATA[1000:]),
    ],
)
async def test_a_users_range_is_the_task(
    origin: OriginServer, reader: OriginReader, disk: Disk, user_range: str, task: bytes
) -> None:
    origin.put("/file", DATA)
    url, headers = origin.url("/file"), (f"Range:{user_range}",)
    run = await read(reader, effect(url, headers=headers, wants_md5=True), disk)
    assert run.opened.length == len(task)
    assert run.opened.ranged
    md5 = hashlib.md5(task).hexdigest()
    assert run.events[1:] == [*stored_pieces(task), OriginEnded(FetchId(7), len(task), md5)]
    part = await read(reader, effect(url, 2 * CONTENT, None, headers=headers), disk)
    assert part.opened.length == len(task)
    assert part.events[1:-1] == stored_pieces(task[2 * CONTENT :], first=2)
    first = await read(reader, effect(url, 0, CONTENT - 1, headers=headers), disk)
    assert first.events[1:-1] == stored_pieces(task[:CONTENT])


async def test_a_range_from_the_end_cannot_be_split(
    origin: OriginServer, reader: OriginReader, disk: Disk
) -> None:
    origin.put("/file", DATA)
    url, headers = origin.url("/file"), ("range: bytes=-1000",)
    run = await read(reader, effect(url, headers=headers), disk)
    assert (run.opened.length, run.opened.ranged) == (1000, False)
    assert run.events[1:-1] == stored_pieces(DATA[-1000:])
    part = await read(reader, effect(url, 0, 99, headers=headers), disk)
    assert part.failed.failure is OriginFailure.BAD_ANSWER
    assert "cannot be read in parts" in part.failed.reason


# --- our own side ---------------------------------------------------------------------------------


async def test_a_full_disk_is_ours(origin: OriginServer, reader: OriginReader) -> None:
    origin.put("/file", DATA)
    run = await read(reader, effect(origin.url("/file")), Disk("/dev/full"))
    assert run.pieces == []
    assert run.failed.failure is OriginFailure.STORE_FULL
    assert "cannot be stored here: No space left on device" in run.failed.reason


async def test_any_other_trouble_with_the_disk_is_ours(
    origin: OriginServer, reader: OriginReader, tmp_path: Path
) -> None:
    origin.put("/file", DATA)
    run = await read(reader, effect(origin.url("/file")), Disk(tmp_path))
    assert run.failed.failure is OriginFailure.STORE_FAILED
    assert "cannot be stored here: Is a directory" in run.failed.reason


async def test_a_disk_that_waits_does_not_hold_up_the_loop(
    origin: OriginServer, reader: OriginReader, disk: Disk
) -> None:
    freed, writing = threading.Event(), trio.Event()
    token = trio.lowlevel.current_trio_token()

    class SlowDisk(Disk):
        def write(self, offset: int, data: memoryview) -> None:
            token.run_sync_soon(writing.set)
            assert freed.wait(60)
            super().write(offset, data)

    origin.put("/file", DATA)
    run = Run()
    async with trio.open_nursery() as nursery:
        slow = SlowDisk(disk.path)
        nursery.start_soon(reader.read, effect(origin.url("/file")), slow, run.events.append)
        with trio.fail_after(60):
            await writing.wait()
        freed.set()
    assert run.events[1:-1] == stored_pieces(DATA)


async def test_a_read_goes_no_faster_than_its_pace(
    origin: OriginServer, reader: OriginReader, disk: Disk
) -> None:
    paced: list[int] = []
    waiting, allowed = trio.Event(), trio.Event()

    async def pace(count: int) -> None:
        paced.append(count)
        waiting.set()
        await allowed.wait()

    origin.put("/file", DATA)
    run = Run()
    async with trio.open_nursery() as nursery:
        asked = effect(origin.url("/file"))
        nursery.start_soon(
            partial(reader.read, asked, disk, run.events.append, run.count, pace=pace)
        )
        with trio.fail_after(60):
            await waiting.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert run.body_bytes == sum(paced) < len(DATA)
        allowed.set()
    assert run.body_bytes == sum(paced) == len(DATA)
    assert run.events[1:-1] == stored_pieces(DATA)


async def test_a_cancelled_read_says_nothing_more_and_lets_go(
    origin: OriginServer, reader: OriginReader, disk: Disk
) -> None:
    origin.put("/file", DATA, stall_at=CONTENT)
    events: list[OriginEvent] = []
    stored = trio.Event()

    def post(event: OriginEvent) -> None:
        events.append(event)
        if isinstance(event, OriginPieceStored):
            stored.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.read, effect(origin.url("/file")), disk, post)
        with trio.fail_after(60):
            await stored.wait()
        nursery.cancel_scope.cancel()
    assert len(events) == 2
    origin.put("/file", DATA)
    run = await read(reader, effect(origin.url("/file")), disk)
    assert run.events[1:-1] == stored_pieces(DATA)
    ports = {request.client_port for request in origin.requests("/file")}
    assert len(ports) == 2, "the broken connection must not be used again"


# --- many reads -----------------------------------------------------------------------------------


async def test_connections_are_kept_and_used_again(
    origin: OriginServer, reader: OriginReader, disk: Disk
) -> None:
    origin.put("/file", DATA)
    for piece in range(4):
        last = (piece + 1) * CONTENT - 1
        await read(reader, effect(origin.url("/file"), piece * CONTENT, last), disk)
    assert len({request.client_port for request in origin.requests("/file")}) == 1


async def test_eight_ranges_at_once_make_one_file(
    origin: OriginServer, reader: OriginReader, tmp_path: Path
) -> None:
    data = random.Random(1).randbytes(16_000_000)
    layout = PieceLayout(len(data), 1_000_005)
    origin.put("/file", data, etag='"v1"')
    events: list[OriginEvent] = []
    with PieceStore.create(tmp_path / "data", "key") as store:
        store.lay_out(layout.length, layout.piece_size, '"v1"', keep=False)

        def post(event: OriginEvent) -> None:
            events.append(event)
            if isinstance(event, OriginPieceStored):
                store.keep(event.piece, event.size, event.digest)

        for first_half in (True, False):
            async with trio.open_nursery() as nursery:
                for part in range(8):
                    first = (part * 2 + (not first_half)) * layout.content_size
                    last = first + layout.content_size - 1
                    asked = effect(origin.url("/file"), first, last, piece_size=layout.piece_size)
                    nursery.start_soon(reader.read, asked, store, post)
        assert store.path.read_bytes() == data
        assert len(store.rehash()) == layout.count
    assert sum(isinstance(event, OriginEnded) for event in events) == 16
    assert origin.bytes_sent("/file") == len(data)
    assert len({request.client_port for request in origin.requests("/file")}) <= 8
