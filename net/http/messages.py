"""Requests and responses as a server's handler sees them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request, complete with its body.

    ``target`` is path and query as they came, undecoded.  The names in ``headers`` are in lower
    case.  ``client_host`` is the numeric address of the other end.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    client_host: str

    def header(self, name: str) -> str | None:
        """Return the first value of the header ``name`` (lower case)."""
        return next((value for key, value in self.headers if key == name), None)


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
    and how many bytes of it did; it must not raise.  ``pace`` is awaited before each chunk, of
    at most 256 KiB.
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


Handler: TypeAlias = Callable[[HttpRequest], Awaitable[HttpResponse]]


def text_response(status: int, text: str) -> HttpResponse:
    """Return a short plain-text answer."""
    body = f"{text}\n".encode(errors="replace")
    return HttpResponse(status, (body,), "text/plain; charset=utf-8")
