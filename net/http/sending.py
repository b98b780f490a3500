"""A response onto a socket: head built by hand, files by ``sendfile``, a deadline on progress."""

from __future__ import annotations

import re
import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from trio.lowlevel import checkpoint

from .messages import FileSlice, HttpResponse

if TYPE_CHECKING:
    from .messages import Pace, Part
    from .timed import TimedSocket

_FILE_CHUNK: Final = 1 << 20
"""The fastest size for ``sendfile`` (performance 4.1)."""
_PACED_CHUNK: Final = 256 << 10
_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}
_BODILESS: Final = frozenset({204, 304})
_OURS: Final = frozenset({"connection", "content-length", "date", "transfer-encoding"})
_TOKEN: Final = re.compile(r"[-!#$%&'*+.^_`|~0-9a-zA-Z]+")
_VALUE: Final = re.compile(r"[\t -~\x80-\xff]*")


class FileTooShort(Exception):
    """A file ended before the slice that a response had promised."""


def response_head(response: HttpResponse, *, keep_alive: bool) -> bytes:
    """Return status line and headers.

    Raises ``ValueError`` for a header that would break the message or is not the handler's.
    """
    status = response.status
    if not 200 <= status <= 999:
        raise ValueError(f"status {status}: expected 200 to 999")
    lines = [f"HTTP/1.1 {status} {_PHRASES.get(status, 'Unknown')}", _date(int(time.time()))]
    if status not in _BODILESS:
        _check_value("content-type", response.content_type)
        lines.append(f"Content-Type: {response.content_type}")
        lines.append(f"Content-Length: {response.content_length}")
    elif response.content_length:
        raise ValueError(f"a response with status {status} has no body")
    for name, value in response.headers:
        if not _TOKEN.fullmatch(name) or name.lower() in _OURS:
            raise ValueError(f"header name {name!r}: not one that a handler can set")
        _check_value(name, value)
        lines.append(f"{name}: {value}")
    if not keep_alive:
        lines.append("Connection: close")
    lines.append("\r\n")
    return "\r\n".join(lines).encode("latin-1")


async def send_response(
    sock: TimedSocket,
    head: bytes,
    response: HttpResponse,
    *,
    timeout_s: float,
    head_only: bool,
) -> None:
    """Send ``response`` behind ``head`` and call its ``on_closed``, whatever happens.

    Where not all of it went out, closing will reset the connection, so that nobody takes a part
    for all.
    Raises ``FileTooShort``, ``OSError``, and ``trio.TooSlowError`` when nothing moved for
    ``timeout_s``.
    """
    sender = _Sender(sock, timeout_s, response.pace)
    complete = False
    try:
        await sender.send(head, () if head_only else response.parts)
        complete = True
    finally:
        if not complete:
            sock.reset_on_close()
        if response.on_closed is not None:
            response.on_closed(complete, max(0, sender.body_bytes))


class _Sender:
    """Sends one response; ``body_bytes`` starts below zero by the size of the head."""

    def __init__(self, sock: TimedSocket, timeout_s: float, pace: Pace | None) -> None:
        self.body_bytes = 0
        self._sock = sock
        self._timeout_s = timeout_s
        self._pace = pace

    async def send(self, head: bytes, parts: tuple[Part, ...]) -> None:
        self.body_bytes = -len(head)
        runs = _runs(head, parts)
        if len(runs) > 1:
            self._sock.cork(True)
        for run in runs:
            if isinstance(run, FileSlice):
                await self._send_file(run)
            else:
                await self._send_bytes(run)
        if len(runs) > 1:
            self._sock.cork(False)

    async def _send_bytes(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            chunk = rest
            if self._pace is not None:
                chunk = rest[:_PACED_CHUNK]
                await self._pace(len(chunk))
            count = await self._sock.send(chunk, self._timeout_s)
            self.body_bytes += count
            rest = rest[count:]
            if rest:
                await checkpoint()

    async def _send_file(self, part: FileSlice) -> None:
        offset, end = part.offset, part.offset + part.count
        while offset < end:
            count = min(end - offset, _FILE_CHUNK if self._pace is None else _PACED_CHUNK)
            if self._pace is not None:
                await self._pace(count)
            sent = await self._sock.send_file(part.fd, offset, count, self._timeout_s)
            if sent == 0:
                raise FileTooShort(f"file ends at byte {offset}, the response promised {end}")
            self.body_bytes += sent
            offset += sent
            if offset < end:
                await checkpoint()


def _runs(head: bytes, parts: tuple[Part, ...]) -> list[Part]:
    """Return ``head`` and ``parts`` with neighbouring bytes joined."""
    runs: list[Part] = []
    run = [head]
    for part in parts:
        if isinstance(part, FileSlice):
            runs += [b"".join(run), part]
            run = []
        else:
            run.append(part)
    if run:
        runs.append(b"".join(run))
    return runs


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return f"Date: {formatdate(second, usegmt=True)}"


def _check_value(name: str, value: str) -> None:
    if not _VALUE.fullmatch(value):
        raise ValueError(f"header {name}: {value!r} has characters that may not stand in one")
