"""The server as clients see it: requests, answers, and what becomes of a held handler."""

from __future__ import annotations

import errno
import logging
import os
import resource
import socket
from typing import TYPE_CHECKING

import pytest
import trio

from damselfly.engine.errors import ConfigError, RemoteProtocolError
from damselfly.net.http import (
    HttpRequest,
    HttpResponse,
    ServerLimits,
    open_listeners,
    serve_http,
)

from .http_support import GET, RawClient, ask, echo, port_of, serving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SMALL = ServerLimits(
    head_bytes=512,
    body_bytes=4096,
    head_timeout_s=0.1,
    body_timeout_s=0.1,
    send_timeout_s=0.1,
    idle_timeout_s=5,
)


def post(size: int, *, headers: bytes = b"") -> bytes:
    return b"POST /p HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n" % (headers, size)


async def test_a_get_and_a_post_are_answered() -> None:
    async with serving() as port:
        status, head, body = await ask(port, GET)
        assert (status, body) == (200, b"GET / 0")
        assert b"content-type: text/plain\r\n" in head
        assert b"date: " in head
        assert (await ask(port, post(3) + b"abc"))[2] == b"POST /p 3"


async def test_the_handler_learns_the_address_of_the_client() -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, (request.client_host.encode(),))

    async with serving(handler) as port:
        assert (await ask(port))[2] == b"127.0.0.1"


async def test_a_connection_serves_one_request_after_another() -> None:
    async with serving() as port, await RawClient.connect(port) as client:
        for request in (GET, post(2) + b"ab", GET):
            await client.send(request)
            assert (await client.answer())[0] == 200


async def test_pipelined_requests_are_answered_in_order() -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        await trio.lowlevel.checkpoint()
        return HttpResponse(200, (request.target.encode(),))

    async with serving(handler) as port, await RawClient.connect(port) as client:
        targets = [b"/%d" % number for number in range(200)]
        await client.send(b"".join([GET.replace(b"/ ", t + b" ") for t in targets]))
        assert [(await client.answer())[2] for _ in targets] == targets


async def test_a_head_that_trickles_in_is_served() -> None:
    async with serving() as port, await RawClient.connect(port) as client:
        for byte in GET + post(2) + b"ab":
            await client.send(bytes([byte]))
        assert (await client.answer())[2] == b"GET / 0"
        assert (await client.answer())[2] == b"POST /p 2"


async def test_head_gets_no_body() -> None:
    async with serving() as port, await RawClient.connect(port) as client:
        await client.send(GET.replace(b"GET", b"HEAD") + GET)
        _, head, body = await client.answer(head_only=True)
        assert b"content-length: 8\r\n" in head
        assert body == b""
        assert (await client.answer())[2] == b"GET / 0"


@pytest.mark.parametrize(
    "request_bytes",
    [b"GET / HTTP/1.0\r\n\r\n", GET.replace(b"Host", b"Connection: close\r\nHost")],
)
async def test_who_asks_to_close_is_told_so_and_closed(request_bytes: bytes) -> None:
    async with serving() as port, await RawClient.connect(port) as client:
        await client.send(request_bytes)
        status, head, _ = await client.answer()
        assert status == 200
        assert b"connection: close\r\n" in head
        assert await client.rest() == b""


async def test_a_client_that_expects_continue_gets_it() -> None:
    async with serving() as port, await RawClient.connect(port) as client:
        await client.send(post(2, headers=b"Expect: 100-continue\r\n"))
        assert (await client.answer())[0] == 100
        await client.send(b"ab")
        assert (await client.answer())[2] == b"POST /p 2"


