"""A response onto a socket: head built by hand, files by ``sendfile``, a deadline on progress."""

from __future__ import annotations

import time
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import trio
from trio.lowlevel import checkpoint

from ...engine.expressions import expression
from .messages import FileSlice, HttpResponse

if TYPE_CHECKING:
    from .messages import Pace, Part
    from .transport import Transport

_FILE_CHUNK: Final = 1 << 20
"""The fastest size for ``sendfile`` (performance 4.1)."""
_FIRST_TURN_BYTES: Final = 8 << 10
_TURN_BYTES: Final = (4 << 10, 256 << 10)
"""Least and most."""
_QUICK_TURN_S: Final = 0.25
_SLOW_TURN_S: Final = 2.0
PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}
BODILESS: Final = frozenset({204, 304})
_OURS: Final = frozenset({"connection", "content-length", "date", "transfer-encoding"})
_TOKEN: Final = expression(r"[-!#$%&'*+.^_`|~0-9a-zA-Z]+")
_VALUE: Final = expression(r"[\t -~\x80-\xff]*")


class FileTooShort(Exception):
    """A file ended before the slice that a response had promised."""


def response_head(response: HttpResponse, *, keep_alive: bool) -> bytes:
    """Return status line and headers.

    Raises ``ValueError`` for a header that would break the message or is not the handler's.
    """
    start = _start(response.status, response.content_type)
    if keep_alive and not response.headers and response.status not in BODILESS:
        length = response.content_length
        return f"{start}\r\n{date_line()}\r\nContent-Length: {length}\r\n\r\n".encode("latin-1")
    lines = [start, date_line()]
    if response.status not in BODILESS:
        lines.append(f"Content-Length: {response.content_length}")
    elif response.content_length:
        raise ValueError(f"a response with status {response.status} has no body")
    for name, value in response.headers:
        if name.lower() in _OURS:
            raise ValueError(f"header name {name!r}: not one that a handler can set")
        lines.append(header_line(name, value))
    if not keep_alive:
        lines.append("Connection: close")
    lines.append("\r\n")
    return "\r\n".join(lines).encode("latin-1")


async def send_response(
    sock: Transport,
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
    sender = BodySender(sock, timeout_s, response.pace)
    complete = False
    try:
        await sender.send(head, () if head_only else response.parts)
        complete = True
    finally:
        if not complete:
            sock.reset_on_close()
        if response.on_closed is not None:
            response.on_closed(complete, max(0, sender.body_bytes))


class _Turns:
    """How much of a paced response goes at a time: less where turns are long in coming.

    So that of hundreds that share a low limit none seems to be stuck to its receiver.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._bytes = _FIRST_TURN_BYTES

    async def take(self, wanted: int) -> int:
        """Wait for a turn, and return how many of ``wanted`` bytes may go."""
        count = min(wanted, self._bytes)
        began_s = trio.current_time()
        await self._pace(count)
        waited_s = trio.current_time() - began_s
        least, most = _TURN_BYTES
        if waited_s < _QUICK_TURN_S:
            self._bytes = min(most, 2 * self._bytes)
        elif waited_s > _SLOW_TURN_S:
            self._bytes = max(least, self._bytes // 2)
        return count


class BodySender:
    """Sends one response; ``body_bytes`` counts what of its body is out.

    Raises ``FileTooShort``, ``OSError``, ``trio.TooSlowError``.
    """

    def __init__(self, sock: Transport, timeout_s: float, pace: Pace | None) -> None:
        self.body_bytes = 0
        self._sock = sock
        self._timeout_s = timeout_s
        self._turns = _Turns(pace) if pace is not None else None

    async def send(self, head: bytes, parts: tuple[Part, ...]) -> None:
        """Send ``head``, which does not count, and ``parts``."""
        self.body_bytes -= len(head)
        runs = _runs(head, parts)
        if len(runs) > 1:
            self._sock.cork(True)
        for run in runs:
            await self.send_part(run)
        if len(runs) > 1:
            self._sock.cork(False)

    async def send_framed(self, before: bytes, part: Part, after: bytes) -> None:
        """Send ``part`` between two bits that do not count."""
        self.body_bytes -= len(after)
        await self.send(before, (part, after))

    async def send_part(self, part: Part) -> None:
        """Send ``part`` and nothing else."""
        if isinstance(part, FileSlice):
            await self._send_file(part)
        else:
            await self._send_bytes(part)

    async def _send_bytes(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            chunk = rest
            if self._turns is not None:
                chunk = rest[: await self._turns.take(len(rest))]
            count = await self._sock.send(chunk, self._timeout_s)
            self.body_bytes += count
            rest = rest[count:]
            if rest:
                await checkpoint()

    async def _send_file(self, part: FileSlice) -> None:
        offset, end = part.offset, part.offset + part.count
        while offset < end:
            count = min(end - offset, _FILE_CHUNK)
            if self._turns is not None:
                count = await self._turns.take(count)
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


def header_line(name: str, value: str) -> str:
    """Return the line without its end; ``ValueError`` where it would break the message."""
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"header name {name!r}: not a token")
    _check_value(name, value)
    return f"{name}: {value}"


def date_line() -> str:
    """Return the Date header of now."""
    return _date(int(time.time()))


@lru_cache(maxsize=64)
def _start(status: int, content_type: str) -> str:
    if not 200 <= status <= 999:
        raise ValueError(f"status {status}: expected 200 to 999")
    line = f"HTTP/1.1 {status} {PHRASES.get(status, 'Unknown')}"
    if status in BODILESS:
        return line
    _check_value("content-type", content_type)
    return f"{line}\r\nContent-Type: {content_type}"


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return time.strftime("Date: %a, %d %b %Y %H:%M:%S GMT", time.gmtime(second))


def _check_value(name: str, value: str) -> None:
    if not _VALUE.fullmatch(value):
        raise ValueError(f"header {name}: {value!r} has characters that may not stand in one")
