"""Sends a response whose body comes bit by bit, in chunks where its length is not known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from ...engine.errors import DamselflyError
from .messages import FileSlice
from .sending import BODILESS, PHRASES, BodySender, date_line, header_line

if TYPE_CHECKING:
    from .messages import StreamedResponse
    from .transport import Transport

_OURS: Final = frozenset({"connection", "content-length", "transfer-encoding"})


class WrongLength(DamselflyError):
    """A body has another length than its head promised."""


def streamed_head(
    response: StreamedResponse, *, head_only: bool, chunked: bool, keep_alive: bool
) -> bytes:
    """Return status line and headers; ``chunked`` counts only where no length is known.

    Raises ``ValueError`` for a header that would break the message or is not the handler's.
    """
    status = response.status
    if not 200 <= status <= 999:
        raise ValueError(f"status {status}: expected 200 to 999")
    lines = [f"HTTP/1.1 {status} {PHRASES.get(status, 'Unknown')}"]
    has_date = False
    for name, value in response.headers:
        if name.lower() in _OURS:
            raise ValueError(f"header name {name!r}: not one that a handler can set")
        has_date |= name.lower() == "date"
        lines.append(header_line(name, value))
    if not has_date:
        lines.append(date_line())
    if status in BODILESS:
        pass
    elif response.length is not None:
        lines.append(f"Content-Length: {response.length}")
    elif chunked and not head_only:
        lines.append("Transfer-Encoding: chunked")
    if not keep_alive:
        lines.append("Connection: close")
    lines.append("\r\n")
    return "\r\n".join(lines).encode("latin-1")


async def send_streamed(
    sock: Transport,
    head: bytes,
    response: StreamedResponse,
    *,
    timeout_s: float,
    head_only: bool,
    chunked: bool,
) -> None:
    """Send ``response`` behind ``head``, then close its body and call its ``on_closed``.

    Where not all of it went out, closing will reset the connection.
    Raises what the body raises, ``WrongLength``, ``FileTooShort``, ``OSError``, and
    ``trio.TooSlowError`` when the client took nothing for ``timeout_s``.
    """
    sender = BodySender(sock, timeout_s, None)
    complete = False
    try:
        await sender.send(head, ())
        if not head_only and response.status not in BODILESS:
            await _send_body(sender, response, chunked and response.length is None)
        complete = True
    finally:
        if not complete:
            sock.reset_on_close()
        try:
            with trio.CancelScope(shield=True):
                await response.body.aclose()
        finally:
            if response.on_closed is not None:
                response.on_closed(complete, max(0, sender.body_bytes))


async def _send_body(sender: BodySender, response: StreamedResponse, chunked: bool) -> None:
    length, taken = response.length, 0
    async for part in response.body:
        size = part.count if isinstance(part, FileSlice) else len(part)
        if size == 0:
            continue
        taken += size
        if length is not None and taken > length:
            raise WrongLength(f"the body is longer than the {length} bytes promised")
        if chunked:
            await sender.send_framed(b"%x\r\n" % size, part, b"\r\n")
        else:
            await sender.send_part(part)
    if length is not None and taken < length:
        raise WrongLength(f"the body ended after {taken} of {length} bytes")
    if chunked:
        await sender.send(b"0\r\n\r\n", ())