async def test_a_connection_that_says_nothing_leaves_no_trace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as port:
        for end in ("fin", "reset"):
            client = await RawClient.connect(port)
            if end == "fin":
                await client.stream.aclose()
            else:
                client.reset()
        assert (await ask(port))[0] == 200
    assert caplog.records == []


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100), 400),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 1000, 431),
        (b"GET /" + b"a" * 1000, 414),
        (post(5000), 413),
        (post(5000) + bytes(5000), 413),
        (post(5000).replace(b"Content-Length: 5000", b"Transfer-Encoding: br"), 501),
        (b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505),
    ],
)
async def test_bad_requests_get_a_status_and_a_close(data: bytes, status: int) -> None:
    async with serving(limits=SMALL) as port:
        async with await RawClient.connect(port) as client:
            await client.send(data)
            got, head, body = await client.answer()
            assert got == status
            assert b"connection: close\r\n" in head
            assert body.endswith(b"\n")
            assert await client.rest() == b""
        assert (await ask(port))[0] == 200


async def test_an_answer_reaches_a_client_that_is_still_sending_too_much() -> None:
    size = 1 << 20
    async with serving(limits=SMALL) as port, await RawClient.connect(port) as client:
        await client.send(post(size))
        await client.send(bytes(size))
        assert (await client.answer())[0] == 413


async def keep_sending(client: RawClient, data: bytes, every_s: float) -> None:
    with trio.fail_after(5):
        while True:
            await client.send(data)
            await trio.sleep(every_s)


async def test_a_client_that_never_stops_sending_too_much_is_cut_off() -> None:
    async with serving(limits=SMALL) as port, await RawClient.connect(port) as client:
        await client.send(post(1 << 30))
        with pytest.raises(trio.BrokenResourceError):
            await keep_sending(client, bytes(1 << 20), 0)


async def test_a_slow_head_gets_408() -> None:
    async with serving(limits=SMALL) as port, await RawClient.connect(port) as client:
        await client.send(GET[:10])
        assert (await client.answer())[0] == 408
        assert await client.rest() == b""


async def test_a_head_must_be_complete_in_time_however_often_bytes_come() -> None:
    async with serving(limits=SMALL) as port, await RawClient.connect(port) as client:
        await client.send(b"GET /")
        with pytest.raises(trio.BrokenResourceError):
            await keep_sending(client, b"a", 0.02)


async def test_a_stalled_body_gets_408() -> None:
    async with serving(limits=SMALL) as port, await RawClient.connect(port) as client:
        await client.send(post(10) + b"abc")
        assert (await client.answer())[0] == 408


async def test_a_body_in_drops_gets_408() -> None:
    async with serving(limits=SMALL) as port, await RawClient.connect(port) as client:
        await client.send(post(4096))
        with pytest.raises(trio.BrokenResourceError):
            await keep_sending(client, b"a", 0.02)


async def test_a_slow_body_that_keeps_coming_is_served() -> None:
    limits = ServerLimits(body_timeout_s=0.5, head_timeout_s=0.5)
    async with serving(limits=limits) as port, await RawClient.connect(port) as client:
        await client.send(post(8 * 1024))
        for _ in range(8):
            await trio.sleep(0.1)
            await client.send(bytes(1024))
        assert (await client.answer())[2] == b"POST /p 8192"


