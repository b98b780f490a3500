"""One client's connection to a server: requests in, responses out, until either side ends it."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio

from ...engine.errors import RemoteProtocolError
from .messages import text_response
from .parsing import RequestReader, RequestRejected
from .sending import FileTooShort, response_head, send_response

if TYPE_CHECKING:
    from .limits import ServerLimits
    from .messages import Handler, HttpRequest, HttpResponse
    from .timed import TimedSocket
    from .watch import DisconnectWatch, IdleConnections

_log = logging.getLogger(__name__)
_RECEIVE_BYTES: Final = 16 << 10
_PROGRESS_BYTES: Final = 1 << 10
_LINGER_S: Final = 1.0
_LINGER_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class ServerContext:
    """What the connections of one server have in common."""

    handler: Handler
    limits: ServerLimits
    slots: trio.Semaphore
    watch: DisconnectWatch
    idle: IdleConnections


class Connection:
    """Serves one client; ``run`` never raises for what the client does."""

    def __init__(self, context: ServerContext, sock: TimedSocket, client_host: str) -> None:
        self._context = context
        self._limits = context.limits
        self._sock = sock
        self._client_host = client_host
        self._reader = RequestReader(context.limits, client_host)
        self._scope = trio.CancelScope()
        self._in_handler = self._has_hung_up = False

    async def run(self) -> None:
        """Serve until the client leaves, is too slow or too much, or asks to close."""
        self._context.watch.add(self._sock.fd, self._hung_up)
        try:
            with self._scope:
                await self._serve()
        except (ConnectionError, trio.TooSlowError):
            pass
        except (OSError, FileTooShort) as error:
            _log.warning("connection of %s ended: %s", self._client_host, error)
        except Exception:
            _log.exception("connection of %s failed", self._client_host)
        finally:
            self._context.watch.discard(self._sock.fd)
            self._sock.close()
            self._context.slots.release()

    async def _serve(self) -> None:
        try:
            while (request := await self._next_request()) is not None:
                response = await self._respond(request)
                keep_alive = self._reader.keep_alive and self._context.slots.value > 0
                await self._send(response, request.method, keep_alive=keep_alive)
                if not keep_alive:
                    return
        except RequestRejected as rejected:
            answer = text_response(rejected.status, rejected.text)
            await self._send(answer, "", keep_alive=False)
            await self._linger()

    async def _next_request(self) -> HttpRequest | None:
        """Return the next request, or ``None`` when the client has no more."""
        reader = self._reader
        if (request := reader.next_request()) is None and reader.is_empty:
            self._context.idle.add(self._scope)
            try:
                data = await self._sock.receive(_RECEIVE_BYTES)
            finally:
                self._context.idle.discard(self._scope)
            if not data:
                return None
            reader.feed(data)
            request = reader.next_request()
        return await self._rest_of_request() if request is None else request

    async def _rest_of_request(self) -> HttpRequest | None:
        reader, limits = self._reader, self._limits
        due_s = trio.current_time() + limits.head_timeout_s
        fresh = _PROGRESS_BYTES
        while (request := reader.next_request()) is None:
            if reader.in_body and fresh >= _PROGRESS_BYTES:
                due_s, fresh = trio.current_time() + limits.body_timeout_s, 0
            if reader.take_continue():
                await self._sock.send(b"HTTP/1.1 100 Continue\r\n\r\n", limits.send_timeout_s)
            try:
                timeout_s = max(0.0, due_s - trio.current_time())
                data = await self._sock.receive(_RECEIVE_BYTES, timeout_s)
            except trio.TooSlowError:
                raise RequestRejected(408, "the request came too slowly") from None
            if not data:
                return None
            fresh += len(data)
            reader.feed(data)
        return request

    async def _respond(self, request: HttpRequest) -> HttpResponse:
        """Ask the handler; a client that leaves meanwhile ends it, and this connection."""
        if self._has_hung_up:
            self._context.watch.tell_again(self._sock.fd)
        self._in_handler = True
        try:
            return await self._context.handler(request)
        except RemoteProtocolError as error:
            return text_response(error.status_hint, str(error))
        except Exception:
            _log.exception("handler failed at %s %s", request.method, request.target)
            return text_response(500, "internal error")
        finally:
            self._in_handler = False

    def _hung_up(self) -> None:
        """End a handler that waits; between requests the end of the stream shows by itself."""
        self._has_hung_up = True
        if self._in_handler:
            self._scope.cancel()

    async def _send(self, response: HttpResponse, method: str, *, keep_alive: bool) -> None:
        try:
            head = response_head(response, keep_alive=keep_alive)
        except ValueError:
            _log.exception("handler gave an impossible response")
            if response.on_closed is not None:
                response.on_closed(False, 0)
            response = text_response(500, "internal error")
            head = response_head(response, keep_alive=keep_alive)
        await send_response(
            self._sock,
            head,
            response,
            timeout_s=self._limits.send_timeout_s,
            head_only=method == "HEAD",
        )

    async def _linger(self) -> None:
        """Take in what the client still sends, lest a reset destroy our last answer."""
        taken = 0
        with trio.move_on_after(_LINGER_S), suppress(OSError):
            self._sock.send_eof()
            while taken < _LINGER_BYTES and (data := await self._sock.receive(_RECEIVE_BYTES)):
                taken += len(data)
