"""Bodies that come bit by bit, both ways, and connections that are taken over."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

import pytest
import trio

from damselfly.net.http import (
    FileSlice,
    HttpRequest,
    HttpResponse,
    Part,
    Response,
    ServerLimits,
    StreamedRequest,
    StreamedResponse,
    TakeOver,
    Transport,
    open_listeners,
    serve_http,
)

from .http_support import GET, RawClient, ask, port_of, serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable
    from pathlib import Path

POST = b"POST / HTTP/1.1\r\nHost: x\r\n"


class Bits:
    """A body of ``parts``, the exceptions among them raised, the events waited for."""

    def __init__(self, parts: Iterable[Part | Exception | trio.Event]) -> None:
        self._parts = iter(parts)
        self.closed = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Part:
        for part in self._parts:
            if isinstance(part, trio.Event):
                await part.wait()
            elif isinstance(part, Exception):
                raise part
            else:
                return part
        raise StopAsyncIteration

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self.closed += 1


class Streaming:
    """A handler that streams one body; what was told at its end is in ``ends``."""

    def __init__(
        self, *parts: Part | Exception | trio.Event, length: int | None = None, status: int = 200
    ) -> None:
        self.body = Bits(parts)
        self.ends: list[tuple[bool, int]] = []
        self.ended = trio.Event()
        self._length = length
        self._status = status

    async def __call__(self, request: HttpRequest) -> Response:
        if request.target != "/":
            return HttpResponse(200, (b"next",))
        headers = (("Content-Type", "a/b"), ("Date", "then"))
        return StreamedResponse(self._status, headers, self.body, self._length, self._end)

    def _end(self, complete: bool, count: int) -> None:
        self.ends.append((complete, count))
        self.ended.set()


async def whole(port: int, request: bytes = GET) -> tuple[bytes, bytes]:
    """Return head and body of everything that comes until the connection ends."""
    async with await RawClient.connect(port) as client:
        await client.send(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        head, _, body = (await client.rest()).partition(b"\r\n\r\n")
        return head, body


@pytest.fixture
def content(tmp_path: Path) -> Iterable[int]:
    path = tmp_path / "content"
    path.write_bytes(b"0123456789" * 10)
    fd = os.open(path, os.O_RDONLY)
    yield fd
    os.close(fd)


async def test_a_body_of_known_length_keeps_the_connection(content: int) -> None:
    handler = Streaming(b"ab", b"", FileSlice(content, 5, 10), b"c", length=13)
    async with serving(handler) as port, await RawClient.connect(port) as client:
        await client.send(GET + GET.replace(b"/ ", b"/next "))
        status, head, body = await client.answer()
        assert (status, body) == (200, b"ab5678901234c")
        assert b"content-type: a/b\r\n" in head
        assert b"date: then\r\n" in head
        assert head.count(b"date:") == 1
        assert (await client.answer())[2] == b"next"
        assert handler.ends == [(True, 13)]
        assert handler.body.closed == 1


async def test_a_body_of_unknown_length_comes_in_chunks(content: int) -> None:
    handler = Streaming(b"ab", FileSlice(content, 0, 20), b"c")
    async with serving(handler) as port:
        head, body = await whole(port)
        assert b"Transfer-Encoding: chunked" in head
        assert body == b"2\r\nab\r\n14\r\n" + b"0123456789" * 2 + b"\r\n1\r\nc\r\n0\r\n\r\n"
        assert handler.ends == [(True, 23)]


async def test_http_1_0_gets_no_chunks() -> None:
    async with serving(Streaming(b"ab", b"c")) as port, await RawClient.connect(port) as client:
        await client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        head, _, body = (await client.rest()).partition(b"\r\n\r\n")
        assert body == b"abc"
        assert b"Connection: close" in head
        assert b"chunked" not in head


@pytest.mark.parametrize("status", [204, 304])
async def test_statuses_without_a_body_have_none(status: int) -> None:
    async with serving(Streaming(b"ab", status=status)) as port:
        head, body = await whole(port)
        assert body == b""
        assert b"Content-Length" not in head
        assert b"chunked" not in head


async def test_head_has_the_length_and_no_body() -> None:
    handler = Streaming(b"ab", length=2)
    async with serving(handler) as port:
        head, body = await whole(port, GET.replace(b"GET", b"HEAD"))
        assert body == b""
        assert b"Content-Length: 2" in head
        assert handler.body.closed == 1


async def test_the_head_and_what_is_there_go_out_at_once() -> None:
    gate = trio.Event()
    handler = Streaming(b"ab", gate, b"c", length=3)
    async with serving(handler) as port, await RawClient.connect(port) as client:
        await client.send(GET)
        got = b""
        with trio.fail_after(5):
            while not got.endswith(b"\r\n\r\nab"):
                got += await client.stream.receive_some()
        gate.set()
        assert (await client.stream.receive_some()) == b"c"


@pytest.mark.parametrize(
    ("handler", "sent"),
    [
        (lambda: Streaming(b"ab", ValueError("no more"), length=10), 2),
        (lambda: Streaming(b"ab", ValueError("no more")), 2),
        (lambda: Streaming(b"ab", length=10), 2),
        (lambda: Streaming(b"abc", b"de", length=4), 3),
    ],
    ids=["fails", "fails in chunks", "too short", "too long"],
)
async def test_a_broken_body_breaks_the_connection(
    handler: type[Streaming], sent: int, caplog: pytest.LogCaptureFixture
) -> None:
    made = handler()
    async with serving(made) as port, await RawClient.connect(port) as client:
        await client.send(GET)
        with pytest.raises(trio.BrokenResourceError):
            await client.rest()
        assert made.ends == [(False, sent)]
        assert made.body.closed == 1
    assert caplog.records


async def test_a_client_that_leaves_ends_the_body() -> None:
    handler = Streaming(b"ab", trio.Event())
    async with serving(handler) as port:
        async with await RawClient.connect(port) as client:
            await client.send(GET)
            await client.stream.receive_some()
        with trio.fail_after(5):
            await handler.ended.wait()
        assert handler.ends == [(False, 2)]
        assert handler.body.closed == 1


async def test_a_header_that_is_not_the_handler_s_is_a_500(
    caplog: pytest.LogCaptureFixture,
) -> None:
    body = Bits([b"ab"])

    async def handler(_: HttpRequest) -> Response:
        return StreamedResponse(200, (("Content-Length", "9"),), body)

    async with serving(handler) as port:
        assert (await ask(port))[0] == 500
    assert body.closed == 1
    assert "impossible response" in caplog.text


# --- bodies of requests ---------------------------------------------------------------------------

SMALL = ServerLimits(body_bytes=10, body_timeout_s=0.1)


async def collect(request: HttpRequest) -> Response:
    if not isinstance(request, StreamedRequest):
        return HttpResponse(200, (b"no body",))
    parts = [f"{request.stream.length}".encode()]
    if request.target != "/unread":
        while data := await request.stream.receive():
            parts.append(data)
        assert await request.stream.receive() == b""
    return HttpResponse(200, tuple(parts))


@pytest.fixture
async def streaming() -> AsyncGenerator[int]:
    async with trio.open_nursery() as nursery:
        listeners = await open_listeners("127.0.0.1", 0)

        async def serve(*, task_status: trio.TaskStatus[None]) -> None:
            await serve_http(collect, listeners, SMALL, stream_bodies=True, task_status=task_status)

        await nursery.start(serve)
        yield port_of(listeners[0])
        nursery.cancel_scope.cancel()


async def test_bodies_stream_in_and_the_connection_serves_on(streaming: int) -> None:
    async with await RawClient.connect(streaming) as client:
        await client.send(POST + b"Content-Length: 30\r\n\r\n" + b"x" * 15)
        await client.send(b"y" * 15 + POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
        assert (await client.answer())[2] == b"30" + b"x" * 15 + b"y" * 15
        await client.send(b"1\r\nc\r\n0\r\n\r\n" + GET + POST + b"Content-Length: 0\r\n\r\n")
        assert (await client.answer())[2] == b"Noneabc"
        assert (await client.answer())[2] == b"no body"
        assert (await client.answer())[2] == b"no body"


async def test_a_body_that_nobody_read_ends_the_connection(streaming: int) -> None:
    async with await RawClient.connect(streaming) as client:
        request = POST.replace(b"/ ", b"/unread ")
        await client.send(request + b"Content-Length: 3000\r\n\r\n" + bytes(2000))
        status, head, body = await client.answer()
        assert (status, body) == (200, b"3000")
        assert b"connection: close" in head
        await client.send(bytes(1000))
        assert await client.rest() == b""


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"Content-Length: 5\r\n\r\nab", 408),
        (b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n", 400),
    ],
)
async def test_bad_bodies_get_a_status(streaming: int, data: bytes, status: int) -> None:
    async with await RawClient.connect(streaming) as client:
        await client.send(POST + data)
        assert (await client.answer())[0] == status


async def test_a_client_that_leaves_in_its_body_is_no_failure(
    streaming: int, caplog: pytest.LogCaptureFixture
) -> None:
    for end in ("fin", "reset"):
        client = await RawClient.connect(streaming)
        await client.send(POST + b"Content-Length: 5\r\n\r\nab")
        if end == "fin":
            await client.stream.aclose()
        else:
            client.reset()
    assert (await ask(streaming))[2] == b"no body"
    assert caplog.records == []


# --- taking over ----------------------------------------------------------------------------------


async def test_a_connect_is_taken_over_with_what_came_early() -> None:
    closed = trio.Event()

    async def run(client: Transport, ahead: bytes) -> None:
        await client.send(ahead.upper() + await client.receive(100), 5)

    async def handler(request: HttpRequest) -> Response:
        assert request.target == "h:1"
        return TakeOver(run, closed.set)

    async with serving(handler) as port, await RawClient.connect(port) as client:
        await client.send(b"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\nearly")
        assert (await client.answer())[0] == 200
        await client.send(b" late")
        assert await client.rest() == b"EARLY late"
        with trio.fail_after(5):
            await closed.wait()
