"""One piece from a parent: asked for, written as it comes, hashed on the way (protocol 3.2, 4).

The hash is computed inline.  Handed to a worker thread it cost a third more CPU and, with the
parent on the same two cores, came out slower at 1 MiB and no faster at 4 MiB pieces.
"""

from __future__ import annotations

import errno
import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ..engine.events import FetchFailure, PieceFailed, PieceFetched
from ..engine.piece import HEAD_BYTES, UNKNOWN_LENGTH, WRAP_BYTES, Digest, PieceLayout
from ..engine.wire.frame import TAIL, parse_head, piece_head
from .http import BadAnswer, ConnectFailed, ConnectionLost, HttpError, ShortBody, StalledError
from .version import VERSION

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from ..engine.effects import FetchPiece
    from .http import HttpPool, HttpReply

_USER_AGENT: Final = f"damselfly/{VERSION}"
_BUFFER_BYTES: Final = 1 << 20
_PACED_BYTES: Final = 256 << 10
_NOT_FOUND: Final = frozenset({404, 416, 500})
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_FAILURES: Final[dict[type[HttpError], FetchFailure]] = {
    ConnectFailed: FetchFailure.UNREACHABLE,
    ConnectionLost: FetchFailure.UNREACHABLE,
    StalledError: FetchFailure.STALLED,
    ShortBody: FetchFailure.SHORT,
    BadAnswer: FetchFailure.REFUSED,
}


class Buffers:
    """Memory for pieces on their way to the disk, a MiB each.

    Used again and again: a page that is new costs the kernel more than to copy into one.
    """

    def __init__(self) -> None:
        self._spare: list[memoryview] = []

    @contextmanager
    def borrowed(self) -> Generator[memoryview]:
        """Lend a buffer."""
        buffer = self._spare.pop() if self._spare else memoryview(bytearray(_BUFFER_BYTES))
        try:
            yield buffer
        finally:
            self._spare.append(buffer)


async def fetch_piece(
    effect: FetchPiece,
    pool: HttpPool,
    write: Callable[[int, memoryview], None],
    buffers: Buffers,
    *,
    pace: Callable[[int], Awaitable[None]] | None = None,
) -> PieceFetched | PieceFailed:
    """Perform ``effect``; ``write`` gets an offset in the plain file and the bytes that go there.

    An ``OSError`` of ``write`` fails the piece.  ``pace`` is told how many bytes are next, at most
    256 KiB, and returns when they may come.  Whether the digest is the expected one is for the
    engine to see.
    """
    offer = effect.offer
    try:
        return await _Transfer(effect, write, buffers, pace).run(pool)
    except HttpError as error:
        failure, what = _FAILURES[type(error)], error.what
    except _TransferFailed as failed:
        failure, what = failed.failure, failed.what
    where = f"piece {offer.piece} from {offer.host}:{offer.port} {offer.path}"
    return PieceFailed(effect.fetch, failure, f"{where}: {what}")


class _TransferFailed(Exception):
    def __init__(self, failure: FetchFailure, what: str) -> None:
        super().__init__(what)
        self.failure = failure
        self.what = what


