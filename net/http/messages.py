"""Requests and responses as a server's handler sees them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import field
from typing import TYPE_CHECKING, Protocol, TypeAlias

from ...engine.records import dataclass

if TYPE_CHECKING:
    import ssl

    from .transport import Transport


class RequestBody(Protocol):
    """The body of a request, still on its way; ``length`` in bytes, ``None`` if not told."""

    length: int | None

    async def receive(self) -> bytes:
        """Return some more of it, nothing at its end.

        Raises ``RemoteProtocolError`` for one that is broken or too slow, ``ConnectionError``
        when the client leaves.
        """
        ...


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request, complete with its body.

    ``target`` is path and query as they came, undecoded.  The names in ``headers`` are in lower
    case.  ``client_host`` is the numeric address of the other end, ``head_bytes`` about the size
    of all before the body.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    client_host: str
    head_bytes: int = field(default=0, compare=False)

    def header(self, name: str) -> str | None:
        """Return the first value of the header ``name`` (lower case)."""
        return next((value for key, value in self.headers if key == name), None)


@dataclass(frozen=True, slots=True)
class StreamedRequest(HttpRequest):
    """A request whose body is in ``stream``, not in ``body``; the server was told to stream."""

    stream: RequestBody = field(kw_only=True)


@dataclass(frozen=True, slots=True)
class FileSlice:
    """``count`` bytes from ``offset`` of an open file, sent without passing through this process.

    The descriptor stays the handler's, to be closed in ``HttpResponse.on_closed``.
    """

    fd: int
    offset: int
    count: int


Part: TypeAlias = bytes | FileSlice
Pace: TypeAlias = Callable[[int], Awaitable[None]]
"""Returns when so many more bytes may move."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """What to answer; the body is ``parts`` end to end, its length known beforehand.

    ``headers`` come in addition to those that frame the message, which are the server's.
    ``on_closed`` is called exactly once, whatever happens, with whether all of the body went out
    and how many bytes of it did; it must not raise.  ``pace`` is awaited before each turn, of
    at most 256 KiB, and less where turns are long in coming.
    """

    status: int
    parts: tuple[Part, ...] = ()
    content_type: str = "application/octet-stream"
    headers: tuple[tuple[str, str], ...] = ()
    on_closed: Callable[[bool, int], None] | None = None
    pace: Pace | None = None

    @property
    def content_length(self) -> int:
        """Bytes of the body."""
        return sum(
            [part.count if isinstance(part, FileSlice) else len(part) for part in self.parts]
        )

    @property
    def content(self) -> bytes:
        """The body, where no part is a file's."""
        return b"".join([part for part in self.parts if not isinstance(part, FileSlice)])


class BodyStream(Protocol):
    """A response's body as it comes, to be iterated once."""

    def __aiter__(self) -> AsyncIterator[Part]:
        """Begin; an exception on the way breaks the connection, lest a part pass for all."""
        ...

    async def aclose(self) -> None:
        """Let go of everything; the server awaits this exactly once, whatever happens."""
        ...


@dataclass(frozen=True, slots=True)
class StreamedResponse:
    """A response whose body is not all here when it begins.

    ``length`` in bytes; without one the body is sent in chunks, or, to a client of HTTP/1.0, ends
    with the connection.  ``headers`` include the content's type, and a Date if there shall be
    another than now.  ``on_closed``: as in ``HttpResponse``, after ``body.aclose``.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: BodyStream
    length: int | None = None
    on_closed: Callable[[bool, int], None] | None = None


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Answers a CONNECT with 200 and leaves the connection to ``run``; it is closed after that.

    ``run`` gets the connection and what the client has sent already, and runs in its task.
    ``on_closed`` is called when the connection is not ``run``'s any more, or never was.
    """

    run: Callable[[Transport, bytes], Awaitable[None]]
    on_closed: Callable[[], None]


@dataclass(frozen=True, slots=True)
class SwitchToTls:
    """Answers a CONNECT with 200, then serves requests in TLS on the connection by ``handler``."""

    context: ssl.SSLContext
    handler: Handler


Response: TypeAlias = HttpResponse | StreamedResponse | TakeOver | SwitchToTls
Handler: TypeAlias = Callable[[HttpRequest], Awaitable[Response]]


class Pending(Protocol):
    """An answer that is still to come."""

    def withdraw(self) -> None:
        """Take in that nobody waits for it any more."""
        ...


PromptHandler: TypeAlias = Callable[
    [HttpRequest, Callable[[HttpResponse], None]], HttpResponse | Pending | None
]
"""Answers a request without waiting for anything: now, or later by a call, unless withdrawn.

``None``: this request is for the ``Handler``.  Answers are bytes alone, without ``on_closed`` and
``pace``.
"""


def text_response(status: int, text: str) -> HttpResponse:
    """Return a short plain-text answer."""
    body = f"{text}\n".encode(errors="replace")
    return HttpResponse(status, (body,), "text/plain; charset=utf-8")
