"""Ranges of a content that comes through the swarm, as clients ask for them."""

from __future__ import annotations

import email
from typing import TYPE_CHECKING, cast

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from damselfly.net.dfdaemon.ranges import Span, plan

from .dfdaemon_support import BLOB, FakeContent, FakeContents, daemon
from .http_support import RawClient

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from email.message import Message

    from .dfdaemon_support import Daemon

DATA = bytes([number * 7 % 251 for number in range(5000)])
URL = "http://127.0.0.1:1" + BLOB
DATE = "Thu, 01 Jan 2026 00:00:00 GMT"


@pytest.fixture
def content() -> FakeContent:
    return FakeContent(DATA, ETag='"e"', Last_Modified=DATE, Content_Type="x/y")


@pytest.fixture
async def server(content: FakeContent) -> AsyncGenerator[Daemon]:
    contents = FakeContents()
    contents.contents[URL] = content
    async with daemon(contents=contents) as running:
        yield running


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("bytes=100-199", 100, 199),
        ("bytes=0-0", 0, 0),
        ("bytes=4000-", 4000, 4999),
        ("bytes=4000-99999", 4000, 4999),
        ("bytes=-10", 4990, 4999),
        ("bytes=-99999", 0, 4999),
        ("Bytes= 7-8", 7, 8),
        ("bytes=7-8,9000-", 7, 8),
    ],
)
async def test_one_range(server: Daemon, wanted: str, first: int, last: int) -> None:
    status, head, body = await server.ask(BLOB, f"Range: {wanted}")
    assert (status, body) == (206, DATA[first : last + 1])
    assert f"content-range: bytes {first}-{last}/5000\r\n".encode() in head
    assert f"content-length: {last - first + 1}\r\n".encode() in head
    assert b'etag: "e"\r\n' in head


@pytest.mark.parametrize("wanted", ["bytes=5000-", "bytes=5000-6000,7000-", "bytes=-0"])
async def test_what_cannot_be_satisfied_is_a_416(server: Daemon, wanted: str) -> None:
    status, head, body = await server.ask(BLOB, f"Range: {wanted}")
    assert (status, body) == (416, b"")
    assert b"content-range: bytes */5000\r\n" in head


@pytest.mark.parametrize(
    "wanted",
    [
        "bytes=5-4",
        "bytes=-",
        "bytes=a-b",
        "lines=1-2",
        "bytes",
        "bytes=0-4999,0-4999",
        "bytes=1 2-3",
    ],
)
async def test_what_makes_no_sense_gets_the_whole(server: Daemon, wanted: str) -> None:
    status, head, body = await server.ask(BLOB, f"Range: {wanted}")
    assert (status, body) == (200, DATA)
    assert b"content-range" not in head


async def test_several_ranges_come_in_parts(server: Daemon) -> None:
    status, head, body = await server.ask(BLOB, "Range: bytes=0-9, 1000-2099, -5")
    assert status == 206
    parsed = email.message_from_bytes(head.partition(b"\r\n")[2] + b"\r\n" + body)
    parts = cast("list[Message]", parsed.get_payload())
    assert [part.get_payload(decode=True) for part in parts] == [
        DATA[:10],
        DATA[1000:2100],
        DATA[-5:],
    ]
    assert [part["content-range"] for part in parts] == [
        "bytes 0-9/5000",
        "bytes 1000-2099/5000",
        "bytes 4995-4999/5000",
    ]
    assert {part["content-type"] for part in parts} == {"x/y"}


@pytest.mark.parametrize(
    ("condition", "status"),
    [('"e"', 206), (DATE, 206), ('"other"', 200), ('W/"e"', 200), ("Fri, 02 Jan 2026", 200)],
)
async def test_if_range(server: Daemon, condition: str, status: int) -> None:
    got, _, body = await server.ask(BLOB, "Range: bytes=1-2", f"If-Range: {condition}")
    assert got == status
    assert body == (DATA if status == 200 else DATA[1:3])


async def test_open_ended_ranges_in_parallel_with_early_close(
    server: Daemon, content: FakeContent
) -> None:
    content.gates[4999] = trio.Event()  # the end is not here yet
    offsets = (0, 1000, 2000, 3000)
    got: dict[int, bytes] = {}

    async def read_some(first: int) -> None:
        async with await RawClient.connect(server.port) as client:
            await client.send(
                f"GET {BLOB} HTTP/1.1\r\nHost: x\r\nRange: bytes={first}-\r\n\r\n".encode()
            )
            data = b""
            while len(data.partition(b"\r\n\r\n")[2]) < 900:
                data += await client.stream.receive_some()
            got[first] = data.partition(b"\r\n\r\n")[2][:900]

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for first in offsets:
                nursery.start_soon(read_some, first)
        while content.users:
            await trio.lowlevel.checkpoint()
    assert got == {first: DATA[first : first + 900] for first in offsets}
    content.gates.clear()
    assert (await server.ask(BLOB))[2] == DATA


async def test_without_a_length_there_are_no_ranges(server: Daemon, content: FakeContent) -> None:
    content.length = None
    async with await RawClient.connect(server.port) as client:
        await client.send(f"GET {BLOB} HTTP/1.0\r\nRange: bytes=1-2\r\nHost: x\r\n\r\n".encode())
        head, _, body = (await client.rest()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert b"Content-Length" not in head
        assert b"Accept-Ranges" not in head
        assert body == DATA


async def test_an_empty_content() -> None:
    contents = FakeContents()
    contents.contents[URL] = FakeContent(b"")
    async with daemon(contents=contents) as server:
        assert (await server.ask(BLOB))[::2] == (200, b"")
        assert (await server.ask(BLOB, "Range: bytes=0-"))[0] == 416


@given(st.text(alphabet="bytes=-, 0123456789", max_size=30), st.integers(0, 50))
def test_no_header_breaks_the_frame(wanted: str, length: int) -> None:
    answer = plan((("range", "bytes=" + wanted),), (), length)
    sizes = [
        len(part) if isinstance(part, bytes) else (part.last or length - 1) - part.first + 1
        for part in answer.segments
    ]
    assert answer.length == sum(sizes)
    for part in answer.segments:
        if isinstance(part, Span) and answer.status == 206:
            assert part.last is not None
            assert 0 <= part.first <= part.last < length
