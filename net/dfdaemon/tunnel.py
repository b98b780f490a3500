"""A blind tunnel: bytes both ways, each end's end of stream passed on to the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..http import Transport

_CHUNK_BYTES: Final = 64 << 10


class Tunnel:
    """Joins a client to an upstream; ``sent_bytes`` counts what the client got."""

    def __init__(self, upstream: trio.SocketStream, ahead: bytes, idle_s: float) -> None:
        self.sent_bytes = 0
        self._upstream = upstream
        self._ahead = ahead
        self._idle_s = idle_s

    async def run(self, client: Transport, ahead: bytes) -> None:
        """Carry until both sides have ended, one of them breaks, or neither moves for too long."""
        with trio.CancelScope() as scope:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._carry_up, client, ahead, scope)
                    nursery.start_soon(self._carry_down, client, scope)
            except* (OSError, trio.BrokenResourceError, trio.TooSlowError):
                client.reset_on_close()
        if scope.cancelled_caught:
            client.reset_on_close()

    def close(self) -> None:
        """Close the upstream's side."""
        self._upstream.socket.close()

    async def _carry_up(self, client: Transport, ahead: bytes, scope: trio.CancelScope) -> None:
        if ahead:
            await self._upstream.send_all(ahead)
        await self._carry(lambda: client.receive(_CHUNK_BYTES), self._upstream.send_all, scope)
        await self._upstream.send_eof()

    async def _carry_down(self, client: Transport, scope: trio.CancelScope) -> None:
        async def send(data: bytes | bytearray) -> None:
            rest = memoryview(data)
            while rest:
                count = await client.send(rest, self._idle_s)
                self.sent_bytes += count
                rest = rest[count:]

        if self._ahead:
            await send(self._ahead)
        await self._carry(lambda: self._upstream.receive_some(_CHUNK_BYTES), send, scope)
        await client.send_eof()

    async def _carry(
        self,
        receive: Callable[[], Awaitable[bytes | bytearray]],
        send: Callable[[bytes | bytearray], Awaitable[None]],
        scope: trio.CancelScope,
    ) -> None:
        while True:
            scope.deadline = trio.current_time() + self._idle_s
            data = await receive()
            if not data:
                return
            await send(data)
