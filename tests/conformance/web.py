"""HTTP by hand: servers in threads that answer from a function, and a client that sends bytes.

The servers know nothing of damselfly's own HTTP, so that a mistake there cannot hide itself.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final, Self, cast

import trio

from .recorded import Headers, Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable

_PATIENCE_S: Final = 20


@dataclass(frozen=True, slots=True)
class Reply:
    """What a scripted server answers; ``cut_at``: close after so many bytes of the body.

    Without ``has_length`` the body ends with the connection.  The answer waits for ``after``.
    """

    status: int
    body: bytes = b""
    headers: Headers = ()
    cut_at: int | None = None
    has_length: bool = True
    after: threading.Event | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that came to a scripted server; ``host`` is the address it came to."""

    host: str
    request: Request


@dataclass(slots=True)
class _Record:
    answer: Callable[[Seen], Reply]
    lock: threading.Lock = field(default_factory=threading.Lock)
    seen: list[Seen] = field(default_factory=list[Seen])
    probes: int = 0


class ScriptedServer:
    """Answers every request by a function, which is called under a lock, one at a time.

    Listens on each of ``hosts`` at the same port; a context manager.
    """

    def __init__(self, answer: Callable[[Seen], Reply], *hosts: str) -> None:
        self._record = _Record(answer)
        self._servers = _bind(self._record, hosts or ("127.0.0.1",))
        self.port = self._servers[0].server_port
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(0.01,)) for server in self._servers
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown()
            thread.join()
            server.end_connections()
            server.server_close()

    @property
    def seen(self) -> list[Seen]:
        """All requests so far, in the order in which they came."""
        with self._record.lock:
            return list(self._record.seen)

    @property
    def probes(self) -> int:
        """Connections that were closed without a byte."""
        with self._record.lock:
            return self._record.probes


def _bind(record: _Record, hosts: tuple[str, ...]) -> list[_Server]:
    first = _Server(record, hosts[0], 0)
    return [first, *[_Server(record, host, first.server_port) for host in hosts[1:]]]


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 64

    def __init__(self, record: _Record, host: str, port: int) -> None:
        self.record, self.host = record, host
        self.open: list[socket.socket] = []
        super().__init__((host, port), _Handler)

    def process_request(self, request: object, client_address: object) -> None:
        with self.record.lock:
            self.open.append(cast("socket.socket", request))
        super().process_request(cast("socket.socket", request), client_address)

    def shutdown_request(self, request: object) -> None:
        with self.record.lock:
            self.open.remove(cast("socket.socket", request))
        super().shutdown_request(cast("socket.socket", request))

    def end_connections(self) -> None:
        with self.record.lock:
            for connection in self.open:
                with suppress(OSError):  # the client was faster
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def setup(self) -> None:
        super().setup()
        self.requests = 0

    def finish(self) -> None:
        super().finish()
        if not self.requests:
            with self.server.record.lock:
                self.server.record.probes += 1

    def do_GET(self) -> None:
        self.requests += 1
        length = int(self.headers.get("Content-Length") or 0)
        headers = tuple(self.headers.items())
        request = Request(self.command, self.path, headers, self.rfile.read(length))
        seen, record = Seen(self.server.host, request), self.server.record
        with record.lock:
            record.seen.append(seen)
            reply = record.answer(seen)
        if reply.after is not None:
            reply.after.wait()
        self.send_response(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        if reply.has_length:
            self.send_header("Content-Length", str(len(reply.body)))
        if not reply.has_length or reply.cut_at is not None:
            self.close_connection = True
        self.end_headers()
        self.wfile.write(reply.body[: reply.cut_at])

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Tests look at ``seen`` instead."""


async def talk(port: int, request: Request | None) -> Response:
    """Send one request byte for byte as it was recorded, on a connection of its own.

    ``None``: connect and close, as dfget does to see whether somebody is there.
    """
    with trio.fail_after(_PATIENCE_S):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            if request is None:
                return Response(0)
            await stream.send_all(_bytes_of(request))
            return await _response(stream, is_head=request.method == "HEAD")


def _bytes_of(request: Request) -> bytes:
    names = {name.lower() for name, _ in request.headers}
    headers = list(request.headers)
    if "host" not in names:
        headers.insert(0, ("Host", "127.0.0.1"))
    if "content-length" not in names and request.method == "POST":
        headers.append(("Content-Length", str(len(request.body))))
    head = "".join([f"{name}: {value}\r\n" for name, value in headers])
    return f"{request.method} {request.target} HTTP/1.1\r\n{head}\r\n".encode() + request.body


async def _response(stream: trio.SocketStream, *, is_head: bool) -> Response:
    data = b""
    while b"\r\n\r\n" not in data:
        data += await _more(stream)
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = [line.partition(":") for line in lines]
    response = Response(
        int(first.split(" ")[1]), tuple([(name, value.strip()) for name, _, value in fields])
    )
    length = 0 if is_head else int(response.header("content-length") or 0)
    parts, size = [body], len(body)
    while size < length:
        parts.append(await _more(stream))
        size += len(parts[-1])
    return Response(response.status, response.headers, b"".join(parts)[:length])


async def _more(stream: trio.SocketStream) -> bytes:
    data = await stream.receive_some()
    assert data, "the connection was closed inside an answer"
    return data
