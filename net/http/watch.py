"""Two watchers that every connection of a server shares, so that none needs a task of its own."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Final, Protocol

import trio

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Never

_HUNG_UP: Final = select.EPOLLRDHUP | select.EPOLLONESHOT


class DisconnectWatch:
    """Tells a connection, once, that its client closed or reset it.

    An epoll of its own looks only for hang-ups: pipelined bytes neither wake it nor hide the
    hang-up behind them.  A connection is registered for its whole life, since doing so for each
    request would cost two system calls each.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._listeners: dict[int, Callable[[], None]] = {}

    def add(self, fd: int, hung_up: Callable[[], None]) -> None:
        """Call ``hung_up`` when the client of ``fd`` is gone."""
        self._listeners[fd] = hung_up
        self._epoll.register(fd, _HUNG_UP)

    def tell_again(self, fd: int) -> None:
        """Have ``hung_up`` called once more if the client is gone."""
        self._epoll.modify(fd, _HUNG_UP)

    def discard(self, fd: int) -> None:
        """Watch ``fd`` no longer; to be called before it is closed."""
        del self._listeners[fd]
        self._epoll.unregister(fd)

    async def run(self) -> Never:
        """Watch until cancelled."""
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            for fd, _ in self._epoll.poll(0):
                self._listeners[fd]()

    def close(self) -> None:
        """Give the descriptor back."""
        self._epoll.close()


class Idle(Protocol):
    """What ends a connection that is idle."""

    def cancel(self) -> None:
        """End it."""
        ...


class IdleConnections:
    """Connections between requests, the one idle for longest first."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._since: dict[Idle, float] = {}

    def add(self, connection: Idle, now_s: float) -> None:
        """Cancel ``connection`` if it stays here for too long from ``now_s`` on."""
        self._since[connection] = now_s

    def discard(self, connection: Idle) -> None:
        """Leave ``connection`` alone: it is at work again."""
        self._since.pop(connection, None)

    def evict_one(self) -> None:
        """Close the connection that is idle for longest, if any is."""
        if self._since:
            connection = next(iter(self._since))
            del self._since[connection]
            connection.cancel()

    async def run(self) -> Never:
        """Close connections as their time comes, until cancelled."""
        while True:
            oldest_s = next(iter(self._since.values()), trio.current_time())
            due_s = oldest_s + self._timeout_s
            if due_s <= trio.current_time():
                self.evict_one()
            else:
                await trio.sleep_until(due_s)
