"""Real servers on loopback, and clients that speak bytes, for the tests of ``net/http``."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Self, TypeAlias

import trio

from damselfly.net.http import (
    Handler,
    HttpRequest,
    HttpResponse,
    PromptHandler,
    ServerLimits,
    open_listeners,
    serve_http,
)

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
Script: TypeAlias = Callable[[trio.SocketStream], Awaitable[None]]


async def echo(request: HttpRequest) -> HttpResponse:
    text = f"{request.method} {request.target} {len(request.body)}"
    return HttpResponse(200, (text.encode(),), "text/plain")


def port_of(listener: trio.SocketListener) -> int:
    return listener.socket.getsockname()[1]


@asynccontextmanager
async def serving(
    handler: Handler = echo,
    limits: ServerLimits | None = None,
    *,
    prompt: PromptHandler | None = None,
) -> AsyncGenerator[int]:
    """Serve on a free port of loopback, which is the value."""
    async with trio.open_nursery() as nursery:
        listeners = await open_listeners("127.0.0.1", 0)
        serve = partial(serve_http, prompt=prompt)
        await nursery.start(serve, handler, listeners, limits or ServerLimits())
        yield port_of(listeners[0])
        nursery.cancel_scope.cancel()


class RawClient:
    """A connection that sends what it is told and cuts answers apart by their length."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._ahead = b""

    @classmethod
    async def connect(cls, port: int) -> Self:
        return cls(await trio.open_tcp_stream("127.0.0.1", port))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stream.aclose()

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def answer(self, *, head_only: bool = False) -> tuple[int, bytes, bytes]:
        """Return status, lower-case head and body of the next answer."""
        with trio.fail_after(5):
            while b"\r\n\r\n" not in self._ahead:
                await self._more()
            head, _, rest = self._ahead.partition(b"\r\n\r\n")
            head = head.lower() + b"\r\n"
            _, mark, length = head.partition(b"content-length: ")
            size = int(length.partition(b"\r\n")[0]) if mark and not head_only else 0
            self._ahead = rest
            while len(self._ahead) < size:
                await self._more()
        body, self._ahead = self._ahead[:size], self._ahead[size:]
        return int(head.split(b" ")[1]), head, body

    async def rest(self) -> bytes:
        """Return all bytes until the other side closes."""
        with trio.fail_after(5):
            while data := await self.stream.receive_some():
                self._ahead += data
        rest, self._ahead = self._ahead, b""
        return rest

    def reset(self) -> None:
        """Close with a RST instead of a FIN."""
        self.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.socket.close()

    async def _more(self) -> None:
        data = await self.stream.receive_some()
        assert data, f"connection closed, with {self._ahead!r} unread"
        self._ahead += data


async def ask(port: int, request: bytes = GET) -> tuple[int, bytes, bytes]:
    """Put one request on a connection of its own."""
    async with await RawClient.connect(port) as client:
        await client.send(request)
        return await client.answer()


class ScriptedServer:
    """Accepts connections and plays one script on each, the last one again and again."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connections = 0
        self.requests: list[bytes] = []


@asynccontextmanager
async def scripted(*scripts: Script) -> AsyncGenerator[ScriptedServer]:
    async with trio.open_nursery() as nursery:
        listeners = await open_listeners("127.0.0.1", 0)
        server = ScriptedServer(port_of(listeners[0]))

        async def play(stream: trio.SocketStream) -> None:
            script = scripts[min(server.connections, len(scripts) - 1)]
            server.connections += 1
            async with stream:
                await script(stream)

        nursery.start_soon(trio.serve_listeners, play, listeners)
        yield server
        nursery.cancel_scope.cancel()


async def read_request(stream: trio.SocketStream) -> bytes:
    """Return the head of a request that has no body; what came of it, if the client leaves."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = await stream.receive_some()
        if not more:
            break
        data += more
    return data


def answering(*answers: bytes) -> Script:
    """Answer one request with each of ``answers``, then close."""

    async def script(stream: trio.SocketStream) -> None:
        for answer in answers:
            if not await read_request(stream):
                return
            await stream.send_all(answer)

    return script


def answering_then_open(*answers: bytes) -> Script:
    """Answer as ``answering`` does, then keep the connection until the client closes it."""

    async def script(stream: trio.SocketStream) -> None:
        await answering(*answers)(stream)
        await stream.receive_some()

    return script


def silent(answer: bytes = b"") -> Script:
    """Answer one request with ``answer`` and then do nothing for ever."""

    async def script(stream: trio.SocketStream) -> None:
        await answering(answer)(stream)
        await trio.sleep_forever()

    return script
