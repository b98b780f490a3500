"""An HTTP/1.1 client that keeps its connections."""

from __future__ import annotations

import os
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, NamedTuple, Self, cast
from urllib.parse import quote

import trio

from ...engine.expressions import expression
from .errors import ConnectFailed, ConnectionLost, StalledError
from .reply import HttpReply, read_head
from .sending import header_line
from .timed import TimedSocket

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

_PRINTABLE: Final = "".join([chr(code) for code in range(0x21, 0x7F)])
_HOST: Final = expression(r"[-.:%_0-9A-Za-z]+")
_REPEATABLE: Final = frozenset({"GET", "HEAD"})


class _Idle(NamedTuple):
    sock: TimedSocket
    since_s: float


class HttpPool:
    """Connections to other hosts, kept between requests; for one trio loop.

    At most ``idle_per_host`` are kept for one host and port and ``idle_total`` in all; none is
    used again once idle for ``idle_expiry_s``, which should be shorter than servers wait.
    """

    def __init__(
        self, *, idle_per_host: int = 4, idle_total: int = 64, idle_expiry_s: float = 30.0
    ) -> None:
        self._idle_per_host = idle_per_host
        self._idle_total = idle_total
        self._idle_expiry_s = idle_expiry_s
        self._idle: dict[tuple[str, int], list[_Idle]] = {}
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the idle connections now, and those in use when their reply ends."""
        self._closed = True
        for idle in self._idle.values():
            for connection in idle:
                connection.sock.close()
        self._idle.clear()

    @asynccontextmanager
    async def open(
        self,
        host: str,
        port: int,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        timeout_s: float,
    ) -> AsyncGenerator[HttpReply]:
        """Send a request; the reply can be read inside the ``async with``.

        ``target`` is path and query; what may not stand in a request line is percent-encoded.
        A wait without progress (connecting, sending, each receive) ends after ``timeout_s``.
        The connection is kept if the body was read to its end, else closed.  If a kept one turns
        out to be dead before any byte of an answer, a GET or HEAD is sent again on a new one.
        Raises ``HttpError``, and ``ValueError`` for a header that HTTP does not allow.
        """
        request = _Request(host, port, method, target, headers, body, timeout_s)
        sock, reply = await self._exchange(request)
        try:
            yield reply
        finally:
            if reply.can_reuse:
                self._keep((host, port), sock)
            else:
                sock.close()

    async def call(
        self,
        host: str,
        port: int,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        timeout_s: float,
        max_body: int = 1 << 20,
    ) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
        """Send a request and return status, headers and all of the body; raises as ``open``.

        ``BadAnswer`` if the body is above ``max_body`` bytes.
        """
        async with self.open(host, port, method, target, headers, body, timeout_s=timeout_s) as r:
            return r.status, r.headers, await r.read(max_body)

    async def _exchange(self, request: _Request) -> tuple[TimedSocket, HttpReply]:
        sock = self._take((request.host, request.port))
        if sock is not None:
            try:
                return sock, await request.put(sock)
            except ConnectionLost:
                if request.method not in _REPEATABLE:
                    raise
        sock = await request.connect()
        return sock, await request.put(sock)

    def _take(self, key: tuple[str, int]) -> TimedSocket | None:
        self._expire()
        while idle := self._idle.get(key):
            sock = idle.pop().sock
            if sock.is_quiet():
                return sock
            sock.close()
        return None

    def _keep(self, key: tuple[str, int], sock: TimedSocket) -> None:
        self._expire()
        idle = self._idle.setdefault(key, [])
        total = sum([len(connections) for connections in self._idle.values()])
        if self._closed or len(idle) >= self._idle_per_host or total >= self._idle_total:
            sock.close()
        else:
            idle.append(_Idle(sock, trio.current_time()))

    def _expire(self) -> None:
        oldest_s = trio.current_time() - self._idle_expiry_s
        for key, idle in list(self._idle.items()):
            while idle and idle[0].since_s < oldest_s:
                idle.pop(0).sock.close()
            if not idle:
                del self._idle[key]


class _Request:
    """One request, ready to be put on a connection, once or again."""

    def __init__(
        self,
        host: str,
        port: int,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]],
        body: bytes,
        timeout_s: float,
    ) -> None:
        self.host = host
        self.port = port
        self.method = method
        self.peer = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._timeout_s = timeout_s
        if not _HOST.fullmatch(host) or not 0 < port < 1 << 16:
            raise ConnectFailed(f"{host!r} port {port}", "not the address of a host")
        fields = [("Host", self.peer), *headers]
        if body or method in ("POST", "PUT"):
            fields.append(("Content-Length", str(len(body))))
        start = f"{method} {quote(target, safe=_PRINTABLE)} HTTP/1.1"
        try:
            lines = [start, *[header_line(name, value) for name, value in fields], "\r\n"]
            self._bytes = "\r\n".join(lines).encode("ascii") + body
        except ValueError as error:
            raise ValueError(f"request {method} {target!r} to {self.peer}: {error}") from error

    async def connect(self) -> TimedSocket:
        with trio.move_on_after(self._timeout_s):
            try:
                stream = await trio.open_tcp_stream(self.host, self.port)
            except (OSError, UnicodeError) as error:
                raise ConnectFailed(self.peer, f"no connection: {_cause(error)}") from error
            return TimedSocket(socket.socket(fileno=stream.socket.detach()))
        raise ConnectFailed(self.peer, f"no connection within {self._timeout_s:g} s")

    async def put(self, sock: TimedSocket) -> HttpReply:
        """Send the request and return the answer's head; closes ``sock`` if that fails."""
        try:
            await self._send(sock, memoryview(self._bytes))
            return await read_head(sock, self.peer, self._timeout_s, self.method)
        except BaseException:
            sock.close()
            raise

    async def _send(self, sock: TimedSocket, rest: memoryview) -> None:
        try:
            while rest:
                rest = rest[await sock.send(rest, self._timeout_s) :]
        except trio.TooSlowError:
            raise StalledError(
                self.peer, f"took no byte of the request for {self._timeout_s:g} s"
            ) from None
        except OSError as error:
            raise ConnectionLost(self.peer, f"connection broke: {error.strerror}") from error


def _cause(error: OSError | UnicodeError) -> str:
    """Say why; trio puts the reason of each address it tried behind a general one."""
    inner = error.__cause__
    while isinstance(inner, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", inner).exceptions[0]
    if isinstance(inner, OSError) and inner.errno is not None:
        return os.strerror(inner.errno)
    return str(error)
