"""The server's side of TLS on a connection, with the same methods as the socket below.

``sendfile`` cannot encrypt, so files are read here.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from math import inf
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    import ssl
    from collections.abc import Generator

    from .transport import Transport

_SEND_BYTES: Final = 64 << 10
_FILE_BYTES: Final = 256 << 10
_RECEIVE_BYTES: Final = 64 << 10
_FAREWELL_S: Final = 1.0


class TlsFailed(ConnectionError):
    """The other side does not speak TLS, refuses our certificate, or broke the protocol."""


async def accept_tls(
    transport: Transport, context: ssl.SSLContext, ahead: bytes, timeout_s: float
) -> TlsTransport:
    """Shake hands as a server on ``transport``, of which ``ahead`` was read already.

    Raises ``TlsFailed``, ``OSError``, and ``trio.TooSlowError`` after ``timeout_s``.
    """
    stream = trio.SSLStream(_Carrier(transport, ahead), context, server_side=True)
    with trio.fail_after(timeout_s), _failures_explained():
        await stream.do_handshake()
    return TlsTransport(transport, stream)


class TlsTransport:
    """A ``Transport`` that encrypts what goes over another one."""

    __slots__ = ("_below", "_ended", "_stream")

    def __init__(self, below: Transport, stream: trio.SSLStream[_Carrier]) -> None:
        self._below = below
        self._stream = stream
        self._ended = False

    @property
    def fd(self) -> int:
        """The socket's descriptor."""
        return self._below.fd

    async def receive(self, size: int, timeout_s: float = inf) -> bytes:
        """Return at most ``size`` bytes; none at the end.  After ``send_eof``: meaningless ones."""
        if self._ended:
            return await self._below.receive(size, timeout_s)
        with trio.fail_after(timeout_s), _failures_explained():
            return bytes(await self._stream.receive_some(size))

    async def send(self, data: bytes | memoryview, timeout_s: float) -> int:
        """Send some of ``data``, a few records of TLS, and return how much."""
        chunk = data[:_SEND_BYTES]
        with trio.fail_after(timeout_s), _failures_explained():
            await self._stream.send_all(chunk)
        return len(chunk)

    async def send_file(self, fd: int, offset: int, count: int, timeout_s: float) -> int:
        """Send some of a file and return how much; 0: the file ends before ``offset``."""
        rest = memoryview(os.pread(fd, min(count, _FILE_BYTES), offset))
        size = len(rest)
        while rest:
            rest = rest[await self.send(rest, timeout_s) :]
        return size

    def cork(self, on: bool) -> None:
        """Hold back partial segments; uncorking sends what is left."""
        self._below.cork(on)

    async def send_eof(self) -> None:
        """End TLS as it should be, without waiting for the other side to do so."""
        if not self._ended:
            self._ended = True
            with trio.move_on_after(_FAREWELL_S), suppress(OSError):
                await self._stream.aclose()

    def close(self) -> None:
        """Close; what was sent still arrives."""
        self._below.close()

    def reset_on_close(self) -> None:
        """Have ``close`` reset, so that the other side cannot take what it has for all."""
        self._below.reset_on_close()


class _Carrier(trio.abc.Stream):
    """What ``trio.SSLStream`` sends over: all deadlines are set above it."""

    def __init__(self, transport: Transport, ahead: bytes) -> None:
        self._transport = transport
        self._ahead = ahead

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[await self._transport.send(rest, inf) :]

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.wait_writable(self._transport.fd)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        ahead, self._ahead = self._ahead, b""
        return ahead or await self._transport.receive(max_bytes or _RECEIVE_BYTES)

    async def aclose(self) -> None:
        await self._transport.send_eof()


@contextmanager
def _failures_explained() -> Generator[None]:
    try:
        yield
    except trio.BrokenResourceError as error:
        import ssl

        cause = error.__cause__
        reason = cause.reason if isinstance(cause, ssl.SSLError) and cause.reason else str(cause)
        text = f"TLS failed: {reason.replace('_', ' ').lower()}"
        raise TlsFailed(errno.EPROTO, text) from error
