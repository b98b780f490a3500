"""A non-blocking socket whose every wait has a deadline.

Plain sockets and trio's ``wait_readable``/``wait_writable`` rather than trio's sockets: the
system call is tried where it is likely to succeed, and a deadline costs something only while
there is something to wait for.
"""

from __future__ import annotations

import os
import socket
import struct
from math import inf
from typing import TYPE_CHECKING, Final

import trio
from trio.lowlevel import checkpoint, wait_readable, wait_writable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_PATIENCE_S: Final = 1.0
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class TimedSocket:
    """A connected TCP socket; methods raise ``OSError``, or ``trio.TooSlowError`` past a deadline.

    Each call moves what it can at once and returns how much; a caller that loops thus has a
    deadline on progress.
    """

    __slots__ = ("_sock", "_wakes_at", "fd")

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self.fd = sock.fileno()
        self._wakes_at = 1

    async def receive(self, size: int, timeout_s: float = inf) -> bytes:
        """Wait, then return at most ``size`` bytes; none at the end of the stream."""
        self._wake_at(1)
        while True:
            await self._wait(wait_readable, timeout_s)
            try:
                return self._sock.recv(size)
            except BlockingIOError:
                continue

    def receive_now(self, size: int) -> bytes:
        """Return what is here, as ``receive``; ``BlockingIOError``: nothing."""
        return self._sock.recv(size)

    def send_now(self, data: bytes) -> int:
        """Send what the kernel takes at once, and return how much that is."""
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0

    async def receive_into(self, buffer: memoryview, timeout_s: float) -> int:
        """Fill ``buffer`` and return how much is filled; 0 at the end of the stream.

        Less than all where the stream ends, or where the rest does not come within a second: the
        kernel wakes this task for all that is wanted, not for each packet.  That no byte comes is
        noticed up to a second late, too.
        """
        filled, silent_s, waited = 0, 0.0, False
        while True:
            count = self._take(buffer[filled:])
            filled += max(0, count)
            if count == 0 or filled == len(buffer) or (filled and silent_s):
                break
            if silent_s >= timeout_s:
                raise trio.TooSlowError
            self._wake_at(len(buffer) - filled)
            wait_s, waited = min(_PATIENCE_S, timeout_s - silent_s), True
            with trio.move_on_after(wait_s) as scope:
                await wait_readable(self.fd)
            silent_s = silent_s + wait_s if scope.cancelled_caught else 0.0
        if not waited:
            await checkpoint()
        return filled

    async def send(self, data: bytes | memoryview, timeout_s: float) -> int:
        """Send some of ``data`` and return how much; no checkpoint where the kernel takes it."""
        while True:
            try:
                return self._sock.send(data)
            except BlockingIOError:
                await self._wait(wait_writable, timeout_s)

    async def send_file(self, fd: int, offset: int, count: int, timeout_s: float) -> int:
        """Send some of a file and return how much; 0: the file ends before ``offset``."""
        while True:
            try:
                return os.sendfile(self.fd, fd, offset, count)
            except BlockingIOError:
                await self._wait(wait_writable, timeout_s)

    def is_quiet(self) -> bool:
        """Tell whether the connection is open with nothing to read, as an idle one should be."""
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def cork(self, on: bool) -> None:
        """Hold back partial segments; uncorking sends what is left."""
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, on)

    async def send_eof(self) -> None:
        """Tell the other side that nothing more will come."""
        self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close; what was sent still arrives."""
        self._sock.close()

    def reset_on_close(self) -> None:
        """Have ``close`` reset, so that the other side cannot take what it has for all."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)

    def _take(self, buffer: memoryview) -> int:
        """Return how many bytes were there for ``buffer``; -1: none so far."""
        try:
            return self._sock.recv_into(buffer)
        except BlockingIOError:
            return -1

    def _wake_at(self, count: int) -> None:
        """Count as readable when ``count`` bytes are here, or the end of the stream."""
        if count != self._wakes_at:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
            self._wakes_at = count

    async def _wait(self, ready: Callable[[int], Awaitable[None]], timeout_s: float) -> None:
        if timeout_s == inf:
            await ready(self.fd)
            return
        with trio.move_on_after(timeout_s) as scope:
            await ready(self.fd)
        if scope.cancelled_caught:
            raise trio.TooSlowError
