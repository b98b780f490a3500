"""Bytes of a connection to requests, without I/O.

h11 reads everything, and most requests need it for nothing: a GET or HEAD without a body whose
head came whole is recognised by one regular expression.  The expression takes a strict subset of
what h11 takes, and a test holds the two against each other.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import h11

from .messages import HttpRequest

if TYPE_CHECKING:
    from .limits import ServerLimits

_PLAIN: Final = re.compile(
    rb"(GET|HEAD) ([!-~]+) HTTP/1\.1\r\n"
    rb"((?:[-!#$%&'*+.^_`|~0-9a-zA-Z]+:[\t -~\x80-\xff]*\r\n)+)\r\n"
)
_NOT_PLAIN: Final = frozenset(
    {"connection", "content-length", "expect", "transfer-encoding", "upgrade"}
)
_QUOTE_CHARS: Final = 200


class RequestRejected(Exception):
    """A request that cannot be read; after an answer with ``status`` the connection must close."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class RequestReader:
    """Cuts one connection's bytes into requests."""

    __slots__ = ("_body", "_buffer", "_client_host", "_limits", "_parser", "_request", "keep_alive")

    def __init__(self, limits: ServerLimits, client_host: str) -> None:
        self._limits = limits
        self._client_host = client_host
        self._buffer = b""
        self._parser: h11.Connection | None = None
        self._request: h11.Request | None = None
        self._body = bytearray()
        self.keep_alive = True
        """Whether the connection may serve on after the latest request."""

    @property
    def is_empty(self) -> bool:
        """Tell whether no byte of a next request is here."""
        return not self._buffer and self._parser is None

    @property
    def in_body(self) -> bool:
        """Tell whether a head is complete and its body is not."""
        return self._request is not None

    def feed(self, data: bytes) -> None:
        """Take in what the socket gave, never empty."""
        if self._parser is not None:
            self._parser.receive_data(data)
        else:
            self._buffer = self._buffer + data if self._buffer else data

    def next_request(self) -> HttpRequest | None:
        """Return the next request, or ``None`` while its bytes are not all here.

        Raises ``RequestRejected``.
        """
        if self._parser is None:
            if not self._buffer:
                return None
            if (request := self._read_plain()) is not None:
                return request
            self._parser = h11.Connection(
                h11.SERVER, max_incomplete_event_size=self._limits.head_bytes
            )
            self._parser.receive_data(self._buffer)
            self._buffer = b""
        try:
            return self._read_any(self._parser)
        except h11.RemoteProtocolError as error:
            raise self._rejection(self._parser, error) from error

    def take_continue(self) -> bool:
        """Tell whether the client waits for ``100 Continue`` before it sends the body."""
        parser = self._parser
        if parser is None or not parser.they_are_waiting_for_100_continue:
            return False
        parser.send(h11.InformationalResponse(status_code=100, headers=[]))
        return True

    def _read_plain(self) -> HttpRequest | None:
        match = _PLAIN.match(self._buffer)
        if match is None or match.end() > self._limits.head_bytes:
            return None
        lines = match[3].decode("latin-1").split("\r\n")
        lines.pop()
        headers = tuple(
            [
                (name.lower(), value.strip(" \t"))
                for name, _, value in [line.partition(":") for line in lines]
            ]
        )
        names = [name for name, _ in headers]
        if names.count("host") != 1 or not _NOT_PLAIN.isdisjoint(names):
            return None
        self._buffer = self._buffer[match.end() :]
        self.keep_alive = True
        return HttpRequest(match[1].decode(), match[2].decode(), headers, b"", self._client_host)

    def _read_any(self, parser: h11.Connection) -> HttpRequest | None:
        while True:
            event = parser.next_event()
            match event:
                case h11.Request():
                    self._check_head(event)
                    self._request = event
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
        if not request.http_version.startswith(b"1."):
            version = request.http_version.decode()
            raise RequestRejected(505, f"HTTP/{version} is not spoken here: use HTTP/1.1")
        headers = dict(request.headers)
        length = headers.get(b"content-length")
        if length is not None and b"transfer-encoding" in headers:
            raise RequestRejected(400, "both Content-Length and Transfer-Encoding")
        if length is not None and int(length) > limits.body_bytes:
            raise self._too_large()

    def _finish(self, parser: h11.Connection) -> HttpRequest:
        request = self._request
        assert request is not None
        built = HttpRequest(
            request.method.decode(),
            request.target.decode(),
            tuple([(n.decode("latin-1"), v.decode("latin-1")) for n, v in request.headers]),
            bytes(self._body),
            self._client_host,
        )
        self.keep_alive = parser.their_state is not h11.MUST_CLOSE and built.method != "CONNECT"
        self._buffer = parser.trailing_data[0]
        self._parser = self._request = None
        self._body.clear()
        return built

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
