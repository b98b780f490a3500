"""One client's connection to a server: requests in, responses out, until either side ends it."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeAlias, assert_never

import trio

from ...engine.errors import DamselflyError, RemoteProtocolError
from ...engine.records import dataclass
from .messages import (
    HttpResponse,
    StreamedRequest,
    StreamedResponse,
    SwitchToTls,
    TakeOver,
    text_response,
)
from .parsing import RequestReader, RequestRejected
from .sending import FileTooShort, response_head, send_response
from .streaming import send_streamed, streamed_head
from .timed import TimedSocket
from .tls import TlsFailed, accept_tls

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from .limits import ServerLimits
    from .messages import Handler, HttpRequest, Response
    from .transport import Transport
    from .watch import DisconnectWatch, IdleConnections

_log = logging.getLogger(__name__)
_RECEIVE_BYTES: Final = 16 << 10
_BODY_RECEIVE_BYTES: Final = 64 << 10
_PROGRESS_BYTES: Final = 1 << 10
_LINGER_S: Final = 1.0
_LINGER_BYTES: Final = 4 << 20
_CONNECTED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"

Park: TypeAlias = "Callable[[TimedSocket, str, RequestReader], None]"


class ClientLeft(ConnectionResetError):
    """The client closed or reset the connection in the middle of its request."""


@dataclass(frozen=True, slots=True)
class ServerContext:
    """What the connections of one server have in common."""

    handler: Handler
    limits: ServerLimits
    slots: trio.Semaphore
    watch: DisconnectWatch
    idle: IdleConnections
    tls: ssl.SSLContext | None = None
    stream_bodies: bool = False


class Connection:
    """Serves one client; ``run`` never raises for what the client does."""

    def __init__(
        self,
        context: ServerContext,
        sock: Transport,
        client_host: str,
        reader: RequestReader | None = None,
    ) -> None:
        self._context = context
        self._handler = context.handler
        self._limits = context.limits
        self._sock = sock
        self._client_host = client_host
        self._reader = reader or self._new_reader()
        self._scope = trio.CancelScope()
        self._is_awaited = self._has_hung_up = self._is_tls = False
        self._request: HttpRequest | None = None
        self._rest = b""
        self._park: Park | None = None
        self._is_idle = False

    def resume(self, request: HttpRequest | None, rest: bytes, park: Park) -> None:
        """Begin with a request that was read, or the rest of an answer; ``park`` when idle."""
        self._request, self._rest, self._park = request, rest, park

    async def run(self) -> None:
        """Serve until the client leaves, is too slow or too much, or asks to close."""
        self._context.watch.add(self._sock.fd, self._hung_up)
        try:
            with self._scope:
                if self._context.tls is not None:
                    await self._switch(self._context.tls)
                await self._serve()
        except TlsFailed as error:
            _log.info("connection of %s ended: %s", self._client_host, error.strerror)
        except (ConnectionError, trio.TooSlowError):
            pass
        except (OSError, FileTooShort, DamselflyError) as error:
            _log.warning("connection of %s ended: %s", self._client_host, error)
        except Exception:
            _log.exception("connection of %s failed", self._client_host)
        finally:
            self._context.watch.discard(self._sock.fd)
            if not self._parks():
                self._sock.close()
                self._context.slots.release()

    def _parks(self) -> bool:
        """Do without this task, where that was agreed."""
        if not self._is_idle or self._park is None or not isinstance(self._sock, TimedSocket):
            return False
        self._park(self._sock, self._client_host, self._reader)
        return True

    async def _serve(self) -> None:
        if self._rest:
            await self._say(self._rest)
            if not self._reader.keep_alive:
                return
        try:
            while (request := await self._next_request()) is not None:
                response = await self._respond(request)
                keep_alive = (
                    self._reader.keep_alive
                    and self._context.slots.value > 0
                    and not self._reader.in_body
                )
                if isinstance(response, HttpResponse):
                    await self._send(response, request.method, keep_alive=keep_alive)
                else:
                    keep_alive = await self._answer(response, request, keep_alive=keep_alive)
                if not keep_alive:
                    await self._end()
                    return
        except RequestRejected as rejected:
            answer = text_response(rejected.status, rejected.text)
            await self._send(answer, "", keep_alive=False)
            await self._linger()

    async def _next_request(self) -> HttpRequest | None:
        """Return the next request, or ``None`` when the client has no more."""
        reader, request, self._request = self._reader, self._request, None
        if request is not None:
            return request
        if (request := reader.next_request()) is None and reader.is_empty:
            if self._park is not None:
                self._is_idle = True
                return None
            self._context.idle.add(self._scope, trio.current_time())
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
            await self._allow_body()
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

    async def receive_body(self) -> bytes:
        """Return some of the body of the request in hand; raises as ``RequestBody.receive``."""
        try:
            while (data := self._reader.next_data()) is None:
                await self._allow_body()
                received = await self._receive_body_bytes()
                self._reader.feed(received)
        except RequestRejected as rejected:
            raise RemoteProtocolError(rejected.text, status_hint=rejected.status) from None
        except trio.TooSlowError:
            text = "the request's body came too slowly"
            raise RemoteProtocolError(text, status_hint=408) from None
        return data

    async def _receive_body_bytes(self) -> bytes:
        try:
            data = await self._sock.receive(_BODY_RECEIVE_BYTES, self._limits.body_timeout_s)
        except OSError as error:
            raise ClientLeft(error.errno, error.strerror) from error
        if not data:
            raise ClientLeft
        return data

    async def _allow_body(self) -> None:
        if self._reader.take_continue():
            await self._sock.send(b"HTTP/1.1 100 Continue\r\n\r\n", self._limits.send_timeout_s)

    async def _respond(self, request: HttpRequest) -> Response:
        """Ask the handler; a client that leaves meanwhile ends it, and this connection."""
        if self._reader.in_body:
            request = self._with_stream(request)
        self._await_client()
        try:
            return await self._handler(request)
        except RemoteProtocolError as error:
            return text_response(error.status_hint, str(error))
        except ClientLeft:
            raise
        except Exception:
            _log.exception("handler failed at %s %s", request.method, request.target)
            return text_response(500, "internal error")
        finally:
            self._is_awaited = False

    def _with_stream(self, request: HttpRequest) -> StreamedRequest:
        return StreamedRequest(
            request.method,
            request.target,
            request.headers,
            b"",
            request.client_host,
            request.head_bytes,
            stream=_Body(self, self._reader.body_length),
        )

    def _await_client(self) -> None:
        """Have this connection end when its client leaves, or has left."""
        if self._has_hung_up:
            self._context.watch.tell_again(self._sock.fd)
        self._is_awaited = True

    def _hung_up(self) -> None:
        """End a handler that waits; between requests the end of the stream shows by itself."""
        self._has_hung_up = True
        if self._is_awaited:
            self._scope.cancel()

    async def _answer(
        self,
        response: StreamedResponse | TakeOver | SwitchToTls,
        request: HttpRequest,
        *,
        keep_alive: bool,
    ) -> bool:
        """Give an answer that is more than bytes; tell whether more requests may follow."""
        match response:
            case StreamedResponse():
                return await self._stream(response, request.method, keep_alive=keep_alive)
            case TakeOver():
                try:
                    await self._say(_CONNECTED)
                    await response.run(self._sock, self._reader.take_ahead())
                finally:
                    response.on_closed()
                return False
            case SwitchToTls():
                await self._say(_CONNECTED)
                self._handler = response.handler
                await self._switch(response.context)
                return True
            case _:
                assert_never(response)

    async def _stream(self, response: StreamedResponse, method: str, *, keep_alive: bool) -> bool:
        chunked, head_only = self._reader.takes_chunks, method == "HEAD"
        if response.length is None and not chunked:
            keep_alive = False
        try:
            head = streamed_head(
                response, head_only=head_only, chunked=chunked, keep_alive=keep_alive
            )
        except ValueError:
            await response.body.aclose()
            await self._confess(response, keep_alive=False)
            return False
        self._await_client()
        try:
            await send_streamed(
                self._sock,
                head,
                response,
                timeout_s=self._limits.send_timeout_s,
                head_only=head_only,
                chunked=chunked,
            )
        finally:
            self._is_awaited = False
        return keep_alive

    async def _send(self, response: HttpResponse, method: str, *, keep_alive: bool) -> None:
        try:
            head = response_head(response, keep_alive=keep_alive)
        except ValueError:
            await self._confess(response, keep_alive=keep_alive)
            return
        await send_response(
            self._sock,
            head,
            response,
            timeout_s=self._limits.send_timeout_s,
            head_only=method == "HEAD",
        )

    async def _confess(
        self, response: HttpResponse | StreamedResponse, *, keep_alive: bool
    ) -> None:
        _log.exception("handler gave an impossible response")
        if response.on_closed is not None:
            response.on_closed(False, 0)
        await self._send(text_response(500, "internal error"), "GET", keep_alive=keep_alive)

    async def _say(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[await self._sock.send(rest, self._limits.send_timeout_s) :]

    async def _switch(self, context: ssl.SSLContext) -> None:
        """Go on in TLS."""
        ahead = self._reader.take_ahead()
        self._sock = await accept_tls(self._sock, context, ahead, self._limits.head_timeout_s)
        self._reader = self._new_reader()
        self._is_tls = True

    def _new_reader(self) -> RequestReader:
        return RequestReader(
            self._limits, self._client_host, stream_bodies=self._context.stream_bodies
        )

    async def _end(self) -> None:
        """Make sure that the client gets the last answer and knows that it was the last."""
        if self._reader.in_body:
            await self._linger()
        elif self._is_tls:
            await self._sock.send_eof()

    async def _linger(self) -> None:
        """Take in what the client still sends, lest a reset destroy our last answer."""
        taken = 0
        with trio.move_on_after(_LINGER_S), suppress(OSError):
            await self._sock.send_eof()
            while taken < _LINGER_BYTES and (data := await self._sock.receive(_RECEIVE_BYTES)):
                taken += len(data)


class _Body:
    """The ``RequestBody`` of the request in hand."""

    def __init__(self, connection: Connection, length: int | None) -> None:
        self.length = length
        self._connection = connection

    async def receive(self) -> bytes:
        return await self._connection.receive_body()