class _Transfer:
    def __init__(
        self,
        effect: FetchPiece,
        write: Callable[[int, memoryview], None],
        buffers: Buffers,
        pace: Callable[[int], Awaitable[None]] | None,
    ) -> None:
        self._effect = effect
        self._offer = effect.offer
        self._layout = PieceLayout(UNKNOWN_LENGTH, effect.offer.piece_size, effect.plain)
        self._write = write
        self._buffers = buffers
        self._pace = pace
        self._wants_md5 = effect.offer.digest.startswith("md5:")

    async def run(self, pool: HttpPool) -> PieceFetched:
        offer = self._offer
        path = offer.path if offer.path.startswith("/") else f"/{offer.path}"
        timeout_s = self._effect.stall_timeout_s
        async with pool.open(
            offer.host, offer.port, "GET", path, self._headers(), timeout_s=timeout_s
        ) as reply:
            if not 200 <= reply.status < 300:
                gone = reply.status in _NOT_FOUND
                failure = FetchFailure.NOT_FOUND if gone else FetchFailure.REFUSED
                raise _TransferFailed(failure, f"answered {reply.status}")
            if self._effect.plain:
                head, size = b"", self._plain_size(reply)
            else:
                head = await self._exactly(reply, HEAD_BYTES)
                size = self._content_size(head, reply.content_length)
            digest = await self._content(reply, head, size)
        return PieceFetched(self._effect.fetch, size, digest)

    def _headers(self) -> tuple[tuple[str, str], ...]:
        offer, plain = self._offer, self._effect.plain
        first, last = self._layout.wrapped_range(offer.piece)
        if plain and self._effect.size > 0:
            last = first + self._effect.size - 1
        return (
            ("Range", f"bytes={first}-{last}"),
            ("pieceNum", str(offer.piece)),
            ("pieceSize", str(offer.piece_size)),
            *((("cdnSource", "source"),) if plain else ()),
            ("User-Agent", _USER_AGENT),
        )

    def _plain_size(self, reply: HttpReply) -> int:
        """Return the length of a body that is the piece and nothing else."""
        size, found = self._effect.size, reply.content_length
        if reply.status != 206 or size < 0 or found != size:
            body = f"a body of {found} bytes with status {reply.status}"
            text = f"not the range asked for: {body}, expected {size} with 206"
            raise _TransferFailed(FetchFailure.SHORT, text)
        return size

    def _content_size(self, head: bytes, body_length: int | None) -> int:
        """Return the length of the content, on which head, body and our knowledge must agree."""
        size = self._effect.size
        if size < 0:
            size = parse_head(head) if body_length is None else body_length - WRAP_BYTES
        if body_length is not None and body_length != size + WRAP_BYTES:
            raise _not_a_piece(f"a body of {body_length} bytes", f"{size + WRAP_BYTES}")
        announced, most = parse_head(head), self._layout.content_size
        right = parse_head(piece_head(size, self._offer.piece_size))
        if announced != right or not 0 <= size <= most:
            raise _not_a_piece(f"a head for {announced} bytes", f"{right}, at most {most}")
        return size

    async def _content(self, reply: HttpReply, head: bytes, size: int) -> Digest:
        hasher = hashlib.md5(head, usedforsecurity=False) if self._wants_md5 else hashlib.sha256()
        tail = b"" if self._effect.plain else TAIL
        offset = self._layout.offset(self._offer.piece)
        end, closing = offset + size, b""
        with self._buffers.borrowed() as buffer:
            while (left := end - offset) or len(closing) < len(tail):
                count = await self._next(reply, buffer, left, len(tail) - len(closing))
                content = buffer[: min(count, left)]
                closing += bytes(buffer[len(content) : count])
                if content:
                    self._store(offset, content)
                    hasher.update(content)
                    offset += len(content)
        if closing != tail:
            raise _not_a_piece(f"closing byte {closing.hex()}", tail.hex())
        if tail and await reply.readinto(memoryview(bytearray(1))):
            raise _not_a_piece("bytes after the closing one", "none")
        if self._wants_md5 and tail:
            hasher.update(tail)
        return Digest(f"{hasher.name}:{hasher.hexdigest()}")

    async def _next(self, reply: HttpReply, buffer: memoryview, left: int, closing: int) -> int:
        """Fill ``buffer`` with what is left of the content and ``closing`` bytes behind it."""
        wanted = min(left + closing, len(buffer))
        if self._pace is not None and left:
            wanted = min(left, _PACED_BYTES)
            await self._pace(wanted)
        await self._fill(reply, buffer[:wanted])
        return wanted

    async def _exactly(self, reply: HttpReply, size: int) -> bytes:
        data = bytearray(size)
        await self._fill(reply, memoryview(data))
        return bytes(data)

    async def _fill(self, reply: HttpReply, rest: memoryview) -> None:
        while rest:
            count = await reply.readinto(rest)
            if count == 0:
                raise _ended_early()
            rest = rest[count:]

    def _store(self, offset: int, data: memoryview) -> None:
        try:
            self._write(offset, data)
        except OSError as error:
            full = error.errno in _FULL
            failure = FetchFailure.STORE_FULL if full else FetchFailure.STORE_FAILED
            raise _TransferFailed(failure, f"cannot be written here: {error}") from error


def _not_a_piece(found: str, expected: str) -> _TransferFailed:
    return _TransferFailed(FetchFailure.SHORT, f"not a wrapped piece: {found}, expected {expected}")


def _ended_early() -> _TransferFailed:
    return _TransferFailed(FetchFailure.SHORT, "the body ended inside the piece")
