"""The client and its pool against servers that behave, misbehave, or vanish."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

import pytest
import trio

from damselfly.net.http import (
    BadAnswer,
    ConnectFailed,
    ConnectionLost,
    HttpError,
    HttpPool,
    HttpRequest,
    HttpResponse,
    ShortBody,
    StalledError,
)

from .http_support import (
    Script,
    answering,
    answering_then_open,
    read_request,
    scripted,
    serving,
    silent,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from damselfly.net.http import HttpReply

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nhello"


async def get(pool: HttpPool, port: int, target: str = "/", *, timeout_s: float = 5) -> bytes:
    _, _, body = await pool.call("127.0.0.1", port, "GET", target, timeout_s=timeout_s)
    return body


async def read_all(reply: HttpReply, portion: int) -> bytes:
    body = b""
    buffer = memoryview(bytearray(portion))
    while count := await reply.readinto(buffer):
        body += buffer[:count]
    return body


# --- requests -------------------------------------------------------------------------------------


async def test_request_headers_and_body_reach_the_server() -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        lines = [f"{request.method} {request.target}", *[": ".join(h) for h in request.headers]]
        return HttpResponse(200, ("\n".join(lines).encode(), b"\n", request.body))

    async with serving(handler) as port, HttpPool() as pool:
        _, _, body = await pool.call(
            "127.0.0.1", port, "POST", "/p?q=1", [("X-One", "a b")], b"body", timeout_s=5
        )
        assert body.decode().split("\n") == [
            "POST /p?q=1",
            f"host: 127.0.0.1:{port}",
            "x-one: a b",
            "content-length: 4",
            "body",
        ]
        _, _, body = await pool.call("127.0.0.1", port, "POST", "/", timeout_s=5)
        assert "content-length: 0" in body.decode().split("\n")


async def test_a_target_is_made_fit_for_the_request_line() -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, (request.target.encode(),))

    async with serving(handler) as port, HttpPool() as pool:
        assert await get(pool, port, "/a b\r\nX: y") == b"/a%20b%0D%0AX:%20y"
        assert await get(pool, port, "/\u00fc%20?a=~@:/&b=[]") == b"/%C3%BC%20?a=~@:/&b=[]"


@pytest.mark.parametrize(
    "header", [("X", "a\r\nY: b"), ("X Y", "a"), ("X", "\u00e4"), ("X", "\u20ac")]
)
async def test_a_header_that_http_forbids_is_the_callers_mistake(header: tuple[str, str]) -> None:
    async with HttpPool() as pool:
        with pytest.raises(ValueError, match="request GET '/' to 127"):
            await pool.call("127.0.0.1", 1, "GET", "/", [header], timeout_s=1)


async def test_an_ipv6_host_is_put_in_brackets() -> None:
    async with HttpPool() as pool:
        with pytest.raises(ConnectFailed, match=r"^\[::1\]:1: no connection: "):
            await pool.call("::1", 1, "GET", "/", timeout_s=5)


# --- bodies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [OK, CHUNKED, UNTIL_CLOSE])
@pytest.mark.parametrize("portion", [1, 3, 100])
async def test_every_framing_gives_the_same_body(answer: bytes, portion: int) -> None:
    async with (
        scripted(answering(answer)) as server,
        HttpPool() as pool,
        pool.open("127.0.0.1", server.port, "GET", "/", timeout_s=5) as reply,
    ):
        assert reply.status == 200
        assert reply.content_length == (5 if answer is OK else None)
        assert not reply.is_complete
        assert await read_all(reply, portion) == b"hello"
        assert reply.is_complete
        assert await reply.readinto(memoryview(bytearray(1))) == 0


async def test_bodies_that_come_byte_by_byte_are_put_together() -> None:
    async def dribble(stream: trio.SocketStream) -> None:
        for answer in (OK, CHUNKED):
            await read_request(stream)
            for byte in answer:
                await stream.send_all(bytes([byte]))

    async with scripted(dribble) as server, HttpPool() as pool:
        assert await get(pool, server.port) == b"hello"
        assert await get(pool, server.port) == b"hello"


async def test_a_large_body_arrives_whole() -> None:
    content = bytes(range(256)) * 40_000

    async def handler(_: HttpRequest) -> HttpResponse:
        return HttpResponse(200, (content,))

    async with serving(handler) as port, HttpPool() as pool:
        status, headers, body = await pool.call(
            "127.0.0.1", port, "GET", "/", timeout_s=5, max_body=len(content)
        )
        assert status == 200
        assert ("content-length", str(len(content))) in headers
        assert body == content
        with pytest.raises(BadAnswer, match=f"above {len(content) - 1} bytes"):
            await pool.call("127.0.0.1", port, "GET", "/", timeout_s=5, max_body=len(content) - 1)


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ],
)
async def test_an_answer_without_a_body_is_complete_at_once(method: str, answer: bytes) -> None:
    async with scripted(answering(answer, answer)) as server, HttpPool() as pool:
        for _ in range(2):
            async with pool.open("127.0.0.1", server.port, method, "/", timeout_s=5) as reply:
                assert reply.is_complete
                assert await reply.read(0) == b""
        assert server.connections == 1


async def test_interim_answers_are_skipped_but_not_for_ever() -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    scripts = [answering(interim * count + OK) for count in (2, 100)]
    async with scripted(*scripts) as server, HttpPool() as pool:
        assert await get(pool, server.port) == b"hello"
        with pytest.raises(BadAnswer, match="interim"):
            await get(pool, server.port)


async def test_headers_have_lower_case_names() -> None:
    answer = OK.replace(b"\r\n\r\n", b"\r\nX-Thing: Value\r\n\r\n")
    async with (
        scripted(answering(answer)) as server,
        HttpPool() as pool,
        pool.open("127.0.0.1", server.port, "GET", "/", timeout_s=5) as reply,
    ):
        assert reply.header("x-thing") == "Value"
        assert reply.header("absent") is None


# --- failures -------------------------------------------------------------------------------------


def answering_then_reset(answer: bytes) -> Script:
    async def script(stream: trio.SocketStream) -> None:
        await answering(answer)(stream)
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return script


@pytest.mark.parametrize(
    ("script", "error", "text"),
    [
        (answering(OK[:-3]), ShortBody, "after 2 of 5 bytes"),
        (answering(CHUNKED[:-9]), ShortBody, "body ended after"),
        (answering(CHUNKED.replace(b"3\r", b"z\r")), BadAnswer, "bad chunk"),
        (answering(b"SSH-2.0-OpenSSH\r\n"), BadAnswer, "not an HTTP/1.1 answer"),
        (answering(OK[:20]), BadAnswer, "not an HTTP/1.1 answer"),
        (answering(OK.replace(b"5", b"five")), BadAnswer, "not an HTTP/1.1 answer"),
        (answering(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000), BadAnswer, "not an HTTP/1.1"),
        (answering(b""), ConnectionLost, "closed the connection without an answer"),
        (silent(), StalledError, "no answer for 0.1 s"),
        (silent(OK[:20]), StalledError, "no answer for 0.1 s"),
        (silent(OK[:-3]), StalledError, "no byte for 0.1 s in the body, after 2 of 5 bytes"),
        (silent(CHUNKED[:-9]), StalledError, "no byte for 0.1 s in the body"),
        (answering_then_reset(OK[:-3]), ConnectionLost, "broke after 2 of 5 bytes of the body"),
        (answering_then_reset(CHUNKED[:-9]), ConnectionLost, "connection broke after"),
    ],
)
async def test_a_bad_answer_is_named(script: Script, error: type[HttpError], text: str) -> None:
    async with scripted(script) as server, HttpPool() as pool:
        with pytest.raises(error, match=text) as caught:
            await get(pool, server.port, timeout_s=0.1)
        assert caught.value.peer == f"127.0.0.1:{server.port}"
        assert str(caught.value).startswith(caught.value.peer)
        assert server.connections == 1


async def test_a_stall_can_be_caught_beside_the_body() -> None:
    async with (
        scripted(silent(OK[:-3])) as server,
        HttpPool() as pool,
        pool.open("127.0.0.1", server.port, "GET", "/", timeout_s=0.1) as reply,
    ):
        buffer = memoryview(bytearray(10))
        assert await reply.readinto(buffer) == 2
        with pytest.raises(StalledError):
            await reply.readinto(buffer)


async def test_the_callers_own_waits_are_no_stall() -> None:
    async with (
        scripted(answering(OK)) as server,
        HttpPool() as pool,
        pool.open("127.0.0.1", server.port, "GET", "/", timeout_s=0.05) as reply,
    ):
        await trio.sleep(0.15)
        assert await reply.read(10) == b"hello"


async def test_a_server_that_does_not_read_stalls_the_request() -> None:
    async def hold(_: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with scripted(hold) as server, HttpPool() as pool:
        with pytest.raises(StalledError, match="took no byte of the request"):
            await pool.call(
                "127.0.0.1", server.port, "POST", "/", (), bytes(32 << 20), timeout_s=0.1
            )


async def test_a_server_that_resets_while_we_send_is_a_lost_connection() -> None:
    async def refuse(stream: trio.SocketStream) -> None:
        await stream.receive_some(1)

    async with scripted(refuse) as server, HttpPool() as pool:
        with pytest.raises(ConnectionLost, match="connection broke"):
            await pool.call("127.0.0.1", server.port, "POST", "/", (), bytes(32 << 20), timeout_s=5)


async def test_a_reset_instead_of_an_answer_is_a_lost_connection() -> None:
    async def reset(stream: trio.SocketStream) -> None:
        await stream.receive_some(1)

    async with scripted(reset) as server, HttpPool() as pool:
        with pytest.raises(ConnectionLost):
            await get(pool, server.port)


async def test_a_reset_inside_the_head_is_a_bad_answer() -> None:
    async def reset(stream: trio.SocketStream) -> None:
        await stream.receive_some(1)
        await stream.send_all(OK[:10])

    async with scripted(reset) as server, HttpPool() as pool:
        with pytest.raises(BadAnswer, match="head is cut off"):
            await get(pool, server.port)


@pytest.mark.parametrize(
    ("host", "port", "text"),
    [
        ("127.0.0.1", 1, "127.0.0.1:1: no connection: Connection refused"),
        ("no.such.host.invalid", 80, "no.such.host.invalid:80: no connection: "),
        ("a..b", 80, "a..b:80: no connection: "),
        ("a\r\nb", 80, "not the address of a host"),
        ("\u00fc", 80, "not the address of a host"),
        ("127.0.0.1", 0, "not the address of a host"),
        ("127.0.0.1", 70000, "not the address of a host"),
    ],
)
async def test_no_connection_says_why(host: str, port: int, text: str) -> None:
    async with HttpPool() as pool:
        with pytest.raises(ConnectFailed) as caught:
            await pool.call(host, port, "GET", "/", timeout_s=5)
        assert text in str(caught.value)


async def test_a_connection_that_is_not_accepted_in_time_fails() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        queue = [socket.socket() for _ in range(4)]
        for sock in queue:
            sock.setblocking(False)
            sock.connect_ex(address)
        async with HttpPool() as pool:
            with pytest.raises(ConnectFailed, match=r"no connection within 0\.1 s"):
                await get(pool, address[1], timeout_s=0.1)
        for sock in queue:
            sock.close()


async def test_a_cancelled_call_closes_its_connection() -> None:
    gone = trio.Event()

    async def wait(stream: trio.SocketStream) -> None:
        await read_request(stream)
        assert await stream.receive_some() == b""
        gone.set()

    async with scripted(wait) as server, HttpPool() as pool:
        with trio.move_on_after(0.05):
            await get(pool, server.port)
        with trio.fail_after(5):
            await gone.wait()


# --- the pool -------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [OK, CHUNKED])
async def test_a_connection_is_used_again(answer: bytes) -> None:
    async with scripted(answering(answer, answer, answer)) as server, HttpPool() as pool:
        for _ in range(3):
            assert await get(pool, server.port) == b"hello"
        assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        UNTIL_CLOSE,
        OK.replace(b"1.1", b"1.0"),
        OK.replace(b"Content", b"Connection: Close\r\nContent"),
        OK.replace(b"Content", b"Connection: x, close\r\nContent"),
        OK + b"more",
        CHUNKED + b"more",
    ],
)
async def test_a_connection_that_cannot_go_on_is_closed(answer: bytes) -> None:
    first = answering if answer is UNTIL_CLOSE else answering_then_open
    async with scripted(first(answer), answering(OK)) as server, HttpPool() as pool:
        assert await get(pool, server.port) == b"hello"
        _, _, body = await pool.call("127.0.0.1", server.port, "POST", "/", timeout_s=5)
        assert body == b"hello"
        assert server.connections == 2


async def test_a_connection_with_an_unread_body_is_closed() -> None:
    async with scripted(answering_then_open(OK), answering(OK)) as server, HttpPool() as pool:
        async with pool.open("127.0.0.1", server.port, "GET", "/", timeout_s=5) as reply:
            assert await reply.readinto(memoryview(bytearray(4))) == 4
        assert await get(pool, server.port) == b"hello"
        assert server.connections == 2


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("end", [answering, answering_then_reset])
async def test_a_connection_closed_while_idle_is_not_used(
    method: str, end: Callable[[bytes], Script]
) -> None:
    closed = trio.Event()

    async def once(stream: trio.SocketStream) -> None:
        await end(OK)(stream)
        await stream.aclose()
        closed.set()

    async with scripted(once, answering(OK)) as server, HttpPool() as pool:
        assert await get(pool, server.port) == b"hello"
        await closed.wait()
        _, _, body = await pool.call("127.0.0.1", server.port, method, "/", timeout_s=5)
        assert body == b"hello"
        assert server.connections == 2


async def close_on_second(stream: trio.SocketStream) -> None:
    await answering(OK)(stream)
    await read_request(stream)


async def test_a_get_on_a_connection_that_dies_is_sent_again() -> None:
    async with scripted(close_on_second, answering(OK)) as server, HttpPool() as pool:
        assert await get(pool, server.port) == b"hello"
        assert await get(pool, server.port) == b"hello"
        assert server.connections == 2


async def test_it_is_sent_again_only_once() -> None:
    async with scripted(close_on_second, answering(b"")) as server, HttpPool() as pool:
        assert await get(pool, server.port) == b"hello"
        with pytest.raises(ConnectionLost):
            await get(pool, server.port)
        assert server.connections == 2


async def test_a_post_on_a_connection_that_dies_is_not_sent_again() -> None:
    async with scripted(close_on_second, answering(OK)) as server, HttpPool() as pool:
        assert await get(pool, server.port) == b"hello"
        with pytest.raises(ConnectionLost):
            await pool.call("127.0.0.1", server.port, "POST", "/", timeout_s=5)
        assert server.connections == 1


async def test_an_answer_that_began_is_not_asked_for_again() -> None:
    async def cut(stream: trio.SocketStream) -> None:
        await answering(OK, OK[:12])(stream)

    async with scripted(cut, answering(OK)) as server, HttpPool() as pool:
        assert await get(pool, server.port) == b"hello"
        with pytest.raises(BadAnswer):
            await get(pool, server.port)
        assert server.connections == 1


async def test_idle_connections_are_bounded() -> None:
    async with scripted(answering(*[OK] * 9)) as server, HttpPool(idle_per_host=2) as pool:
        for expected in (3, 4):
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(get, pool, server.port)
            assert server.connections == expected


async def test_idle_connections_are_bounded_over_all_hosts() -> None:
    async with (
        scripted(answering(OK, OK)) as one,
        scripted(answering(OK, OK)) as other,
        HttpPool(idle_total=1) as pool,
    ):
        for _ in range(2):
            assert await get(pool, one.port) == b"hello"
            assert await get(pool, other.port) == b"hello"
        assert (one.connections, other.connections) == (1, 2)


async def test_idle_connections_expire() -> None:
    gone = trio.Event()

    async def first(stream: trio.SocketStream) -> None:
        await answering(OK)(stream)
        assert await stream.receive_some() == b""
        gone.set()

    async with scripted(first, answering(OK)) as server, HttpPool(idle_expiry_s=0.05) as pool:
        assert await get(pool, server.port) == b"hello"
        await trio.sleep(0.1)
        assert await get(pool, server.port) == b"hello"
        assert server.connections == 2
        with trio.fail_after(5):
            await gone.wait()


async def test_closing_the_pool_closes_idle_connections_and_later_those_in_use() -> None:
    gone: list[int] = []
    all_gone = trio.Event()

    async def script(stream: trio.SocketStream) -> None:
        await answering(OK)(stream)
        assert await stream.receive_some() == b""
        gone.append(1)
        if len(gone) == 2:
            all_gone.set()

    async with scripted(script) as server:
        pool = HttpPool()
        async with pool.open("127.0.0.1", server.port, "GET", "/", timeout_s=5) as reply:
            assert await get(pool, server.port) == b"hello"
            await pool.aclose()
            assert await reply.read(10) == b"hello"
        with trio.fail_after(5):
            await all_gone.wait()
