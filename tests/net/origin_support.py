"""What the tests of origin reads share: a read and all that came of it."""

from __future__ import annotations

import hashlib
import os
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import trio

from damselfly.engine.effects import ReadOrigin
from damselfly.engine.events import (
    OriginEnded,
    OriginEvent,
    OriginFailed,
    OriginOpened,
    OriginPieceStored,
)
from damselfly.engine.ids import FetchId, PieceIndex, TaskId
from damselfly.engine.piece import Digest, PieceSizePolicy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from damselfly.net.origin import OriginReader

PIECE_SIZE: Final = 100_005
CONTENT: Final = 100_000
DATA: Final = random.Random(1).randbytes(3 * CONTENT + 456)
MD5: Final = hashlib.md5(DATA).hexdigest()


@dataclass
class Disk:
    """A sink that is a real file; ``path`` may be a device."""

    path: Path | str

    def write(self, offset: int, data: memoryview) -> None:
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT)
        try:
            assert os.pwrite(fd, data, offset) == len(data)
        finally:
            os.close(fd)


@dataclass
class Run:
    """What came of one read."""

    events: list[OriginEvent] = field(default_factory=list[OriginEvent])
    body_bytes: int = 0

    def count(self, received: int) -> None:
        self.body_bytes += received

    @property
    def opened(self) -> OriginOpened:
        (opened,) = (event for event in self.events if isinstance(event, OriginOpened))
        return opened

    @property
    def ended(self) -> OriginEnded:
        ended = self.events[-1]
        assert isinstance(ended, OriginEnded), ended
        return ended

    @property
    def failed(self) -> OriginFailed:
        failed = self.events[-1]
        assert isinstance(failed, OriginFailed), failed
        return failed

    @property
    def pieces(self) -> list[int]:
        return [event.piece for event in self.events if isinstance(event, OriginPieceStored)]


def effect(
    url: str,
    first_byte: int = 0,
    last_byte: int | None = None,
    *,
    headers: tuple[str, ...] = (),
    piece_size: int | PieceSizePolicy = PIECE_SIZE,
    validator: str = "",
    wants_md5: bool = False,
    insecure: bool = False,
    root_cas: tuple[str, ...] = (),
) -> ReadOrigin:
    return ReadOrigin(
        FetchId(7),
        TaskId("0" * 64),
        url,
        headers,
        piece_size,
        first_byte,
        last_byte,
        validator,
        wants_md5,
        insecure,
        root_cas,
    )


async def read(reader: OriginReader, asked: ReadOrigin, disk: Disk) -> Run:
    run = Run()
    with trio.fail_after(60):
        await reader.read(asked, disk, run.events.append, run.count)
    assert all(event.fetch == 7 for event in run.events)
    return run


def piece_stored(piece: int, content: bytes) -> OriginPieceStored:
    digest = Digest(f"sha256:{hashlib.sha256(content).hexdigest()}")
    return OriginPieceStored(FetchId(7), PieceIndex(piece), len(content), digest)


def stored_pieces(data: bytes, first: int = 0) -> list[OriginEvent]:
    starts = range(0, len(data), CONTENT)
    return [
        piece_stored(first + i, data[start : start + CONTENT]) for i, start in enumerate(starts)
    ]


@asynccontextmanager
async def raw_origin(answer: bytes) -> AsyncGenerator[str]:
    """Serve ``answer`` to whatever is asked and close the connection; yields the URL."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some(65536)
            await stream.send_all(answer)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/raw"
        nursery.cancel_scope.cancel()
