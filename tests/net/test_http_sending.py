"""Bodies: files by sendfile, pacing, and the promise that ``on_closed`` is called once."""

from __future__ import annotations

import hashlib
import os
import random
import socket
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from damselfly.net.http import (
    FileSlice,
    HttpRequest,
    HttpResponse,
    ServerLimits,
    open_listeners,
)
from damselfly.net.http.sending import send_response
from damselfly.net.http.timed import TimedSocket
from damselfly.net.pacing import bucket, pace_of

from .http_support import GET, RawClient, ask, serving

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from trio.testing import MockClock

MIB = 1 << 20
SIZE = 9 * MIB + 12345
CONTENT = random.Random(1).randbytes(SIZE)


@pytest.fixture
def fd(tmp_path: Path) -> Generator[int]:
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


class Closings:
    """Collects what ``on_closed`` is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[bool, int]] = []
        self.called = trio.Event()

    def __call__(self, complete: bool, body_bytes: int) -> None:
        self.calls.append((complete, body_bytes))
        self.called.set()

    async def only(self) -> tuple[bool, int]:
        with trio.fail_after(5):
            await self.called.wait()
        await trio.testing.wait_all_tasks_blocked()
        (call,) = self.calls
        return call


class Offer:
    """A handler that always answers the same, and "next" under another path."""

    def __init__(self, response: HttpResponse) -> None:
        self.response = response

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, (b"next",)) if request.target == "/next" else self.response


NEXT = GET.replace(b"/ ", b"/next ")


async def test_a_large_file_arrives_whole(fd: int) -> None:
    closings = Closings()
    response = HttpResponse(206, (FileSlice(fd, 0, SIZE),), on_closed=closings)
    async with serving(Offer(response)) as port, await RawClient.connect(port) as client:
        await client.send(GET + NEXT)
        status, _, body = await client.answer()
        assert status == 206
        assert hashlib.sha256(body).digest() == hashlib.sha256(CONTENT).digest()
        assert (await client.answer())[2] == b"next"
    assert await closings.only() == (True, SIZE)


async def test_slices_and_bytes_come_in_their_order(fd: int) -> None:
    parts = (
        b"head",
        b"er",
        FileSlice(fd, 5, 100),
        b"",
        FileSlice(fd, 2 * MIB, 3 * MIB),
        FileSlice(fd, 0, 0),
        b"tail",
    )
    expected = b"header" + CONTENT[5:105] + CONTENT[2 * MIB : 5 * MIB] + b"tail"
    async with serving(Offer(HttpResponse(200, parts))) as port:
        assert (await ask(port))[2] == expected


async def test_nothing_is_held_back_behind_a_file(fd: int) -> None:
    listeners = await open_listeners("127.0.0.1", 0)
    with socket.create_connection(listeners[0].socket.getsockname()) as sock:
        response = HttpResponse(200, (FileSlice(fd, 0, 10), b"tail"))
        await send_response(TimedSocket(sock), b"head", response, timeout_s=1, head_only=False)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CORK) == 0
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    for listener in listeners:
        await listener.aclose()


async def test_large_bytes_arrive_whole() -> None:
    closings = Closings()
    response = HttpResponse(200, (CONTENT[: 4 * MIB], CONTENT[4 * MIB :]), on_closed=closings)
    async with serving(Offer(response)) as port:
        assert (await ask(port))[2] == CONTENT
    assert await closings.only() == (True, SIZE)


async def test_head_sends_nothing_of_a_file(fd: int) -> None:
    closings = Closings()
    response = HttpResponse(200, (FileSlice(fd, 0, SIZE),), on_closed=closings)
    async with serving(Offer(response)) as port, await RawClient.connect(port) as client:
        await client.send(GET.replace(b"GET", b"HEAD") + NEXT)
        _, head, _ = await client.answer(head_only=True)
        assert b"content-length: %d\r\n" % SIZE in head
        assert (await client.answer())[2] == b"next"
    assert await closings.only() == (True, 0)


@pytest.mark.parametrize("tail", [(), (b"tail",)])
async def test_a_file_shorter_than_promised_ends_in_a_reset(
    fd: int, tail: tuple[bytes, ...], caplog: pytest.LogCaptureFixture
) -> None:
    closings = Closings()
    parts = (b"head", FileSlice(fd, SIZE - 1000, 2000), *tail)
    async with serving(Offer(HttpResponse(200, parts, on_closed=closings))) as port:
        async with await RawClient.connect(port) as client:
            await client.send(GET)
            with pytest.raises(trio.BrokenResourceError):
                await client.rest()
        assert await closings.only() == (False, 1004)
        assert (await ask(port, NEXT))[2] == b"next"
    (record,) = caplog.records
    assert "file ends at byte" in record.getMessage()


async def test_a_file_that_cannot_be_read_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    closings = Closings()
    response = HttpResponse(200, (FileSlice(directory, 0, 10),), on_closed=closings)
    async with serving(Offer(response)) as port:
        async with await RawClient.connect(port) as client:
            await client.send(GET)
            with pytest.raises(trio.BrokenResourceError):
                await client.rest()
        assert (await ask(port, NEXT))[2] == b"next"
    os.close(directory)
    assert await closings.only() == (False, 0)
    (record,) = caplog.records
    assert record.getMessage().startswith("connection of 127.0.0.1 ended: ")


@pytest.mark.parametrize("in_file", [True, False])
async def test_a_client_that_leaves_midway_is_reported_once(fd: int, in_file: bool) -> None:
    closings = Closings()
    parts = (FileSlice(fd, 0, SIZE),) if in_file else (CONTENT,)
    async with serving(Offer(HttpResponse(200, parts, on_closed=closings))) as port:
        async with await RawClient.connect(port) as client:
            await client.send(GET)
            await client.stream.receive_some(1000)
        complete, count = await closings.only()
        assert not complete
        assert count < SIZE


@pytest.mark.parametrize("in_file", [True, False])
async def test_a_client_that_does_not_read_is_cut_off(fd: int, in_file: bool) -> None:
    closings = Closings()
    parts = (FileSlice(fd, 0, SIZE),) if in_file else (CONTENT,)
    response = HttpResponse(200, parts, on_closed=closings)
    limits = ServerLimits(send_timeout_s=0.1)
    async with serving(Offer(response), limits) as port, await RawClient.connect(port) as client:
        await client.send(GET)
        complete, count = await closings.only()
        assert not complete
        assert 0 < count < SIZE
        with pytest.raises(trio.BrokenResourceError):
            await client.rest()


async def test_a_slow_reader_that_keeps_reading_gets_everything(fd: int) -> None:
    response = HttpResponse(200, (FileSlice(fd, 0, SIZE),))
    limits = ServerLimits(send_timeout_s=0.5)
    async with serving(Offer(response), limits) as port, await RawClient.connect(port) as client:
        await client.send(GET)
        received = bytearray()
        while len(received) < SIZE:
            received += await client.stream.receive_some(MIB)
            await trio.sleep(0.02)
        assert received.endswith(CONTENT)


async def test_shutdown_in_mid_body_is_no_clean_end(fd: int) -> None:
    closings = Closings()
    async with trio.open_nursery() as nursery:
        response = HttpResponse(200, (FileSlice(fd, 0, SIZE),), on_closed=closings)
        async with serving(Offer(response)) as port:
            client = await RawClient.connect(port)
            await client.send(GET)
            await client.stream.receive_some(1000)
        nursery.cancel_scope.cancel()
    async with client:
        with pytest.raises(trio.BrokenResourceError):
            await client.rest()
    complete, count = closings.calls.pop()
    assert not complete
    assert 0 < count < SIZE
    assert not closings.calls


async def test_an_impossible_response_is_closed_too() -> None:
    closings = Closings()
    response = HttpResponse(200, (b"x",), headers=(("X", "a\nb"),), on_closed=closings)
    async with serving(Offer(response)) as port:
        assert (await ask(port))[0] == 500
    assert await closings.only() == (False, 0)


async def test_pacing_is_asked_before_each_chunk(fd: int) -> None:
    asked: list[int] = []

    async def pace(count: int) -> None:
        asked.append(count)
        await trio.lowlevel.checkpoint()

    parts = (b"head", FileSlice(fd, 0, MIB), CONTENT[MIB : 2 * MIB])
    async with serving(Offer(HttpResponse(200, parts, pace=pace))) as port:
        assert (await ask(port))[2] == b"head" + CONTENT[: 2 * MIB]
    assert max(asked) <= 256 << 10
    assert sum(asked) >= 2 * MIB + 4


class Clocked(TimedSocket):
    """Stands in for a socket that takes everything at once, since time is virtual here."""

    def __init__(self) -> None:
        self.sent: list[tuple[float, int]] = [(trio.current_time(), 0)]

    async def send(self, data: bytes | memoryview, timeout_s: float) -> int:
        assert timeout_s == 5
        self.sent.append((trio.current_time(), len(data)))
        return len(data)

    @property
    def longest_silence_s(self) -> float:
        return max(later - sooner for (sooner, _), (later, _) in pairwise(self.sent))


@pytest.mark.parametrize(
    ("streams", "rate", "size"), [(300, MIB, 100_000), (40, 200_000, 400_000), (2, 10 * MIB, SIZE)]
)
async def test_many_that_share_a_low_limit_all_move_all_the_time(
    streams: int, rate: int, size: int, autojump_clock: MockClock
) -> None:
    assert autojump_clock.autojump_threshold == 0, "time is virtual here"
    pace, sockets = pace_of(bucket(rate)), [Clocked() for _ in range(streams)]
    response = HttpResponse(200, (bytes(size),), pace=pace)
    async with trio.open_nursery() as nursery:
        for sock in sockets:
            sent = partial(send_response, timeout_s=5, head_only=False)
            nursery.start_soon(sent, sock, b"head", response)
    took_s = trio.current_time() - sockets[0].sent[0][0]
    assert took_s == pytest.approx(streams * size / rate, rel=0.06)
    assert max(sock.longest_silence_s for sock in sockets) < 8, "v1 and ours give up after 10 s"
    assert max(count for sock in sockets for _, count in sock.sent) <= 256 << 10


async def test_while_pacing_holds_nothing_is_sent(fd: int) -> None:
    release = trio.Event()

    async def pace(_: int) -> None:
        await release.wait()

    response = HttpResponse(200, (FileSlice(fd, 0, 10),), pace=pace)
    limits = ServerLimits(send_timeout_s=0.05)
    async with serving(Offer(response), limits) as port, await RawClient.connect(port) as client:
        await client.send(GET)
        with trio.move_on_after(0.2) as held:
            await client.stream.receive_some()
        assert held.cancelled_caught
        release.set()
        assert (await client.answer())[2] == CONTENT[:10]


async def test_an_error_in_the_callers_pacing_ends_only_that_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    closings = Closings()

    async def pace(_: int) -> None:
        raise ZeroDivisionError

    response = HttpResponse(200, (b"x",), pace=pace, on_closed=closings)
    async with serving(Offer(response)) as port:
        async with await RawClient.connect(port) as client:
            await client.send(GET)
            with pytest.raises(trio.BrokenResourceError):
                await client.rest()
        assert (await ask(port, NEXT))[2] == b"next"
    assert await closings.only() == (False, 0)
    assert [record.getMessage() for record in caplog.records] == ["connection of 127.0.0.1 failed"]
