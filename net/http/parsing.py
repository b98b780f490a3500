"""Bytes of a connection to requests, without I/O.

h11 reads everything, and most requests need it for nothing: a GET or HEAD without a body, or a
POST that says how long its body is, is recognised by one regular expression if it came whole.  The
expression takes a strict subset of what h11 takes, and a test holds the two against each other.
h11 is imported with the first request that needs it, which a peer server may never see.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeAlias

from ...engine.expressions import expression
from .messages import HttpRequest

if TYPE_CHECKING:
    import h11

    from .limits import ServerLimits

_PLAIN: Final = expression(
    rb"(GET|HEAD|POST) ([!-~]+) HTTP/1\.1\r\n"
    rb"((?:[-!#$%&'*+.^_`|~0-9a-zA-Z]+:[\t -~\x80-\xff]*\r\n)+)\r\n"
)
_NOT_PLAIN: Final = frozenset({"connection", "expect", "transfer-encoding", "upgrade"})
_LENGTH: Final = expression(r"[0-9]{1,9}", re.ASCII)
_QUOTE_CHARS: Final = 200

_Headers: TypeAlias = tuple[tuple[str, str], ...]


class RequestRejected(Exception):
    """A request that cannot be read; after an answer with ``status`` the connection must close."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class RequestReader:
    """Cuts one connection's bytes into requests."""

    __slots__ = (
        "_body",
        "_buffer",
        "_client_host",
        "_head_bytes",
        "_headers",
        "_length",
        "_limits",
        "_lines",
        "_parser",
        "_request",
        "_stream_bodies",
        "keep_alive",
        "takes_chunks",
    )

    def __init__(
        self, limits: ServerLimits, client_host: str, *, stream_bodies: bool = False
    ) -> None:
        self._limits = limits
        self._client_host = client_host
        self._stream_bodies = stream_bodies
        self._buffer: bytes = b""
        self._parser: h11.Connection | None = None
        self._request: h11.Request | None = None
        self._body = bytearray()
        self._head_bytes = 0
        self._lines = b""  # those of the last plain request: most send the same again
        self._headers: _Headers | None = None
        self._length: int | None = None  # what they say of the body
        self.keep_alive = True
        """Whether the connection may serve on after the latest request."""
        self.takes_chunks = True
        """Whether the latest request may be answered in chunks, as HTTP/1.0 may not."""

    @property
    def is_empty(self) -> bool:
        """Tell whether no byte of a next request is here."""
        return not self._buffer and self._parser is None

    @property
    def in_body(self) -> bool:
        """Tell whether a head is complete and its body is not."""
        return self._request is not None

    @property
    def body_length(self) -> int | None:
        """Bytes of the body that ``in_body`` is about, ``None`` if not told."""
        assert self._request is not None
        length = dict(self._request.headers).get(b"content-length")
        return None if length is None else int(length)

    def feed(self, data: bytes) -> None:
        """Take in what the socket gave, never empty."""
        if self._parser is not None:
            self._parser.receive_data(data)
        else:
            self._buffer = self._buffer + data if self._buffer else data

    def next_request(self) -> HttpRequest | None:
        """Return the next request, or ``None`` while its bytes are not all here.

        Where bodies are streamed, a request that has one comes without it while ``in_body``.
        Raises ``RequestRejected``.
        """
        if self._parser is None:
            if not self._buffer:
                return None
            if (request := self._read_plain()) is not None:
                return request
        return self._read_any()

    def next_plain(self) -> HttpRequest | None:
        """Return the next request if it is here and a plain one, as nearly all are."""
        return self._read_plain() if self._buffer and self._parser is None else None

    def next_data(self) -> bytes | None:
        """Return some of a streamed body, nothing at its end, or ``None`` while none is here.

        Raises ``RequestRejected``.
        """
        parser = self._parser
        if parser is None:
            return b""
        import h11

        try:
            event = parser.next_event()
        except h11.RemoteProtocolError as error:
            raise self._rejection(parser, error) from error
        match event:
            case h11.Data():
                return bytes(event.data)
            case h11.EndOfMessage():
                self._finish(parser)
                return b""
            case _:
                return None

    def take_ahead(self) -> bytes:
        """Return what came behind the latest request, which is then the caller's."""
        ahead, self._buffer = self._buffer, b""
        return ahead

    def take_continue(self) -> bool:
        """Tell whether the client waits for ``100 Continue`` before it sends the body."""
        parser = self._parser
        if parser is None or not parser.they_are_waiting_for_100_continue:
            return False
        import h11

        parser.send(h11.InformationalResponse(status_code=100, headers=[]))
        return True

    def _read_plain(self) -> HttpRequest | None:
        match = _PLAIN.match(self._buffer)
        if match is None or match.end() > self._limits.head_bytes:
            return None
        lines: bytes = match[3]
        if lines != self._lines:
            self._lines, (self._headers, self._length) = lines, _plain_headers(lines)
        method: str = match[1].decode()
        if self._headers is None or (self._length is None) != (method != "POST"):
            return None
        begin, length = match.end(), self._length or 0
        end = begin + length
        too_much = length > self._limits.body_bytes or (length > 0 and self._stream_bodies)
        if too_much or len(self._buffer) < end:
            return None
        body, self._buffer = self._buffer[begin:end], self._buffer[end:]
        self.keep_alive = self.takes_chunks = True
        return HttpRequest(method, match[2].decode(), self._headers, body, self._client_host, begin)

    def _read_any(self) -> HttpRequest | None:
        import h11

        if (parser := self._parser) is None:
            parser = self._parser = h11.Connection(
                h11.SERVER, max_incomplete_event_size=self._limits.head_bytes
            )
            parser.receive_data(self._buffer)
            self._buffer = b""
        try:
            return self._read_events(parser)
        except h11.RemoteProtocolError as error:
            raise self._rejection(parser, error) from error

    def _read_events(self, parser: h11.Connection) -> HttpRequest | None:
        import h11

        while True:
            event = parser.next_event()
            match event:
                case h11.Request():
                    self._check_head(event)
                    self._request = event
                    self.takes_chunks = event.http_version >= b"1.1"
                    if self._stream_bodies and _has_body(event):
                        return self._build(event)
                case h11.Data():
                    self._body += event.data
                    if len(self._body) > self._limits.body_bytes:
                        raise self._too_large()
                case h11.EndOfMessage():
                    return self._finish(parser)
                case _:
                    assert event is h11.NEED_DATA, "the parser is replaced after each request"
                    return None

    def _check_head(self, request: h11.Request) -> None:
        limits = self._limits
        fields = request.headers.raw_items()
        if len(request.target) > limits.head_bytes:
            raise RequestRejected(414, f"request target above {limits.head_bytes} bytes")
        line = len(request.method) + len(request.target) + len("  HTTP/1.1\r\n")
        size = line + sum(len(name) + len(value) + len(": \r\n") for name, value in fields)
        if size > limits.head_bytes:
            raise RequestRejected(431, f"request head above {limits.head_bytes} bytes")
        self._head_bytes = size
        if not request.http_version.startswith(b"1."):
            version = request.http_version.decode()
            raise RequestRejected(505, f"HTTP/{version} is not spoken here: use HTTP/1.1")
        headers = dict(request.headers)
        length = headers.get(b"content-length")
        if length is not None and b"transfer-encoding" in headers:
            raise RequestRejected(400, "both Content-Length and Transfer-Encoding")
        if length is not None and int(length) > limits.body_bytes and not self._stream_bodies:
            raise self._too_large()

    def _finish(self, parser: h11.Connection) -> HttpRequest:
        import h11

        request = self._request
        assert request is not None
        built = self._build(request)
        self.keep_alive = parser.their_state is not h11.MUST_CLOSE and built.method != "CONNECT"
        self._buffer = parser.trailing_data[0]
        self._parser = self._request = None
        self._body.clear()
        return built

    def _build(self, request: h11.Request) -> HttpRequest:
        return HttpRequest(
            request.method.decode(),
            request.target.decode(),
            tuple([(n.decode("latin-1"), v.decode("latin-1")) for n, v in request.headers]),
            bytes(self._body),
            self._client_host,
            self._head_bytes,
        )

    def _rejection(self, parser: h11.Connection, error: h11.RemoteProtocolError) -> RequestRejected:
        status = error.error_status_hint
        if status != 431:
            return RequestRejected(status, str(error)[:_QUOTE_CHARS])
        limit = self._limits.head_bytes
        if not self.in_body and b"\n" not in parser.trailing_data[0]:
            return RequestRejected(414, f"request line above {limit} bytes")
        return RequestRejected(431, f"request head above {limit} bytes")

    def _too_large(self) -> RequestRejected:
        return RequestRejected(413, f"request body above {self._limits.body_bytes} bytes")


def _has_body(request: h11.Request) -> bool:
    headers = dict(request.headers)
    return b"transfer-encoding" in headers or int(headers.get(b"content-length", 0)) > 0


def _plain_headers(lines: bytes) -> tuple[_Headers | None, int | None]:
    """Return the headers, ``None`` if the request with them takes more than a look; and length."""
    headers = tuple(
        [
            (name.lower(), value.strip(" \t"))
            for name, _, value in [
                line.partition(":") for line in lines.decode("latin-1").split("\r\n")[:-1]
            ]
        ]
    )
    names = [name for name, _ in headers]
    lengths = [value for name, value in headers if name == "content-length"]
    if names.count("host") != 1 or not _NOT_PLAIN.isdisjoint(names) or len(lengths) > 1:
        return None, None
    if not lengths:
        return headers, None
    return (headers, int(lengths[0])) if _LENGTH.fullmatch(lengths[0]) else (None, None)