@pytest.mark.parametrize("part", [GET[:10], post(10) + b"abc"])
async def test_a_client_that_leaves_inside_a_request_is_forgotten(
    part: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[HttpRequest] = []

    async def handler(request: HttpRequest) -> HttpResponse:
        asked.append(request)
        return await echo(request)

    async with serving(handler) as port:
        async with await RawClient.connect(port) as client:
            await client.send(part)
        assert (await ask(port))[0] == 200
    assert len(asked) == 1
    assert caplog.records == []


# --- handlers that fail ---------------------------------------------------------------------------


async def test_an_exception_in_the_handler_is_a_500_and_a_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        if request.target == "/boom":
            raise KeyError("secret detail")
        return await echo(request)

    async with serving(handler) as port, await RawClient.connect(port) as client:
        await client.send(GET.replace(b"/ ", b"/boom "))
        status, _, body = await client.answer()
        assert (status, body) == (500, b"internal error\n")
        await client.send(GET)
        assert (await client.answer())[0] == 200
    assert [record.getMessage() for record in caplog.records] == ["handler failed at GET /boom"]


async def test_a_protocol_error_from_the_handler_is_the_clients_fault(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        raise RemoteProtocolError(f"no such thing: {request.target}", status_hint=416)

    async with serving(handler) as port:
        status, _, body = await ask(port)
        assert (status, body) == (416, b"no such thing: /\n")
    assert caplog.records == []


@pytest.mark.parametrize(
    "impossible",
    [
        HttpResponse(200, headers=(("X", "a\r\nSet-Cookie: b"),)),
        HttpResponse(200, headers=(("X", "\u20ac"),)),
        HttpResponse(200, headers=(("X Y", "a"),)),
        HttpResponse(200, headers=(("Content-Length", "7"),)),
        HttpResponse(200, content_type="text/plain\n"),
        HttpResponse(204, (b"body",)),
        HttpResponse(99),
    ],
)
async def test_an_impossible_response_is_a_500(
    impossible: HttpResponse, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        return impossible if request.target == "/" else await echo(request)

    async with serving(handler) as port, await RawClient.connect(port) as client:
        await client.send(GET + GET.replace(b"/ ", b"/next "))
        assert (await client.answer())[0] == 500
        assert (await client.answer())[2] == b"GET /next 0"
    assert len(caplog.records) == 1


async def test_headers_and_status_of_the_handler_are_sent() -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        if request.target == "/empty":
            return HttpResponse(204)
        return HttpResponse(
            299, (b"x",), headers=(("X-One", "1"), ("Content-Range", "bytes 0-0/1"))
        )

    async with serving(handler) as port, await RawClient.connect(port) as client:
        await client.send(GET)
        status, head, _ = await client.answer()
        assert status == 299
        assert b"x-one: 1\r\n" in head
        assert b"content-range: bytes 0-0/1\r\n" in head
        await client.send(GET.replace(b"/ ", b"/empty "))
        status, head, _ = await client.answer()
        assert status == 204
        assert b"content-" not in head


# --- held requests --------------------------------------------------------------------------------


class Holder:
    """A handler that waits until it is let go or cancelled."""

    def __init__(self) -> None:
        self.started = trio.Event()
        self.release = trio.Event()
        self.cancelled = trio.Event()

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.target != "/hold":
            return await echo(request)
        self.started.set()
        try:
            await self.release.wait()
        except trio.Cancelled:
            self.cancelled.set()
            raise
        return HttpResponse(200, (b"held",))


HOLD = GET.replace(b"/ ", b"/hold ")


async def leave(client: RawClient) -> None:
    await client.stream.aclose()


async def reset(client: RawClient) -> None:
    client.reset()


async def half_close(client: RawClient) -> None:
    await client.stream.send_eof()


@pytest.mark.parametrize("go", [leave, reset, half_close])
@pytest.mark.parametrize("behind", [b"", GET])
async def test_a_held_handler_is_cancelled_when_its_client_goes(
    go: Callable[[RawClient], Awaitable[None]], behind: bytes
) -> None:
    holder = Holder()
    async with serving(holder) as port:
        async with await RawClient.connect(port) as client:
            await client.send(HOLD + behind)
            await holder.started.wait()
            await go(client)
            with trio.fail_after(5):
                await holder.cancelled.wait()
        assert (await ask(port))[0] == 200


async def test_pipelined_bytes_leave_a_held_handler_alone() -> None:
    holder = Holder()
    async with serving(holder) as port, await RawClient.connect(port) as client:
        await client.send(HOLD)
        await holder.started.wait()
        await client.send(GET)
        assert (await ask(port))[0] == 200
        holder.release.set()
        assert (await client.answer())[2] == b"held"
        assert (await client.answer())[2] == b"GET / 0"
    assert not holder.cancelled.is_set()


async def test_a_client_that_stays_after_a_held_answer_is_watched_again() -> None:
    holder = Holder()
    async with serving(holder) as port, await RawClient.connect(port) as client:
        holder.release.set()
        await client.send(HOLD)
        assert (await client.answer())[2] == b"held"
        holder.release = trio.Event()
        holder.started = trio.Event()
        await client.send(HOLD)
        await holder.started.wait()
        await client.stream.aclose()
        with trio.fail_after(5):
            await holder.cancelled.wait()


async def test_cancelling_the_server_closes_everything() -> None:
    holder = Holder()
    listeners = await open_listeners("127.0.0.1", 0)
    port = port_of(listeners[0])
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_http, holder, listeners)
        idle, held = await RawClient.connect(port), await RawClient.connect(port)
        await idle.send(GET)
        await idle.answer()
        await held.send(HOLD)
        await holder.started.wait()
        nursery.cancel_scope.cancel()
    assert holder.cancelled.is_set()
    for client in (idle, held):
        async with client:
            assert await client.rest() == b""
    with pytest.raises(OSError, match="connect"):
        await trio.open_tcp_stream("127.0.0.1", port)


# --- bounds of the whole server -------------------------------------------------------------------


async def test_an_idle_connection_is_closed_in_silence() -> None:
    limits = ServerLimits(idle_timeout_s=0.1)
    async with serving(limits=limits) as port:
        async with await RawClient.connect(port) as never_asks:
            assert await never_asks.rest() == b""
        async with await RawClient.connect(port) as client:
            await client.send(GET)
            await client.answer()
            assert await client.rest() == b""


async def test_the_longest_idle_connection_makes_room() -> None:
    async with (
        serving(limits=ServerLimits(connections=3)) as port,
        await RawClient.connect(port) as first,
        await RawClient.connect(port) as second,
    ):
        for client in (second, first):
            await client.send(GET)
            assert b"connection: close" not in (await client.answer())[1]
        async with await RawClient.connect(port), await RawClient.connect(port) as fourth:
            await fourth.send(GET)
            assert (await fourth.answer())[0] == 200
            assert await second.rest() == b""
            await first.send(GET)
            assert (await first.answer())[0] == 200


async def test_when_all_connections_are_busy_the_next_waits() -> None:
    holder = Holder()
    async with (
        serving(holder, ServerLimits(connections=1)) as port,
        await RawClient.connect(port) as held,
    ):
        await held.send(HOLD)
        await holder.started.wait()
        async with await RawClient.connect(port) as waiting:
            await waiting.send(GET)
            with trio.move_on_after(0.1) as too_early:
                await waiting.answer()
            assert too_early.cancelled_caught
            holder.release.set()
            _, head, body = await held.answer()
            assert body == b"held"
            assert b"connection: close\r\n" in head
            assert (await waiting.answer())[2] == b"GET / 0"


class LogEvent(logging.Handler):
    """Tells a waiting test that something was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.logged = trio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.logged.set()


async def test_out_of_descriptors_it_waits_and_serves_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    handler = LogEvent()
    logging.getLogger("damselfly.net.http").addHandler(handler)
    async with serving() as port:
        sock = trio.socket.socket()
        free = os.dup(0)
        os.close(free)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            await sock.connect(("127.0.0.1", port))
            with trio.fail_after(5):
                await handler.logged.wait()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            logging.getLogger("damselfly.net.http").removeHandler(handler)
        async with RawClient(trio.SocketStream(sock)) as client:
            await client.send(GET)
            assert (await client.answer())[0] == 200
    assert caplog.records[0].getMessage() == "cannot accept a connection: Too many open files"


async def test_a_port_in_use_is_named(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving() as port:
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}") as caught:
            await open_listeners("127.0.0.1", port)
        assert caught.value.errno == errno.EADDRINUSE
    with pytest.raises(OSError, match=r"cannot listen on no\.such\.host\.invalid:80") as caught:
        await open_listeners("no.such.host.invalid", 80)
    assert isinstance(caught.value.__cause__, socket.gaierror)


@pytest.mark.parametrize("field", ["head_bytes", "send_timeout_s", "connections"])
def test_a_limit_of_nothing_is_refused(field: str) -> None:
    with pytest.raises(ConfigError, match=f"server limit {field} is 0"):
        ServerLimits(**{field: 0})
    assert ServerLimits(body_bytes=0).body_bytes == 0
