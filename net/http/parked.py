"""Connections without a task: between requests, and while an answer is to come.

A task takes longer to wake than most questions to answer, and more memory than the rest of a
connection.  So one task looks after all connections of a server, reads what plain requests come,
and has them answered in its own turn.  Whatever takes more than that, it gives a task.
"""

from __future__ import annotations

import logging
import select
from typing import TYPE_CHECKING, Final

import trio

from .connection import Connection
from .messages import HttpResponse, text_response
from .parsing import RequestReader
from .sending import response_head

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Never

    from .connection import ServerContext
    from .messages import HttpRequest, Pending, PromptHandler
    from .timed import TimedSocket

_log = logging.getLogger(__name__)
_STIRS: Final = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
_LEFT: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_RECEIVE_BYTES: Final = 16 << 10
_AT_A_STRETCH: Final = 32
"""Connections served before other tasks get a turn."""


class Parking:
    """All connections of one server that have no task; ``start`` gives one a task.

    ``prompt`` must not wait.  A client that leaves before its answer has it withdrawn.
    """

    def __init__(
        self, context: ServerContext, prompt: PromptHandler, start: Callable[[Connection], None]
    ) -> None:
        self._context, self._prompt, self._start = context, prompt, start
        self._epoll = select.epoll()
        self._parked: dict[int, _Parked] = {}
        self._now_s = trio.current_time()  # when they were looked at last

    def park(
        self, sock: TimedSocket, client_host: str, reader: RequestReader | None = None
    ) -> None:
        """Look after a connection that has no request under way; without ``reader``, a new one."""
        reader = reader or RequestReader(self._context.limits, client_host)
        parked = self._parked[sock.fd] = _Parked(self, sock, client_host, reader)
        self._epoll.register(sock.fd, _STIRS)  # stirs at once if there is something to read
        self._context.idle.add(parked, trio.current_time())

    async def run(self) -> Never:
        """Look after them until cancelled."""
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            self._now_s = trio.current_time()
            for fd, events in self._epoll.poll(0, _AT_A_STRETCH):
                if (parked := self._parked.get(fd)) is not None:
                    self._stirred(parked, has_left=bool(events & _LEFT))

    def close(self) -> None:
        """Close all of them."""
        for parked in list(self._parked.values()):
            self.drop(parked)
        self._epoll.close()

    def drop(self, parked: _Parked) -> None:
        """Close a connection."""
        self._let_go(parked)
        parked.sock.close()
        self._context.slots.release()

    def answer(self, parked: _Parked, response: HttpResponse) -> None:
        """Send what a client waited for."""
        parked.pending = None
        if not self._send(parked, response):
            return
        if not parked.reader.is_empty:
            self._give_task(parked)
        else:
            self._context.idle.add(parked, trio.current_time())
            if parked.has_more:
                parked.has_more = False
                self._epoll.modify(parked.sock.fd, _STIRS)  # as in park

    def _stirred(self, parked: _Parked, *, has_left: bool) -> None:
        if parked.pending is None:
            self._receive(parked, has_left=has_left)
        elif has_left:
            self._leave(parked, parked.pending)
        else:
            parked.has_more = True

    def _receive(self, parked: _Parked, *, has_left: bool) -> None:
        try:
            data = parked.sock.receive_now(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.drop(parked)
            return
        reader = parked.reader
        reader.feed(data)
        while (request := reader.next_plain()) is not None:
            if not self._serve(parked, request, has_left=has_left):
                return
        if not reader.is_empty:
            self._give_task(parked)
        elif has_left or len(data) == _RECEIVE_BYTES:
            self._epoll.modify(parked.sock.fd, _STIRS)  # what is left stirs once more

    def _serve(self, parked: _Parked, request: HttpRequest, *, has_left: bool) -> bool:
        """Have a request answered; false: there is nothing more to be done here now."""
        idle = self._context.idle
        idle.discard(parked)
        try:
            response = self._prompt(request, parked.answer)
        except Exception:
            _log.exception("handler failed at %s %s", request.method, request.target)
            response = text_response(500, "internal error")
        if isinstance(response, HttpResponse):
            if not self._send(parked, response):
                return False
            idle.add(parked, self._now_s)
            return True
        if response is None:
            self._give_task(parked, request)
        else:
            parked.pending = response
            if has_left:
                self._leave(parked, response)
        return False

    def _send(self, parked: _Parked, response: HttpResponse) -> bool:
        """Send an answer; tell whether the connection is still here and ready for more."""
        keep_alive = self._context.slots.value > 0
        data = response_head(response, keep_alive=keep_alive) + response.content
        try:
            sent = parked.sock.send_now(data)
        except OSError:
            self.drop(parked)
            return False
        if sent < len(data):
            parked.reader.keep_alive = keep_alive
            self._give_task(parked, rest=data[sent:])
            return False
        if not keep_alive:
            self.drop(parked)
        return keep_alive

    def _leave(self, parked: _Parked, pending: Pending) -> None:
        self.drop(parked)
        pending.withdraw()

    def _give_task(
        self, parked: _Parked, request: HttpRequest | None = None, rest: bytes = b""
    ) -> None:
        self._let_go(parked)
        connection = Connection(self._context, parked.sock, parked.client_host, parked.reader)
        connection.resume(request, rest, self.park)
        self._start(connection)

    def _let_go(self, parked: _Parked) -> None:
        fd = parked.sock.fd
        del self._parked[fd]
        self._epoll.unregister(fd)
        self._context.idle.discard(parked)


class _Parked:
    """One connection: ``pending`` is the answer that it waits for.

    ``has_more``: bytes have come behind the request that waits.
    """

    __slots__ = ("_lot", "client_host", "has_more", "pending", "reader", "sock")

    def __init__(
        self, lot: Parking, sock: TimedSocket, client_host: str, reader: RequestReader
    ) -> None:
        self._lot, self.sock, self.client_host, self.reader = lot, sock, client_host, reader
        self.pending: Pending | None = None
        self.has_more = False

    def cancel(self) -> None:
        """Make room for others, or be idle for too long."""
        self._lot.drop(self)

    def answer(self, response: HttpResponse) -> None:
        """Take the answer that is pending."""
        self._lot.answer(self, response)
