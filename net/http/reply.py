"""The answer to one request: after its head, the body goes straight where it is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from .errors import BadAnswer, ConnectionLost, ShortBody, StalledError
from .reply_head import AnyHead, plain_head

if TYPE_CHECKING:
    import h11

    from .reply_head import Headers, ReplyHead
    from .timed import TimedSocket

_RECEIVE_BYTES: Final = 16 << 10
_CHUNKED_RECEIVE_BYTES: Final = 64 << 10
_BODILESS: Final = frozenset({204, 304})


class HttpReply:
    """Head of an answer, and its body as it comes.

    ``headers`` have lower-case names.  ``content_length`` is ``None`` where only the end of the
    body tells its length: chunked, or until the connection closes.
    """

    def __init__(
        self,
        sock: TimedSocket,
        peer: str,
        timeout_s: float,
        head: ReplyHead,
        method: str,
    ) -> None:
        self.status: int = head.status
        self.headers: Headers = head.headers
        self.content_length: int | None = None
        self.is_complete = False
        """Whether the end of the body was read."""
        self._sock = sock
        self._peer = peer
        self._timeout_s = timeout_s
        self._chunked: h11.Connection | None = None
        self._ahead = b""
        self._received = 0
        self._closes = not head.is_http_1_1 or self._has_token("connection", "close")
        self._frame(head, method)

    @property
    def can_reuse(self) -> bool:
        """Tell whether the connection stands exactly before the next answer."""
        return self.is_complete and not self._closes and not self._ahead

    def header(self, name: str) -> str | None:
        """Return the first value of the header ``name`` (lower case)."""
        return next((value for key, value in self.headers if key == name), None)

    async def readinto(self, buffer: memoryview) -> int:
        """Fill some of ``buffer``, which is not empty, and return how much; 0: end of body.

        Raises ``StalledError``, ``ShortBody``, ``ConnectionLost``, ``BadAnswer``.
        """
        if self.is_complete:
            return 0
        if self._chunked is not None and not self._ahead:
            self._ahead = await self._next_chunk(self._chunked)
            if self.is_complete:
                return 0
        room = len(buffer)
        if self.content_length is not None:
            room = min(room, self.content_length - self._received)
        if self._ahead:
            count = min(room, len(self._ahead))
            buffer[:count] = self._ahead[:count]
            self._ahead = self._ahead[count:]
        else:
            count = await self._receive(buffer[:room])
        self._received += count
        self._check_end(count)
        return count

    async def read(self, limit: int) -> bytes:
        """Return what is left of the body; ``BadAnswer`` if that is above ``limit`` bytes."""
        body = bytearray()
        buffer = memoryview(bytearray(min(limit + 1, _CHUNKED_RECEIVE_BYTES)))
        while count := await self.readinto(buffer):
            body += buffer[:count]
            if len(body) > limit:
                raise BadAnswer(self._peer, f"the body of the answer is above {limit} bytes")
        return bytes(body)

    def _frame(self, head: ReplyHead, method: str) -> None:
        length = self.header("content-length")
        if method == "HEAD" or self.status in _BODILESS:
            self.content_length, self.is_complete = 0, True
        elif self._has_token("transfer-encoding", "chunked"):
            self._chunked = head.chunks
            return
        elif length is not None:
            self.content_length = int(length)
            self.is_complete = self.content_length == 0
        self._ahead = head.ahead

    def _has_token(self, name: str, token: str) -> bool:
        value = ",".join([value for key, value in self.headers if key == name])
        return token in [part.strip().lower() for part in value.split(",")]

    def _check_end(self, count: int) -> None:
        if self.content_length is not None:
            if count == 0:
                raise ShortBody(self._peer, f"the body ended {self._position()}")
            self.is_complete = self._received == self.content_length
        elif count == 0:
            self.is_complete = self._closes = True

    def _position(self) -> str:
        whole = "" if self.content_length is None else f" of {self.content_length}"
        return f"after {self._received}{whole} bytes"

    async def _receive(self, buffer: memoryview) -> int:
        try:
            return await self._sock.receive_into(buffer, self._timeout_s)
        except trio.TooSlowError:
            raise self._stalled() from None
        except OSError as error:
            raise self._lost(error) from error

    async def _next_chunk(self, parser: h11.Connection) -> bytes:
        import h11

        try:
            while (event := parser.next_event()) is h11.NEED_DATA:
                parser.receive_data(
                    await self._sock.receive(_CHUNKED_RECEIVE_BYTES, self._timeout_s)
                )
        except h11.RemoteProtocolError as error:
            if parser.trailing_data[1]:
                raise ShortBody(self._peer, f"the body ended {self._position()}") from error
            raise BadAnswer(self._peer, f"bad chunk {self._position()}: {error}") from error
        except trio.TooSlowError:
            raise self._stalled() from None
        except OSError as error:
            raise self._lost(error) from error
        if isinstance(event, h11.Data):
            return bytes(event.data)
        assert isinstance(event, h11.EndOfMessage)
        self.is_complete = True
        return parser.trailing_data[0]

    def _stalled(self) -> StalledError:
        return StalledError(
            self._peer, f"no byte for {self._timeout_s:g} s in the body, {self._position()}"
        )

    def _lost(self, error: OSError) -> ConnectionLost:
        return ConnectionLost(
            self._peer, f"connection broke {self._position()} of the body: {error.strerror}"
        )


async def read_head(sock: TimedSocket, peer: str, timeout_s: float, method: str) -> HttpReply:
    """Receive the head of the answer to a request with ``method``.

    Raises ``ConnectionLost`` if the connection breaks before the first byte, ``StalledError``,
    ``BadAnswer``.
    """
    reader: AnyHead | None = None
    try:
        while True:
            data = await sock.receive(_RECEIVE_BYTES, timeout_s)
            if reader is None:
                if not data:
                    raise ConnectionLost(peer, "closed the connection without an answer")
                if (head := plain_head(data)) is not None:
                    break
                reader = AnyHead(peer, method)
            if (head := reader.feed(data)) is not None:
                break
    except trio.TooSlowError:
        raise StalledError(peer, f"no answer for {timeout_s:g} s") from None
    except OSError as error:
        if reader is not None:
            raise BadAnswer(peer, f"the answer's head is cut off: {error.strerror}") from error
        raise ConnectionLost(peer, f"no answer: {error.strerror}") from error
    return HttpReply(sock, peer, timeout_s, head, method)
