"""Pieces from parents that behave, and from those that do not."""

from __future__ import annotations

import errno
import hashlib
import os
import random
from typing import TYPE_CHECKING

import pytest
import trio

from damselfly.engine.effects import FetchPiece
from damselfly.engine.events import FetchFailure, PieceFailed, PieceFetched
from damselfly.engine.ids import FetchId, PeerId, PieceIndex
from damselfly.engine.messages import PieceOffer
from damselfly.engine.piece import MIB, Digest, PieceLayout
from damselfly.engine.wire.frame import ContentSlice, parse_range, piece_head, wrap, wrapped_parts
from damselfly.net.downloader import Buffers, fetch_piece
from damselfly.net.http import FileSlice, HttpPool, HttpRequest, HttpResponse

from .http_support import Script, answering, scripted, serving, silent

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

PIECE_SIZE = MIB
CONTENT = random.Random(7).randbytes(2 * MIB + 12345)
LAYOUT = PieceLayout(len(CONTENT), PIECE_SIZE)
PIECES = [PieceIndex(number) for number in range(LAYOUT.count)]
SMALL = b"some content"


def content_of(piece: PieceIndex) -> bytes:
    return CONTENT[LAYOUT.offset(piece) :][: LAYOUT.size(piece)]


def sha256_of(data: bytes) -> Digest:
    return Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")


def fetch(
    port: int,
    piece: int = 0,
    *,
    host: str = "127.0.0.1",
    path: str = "/peer/file/x",
    md5: str = "",
    sha256: str = "",
    size: int = -1,
    stall_timeout_s: float = 5,
) -> FetchPiece:
    offer = PieceOffer(
        PieceIndex(piece), PeerId("parent"), host, port, path, PIECE_SIZE, md5=md5, sha256=sha256
    )
    return FetchPiece(FetchId(3), offer, size, stall_timeout_s)


class Target:
    """A file that pieces are written into."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT)

    def write(self, offset: int, data: memoryview) -> None:
        assert os.pwrite(self._fd, data, offset) == len(data)

    def close(self) -> None:
        os.close(self._fd)


@pytest.fixture
def target(tmp_path: Path) -> Generator[Target]:
    target = Target(tmp_path / "target")
    yield target
    target.close()


class Cdn:
    """Serves the wrapped pieces of a file by range, as a supernode does."""

    def __init__(self, path: Path, *, status: int = 206) -> None:
        path.write_bytes(CONTENT)
        self._fd = os.open(path, os.O_RDONLY)
        self._status = status
        self.requests: list[HttpRequest] = []

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        parts = wrapped_parts(LAYOUT, *parse_range(request.header("range") or ""))
        return HttpResponse(
            self._status,
            tuple(
                [
                    FileSlice(self._fd, part.offset, part.count)
                    if isinstance(part, ContentSlice)
                    else part
                    for part in parts
                ]
            ),
        )

    def close(self) -> None:
        os.close(self._fd)


@pytest.fixture
def cdn(tmp_path: Path) -> Generator[Cdn]:
    cdn = Cdn(tmp_path / "source")
    yield cdn
    cdn.close()


# --- what goes well -------------------------------------------------------------------------------


async def test_pieces_fill_the_file_and_carry_their_sha256(cdn: Cdn, target: Target) -> None:
    async with serving(cdn) as port, HttpPool() as pool:
        for piece in reversed(PIECES):
            effect = fetch(port, piece, size=LAYOUT.size(piece))
            assert await fetch_piece(effect, pool, target.write, Buffers()) == PieceFetched(
                FetchId(3), LAYOUT.size(piece), sha256_of(content_of(piece))
            )
    assert target.path.read_bytes() == CONTENT


async def test_pieces_come_side_by_side(cdn: Cdn, target: Target) -> None:
    async with serving(cdn) as port, HttpPool() as pool, trio.open_nursery() as nursery:
        for piece in PIECES:
            nursery.start_soon(fetch_piece, fetch(port, piece), pool, target.write, Buffers())
    assert target.path.read_bytes() == CONTENT


async def test_the_digest_is_in_the_form_of_the_one_expected(cdn: Cdn, target: Target) -> None:
    piece = PIECES[-1]
    wrapped = wrap(content_of(piece), PIECE_SIZE)
    md5 = hashlib.md5(wrapped).hexdigest()
    sha256 = hashlib.sha256(content_of(piece)).hexdigest()
    async with serving(cdn) as port, HttpPool() as pool:
        for offered_md5, offered_sha256, expected in (
            (f"{md5}:{len(wrapped)}", "", f"md5:{md5}"),
            (f"{'0' * 32}:5", "", f"md5:{md5}"),
            ("", sha256, f"sha256:{sha256}"),
            (f"{md5}:{len(wrapped)}", sha256, f"sha256:{sha256}"),
        ):
            effect = fetch(port, piece, md5=offered_md5, sha256=offered_sha256)
            event = await fetch_piece(effect, pool, target.write, Buffers())
            assert isinstance(event, PieceFetched)
            assert event.digest == expected


async def test_the_request_is_what_dragonfly_peers_expect(cdn: Cdn, target: Target) -> None:
    async with serving(cdn) as port, HttpPool() as pool:
        await fetch_piece(fetch(port, 1, path="peer/file/a b"), pool, target.write, Buffers())
    (request,) = cdn.requests
    assert (request.method, request.target) == ("GET", "/peer/file/a%20b")
    assert request.header("range") == f"bytes={PIECE_SIZE}-{2 * PIECE_SIZE - 1}"
    assert request.header("piecenum") == "1"
    assert request.header("piecesize") == str(PIECE_SIZE)
    assert (request.header("user-agent") or "").startswith("damselfly/")


async def test_pacing_sees_every_byte(cdn: Cdn, target: Target) -> None:
    asked: list[int] = []

    async def pace(count: int) -> None:
        asked.append(count)
        await trio.lowlevel.checkpoint()

    async with serving(cdn) as port, HttpPool() as pool:
        await fetch_piece(fetch(port), pool, target.write, Buffers(), pace=pace)
    assert sum(asked) == LAYOUT.content_size
    assert max(asked) <= 256 << 10


def body_of(answer: bytes, *, head: bytes = b"Content-Length: %d\r\n") -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + (head % len(answer) if head else b"") + b"\r\n" + answer


def chunked(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


WRAPPED = wrap(SMALL, PIECE_SIZE)


@pytest.mark.parametrize("answer", [body_of(WRAPPED), body_of(WRAPPED, head=b""), chunked(WRAPPED)])
@pytest.mark.parametrize("size", [-1, len(SMALL)])
async def test_every_framing_will_do(answer: bytes, size: int, target: Target) -> None:
    async with scripted(answering(answer)) as server, HttpPool() as pool:
        event = await fetch_piece(fetch(server.port, size=size), pool, target.write, Buffers())
    assert event == PieceFetched(FetchId(3), len(SMALL), sha256_of(SMALL))
    assert target.path.read_bytes() == SMALL


async def test_the_piece_of_an_empty_file(target: Target) -> None:
    empty = wrap(b"", PIECE_SIZE)
    async with scripted(answering(body_of(empty))) as server, HttpPool() as pool:
        event = await fetch_piece(fetch(server.port, size=0), pool, target.write, Buffers())
    assert event == PieceFetched(FetchId(3), 0, sha256_of(b""))


# --- what does not --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (404, FetchFailure.NOT_FOUND),
        (416, FetchFailure.NOT_FOUND),
        (500, FetchFailure.NOT_FOUND),
        (302, FetchFailure.REFUSED),
        (403, FetchFailure.REFUSED),
        (503, FetchFailure.REFUSED),
    ],
)
async def test_a_status_that_is_no_piece(
    status: int, failure: FetchFailure, target: Target
) -> None:
    async def handler(_: HttpRequest) -> HttpResponse:
        return HttpResponse(status, (WRAPPED,))

    async with serving(handler) as port, HttpPool() as pool:
        event = await fetch_piece(fetch(port, 2), pool, target.write, Buffers())
    assert event == PieceFailed(
        FetchId(3), failure, f"piece 2 from 127.0.0.1:{port} /peer/file/x: answered {status}"
    )


HEAD = piece_head(len(SMALL), PIECE_SIZE)
TOO_LARGE = PIECE_SIZE - 4


@pytest.mark.parametrize(
    ("script", "size", "failure", "cause"),
    [
        (answering(body_of(WRAPPED[:-1])), -1, FetchFailure.SHORT, "a head for 12 bytes"),
        (answering(body_of(WRAPPED[:-1])), 12, FetchFailure.SHORT, "a body of 16 bytes"),
        (answering(body_of(WRAPPED)), 13, FetchFailure.SHORT, "a body of 17 bytes"),
        (answering(chunked(WRAPPED)), 13, FetchFailure.SHORT, "a head for 12 bytes, expected 13"),
        (answering(body_of(b"abc")), -1, FetchFailure.SHORT, "ended inside the piece"),
        (answering(body_of(b"abcd")), -1, FetchFailure.SHORT, "not a wrapped piece"),
        (answering(body_of(b"")), -1, FetchFailure.SHORT, "ended inside the piece"),
        (answering(body_of(SMALL)), -1, FetchFailure.SHORT, "not a wrapped piece"),
        (answering(body_of(HEAD + SMALL + b"\0")), -1, FetchFailure.SHORT, "closing byte 00"),
        (answering(chunked(WRAPPED + b"x")), -1, FetchFailure.SHORT, "after the closing one"),
        (answering(chunked(WRAPPED[:-1])), -1, FetchFailure.SHORT, "ended inside the piece"),
        (answering(chunked(WRAPPED[:-5])), -1, FetchFailure.SHORT, "ended inside the piece"),
        (answering(body_of(WRAPPED)[:-5]), -1, FetchFailure.SHORT, "after 12 of 17 bytes"),
        (
            answering(chunked(wrap(bytes(TOO_LARGE), PIECE_SIZE))),
            -1,
            FetchFailure.SHORT,
            f"at most {PIECE_SIZE - 5}",
        ),
        (answering(b"SSH-2.0-x\r\n"), -1, FetchFailure.REFUSED, "not an HTTP/1.1 answer"),
        (answering(b""), -1, FetchFailure.UNREACHABLE, "without an answer"),
        (silent(), -1, FetchFailure.STALLED, "no answer for 0.1 s"),
        (silent(body_of(WRAPPED)[:-5]), -1, FetchFailure.STALLED, "no byte for 0.1 s"),
    ],
)
async def test_a_parent_that_does_not_deliver(
    script: Script, size: int, failure: FetchFailure, cause: str, target: Target
) -> None:
    async with scripted(script) as server, HttpPool() as pool:
        effect = fetch(server.port, size=size, stall_timeout_s=0.1)
        event = await fetch_piece(effect, pool, target.write, Buffers())
    assert isinstance(event, PieceFailed)
    assert event.failure is failure
    assert event.reason.startswith(f"piece 0 from 127.0.0.1:{server.port} /peer/file/x: ")
    assert cause in event.reason


@pytest.mark.parametrize("host", ["127.0.0.1", "no.such.host.invalid", "a\r\nb"])
async def test_a_parent_that_is_not_there(host: str, target: Target) -> None:
    async with HttpPool() as pool:
        event = await fetch_piece(fetch(1, host=host), pool, target.write, Buffers())
    assert isinstance(event, PieceFailed)
    assert event.failure is FetchFailure.UNREACHABLE


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        (errno.ENOSPC, FetchFailure.STORE_FULL),
        (errno.EDQUOT, FetchFailure.STORE_FULL),
        (errno.EIO, FetchFailure.STORE_FAILED),
        (errno.EPIPE, FetchFailure.STORE_FAILED),
    ],
)
async def test_a_disk_that_refuses_is_ours(code: int, failure: FetchFailure, cdn: Cdn) -> None:
    def write(offset: int, data: memoryview) -> None:
        raise OSError(code, os.strerror(code))

    async with serving(cdn) as port, HttpPool() as pool:
        event = await fetch_piece(fetch(port), pool, write, Buffers())
    assert isinstance(event, PieceFailed)
    assert event.failure is failure
    assert event.failure.is_ours
    assert os.strerror(code) in event.reason


async def test_wrong_bytes_are_told_by_their_digest(target: Target) -> None:
    wrong = wrap(b"other bytes!", PIECE_SIZE)
    async with scripted(answering(body_of(wrong))) as server, HttpPool() as pool:
        effect = fetch(server.port, sha256=sha256_of(SMALL)[7:], size=len(SMALL))
        event = await fetch_piece(effect, pool, target.write, Buffers())
    assert isinstance(event, PieceFetched)
    assert event.digest == sha256_of(b"other bytes!")


async def test_cancelled_it_leaves_nothing_open(target: Target) -> None:
    gone = trio.Event()

    async def half(stream: trio.SocketStream) -> None:
        await answering(body_of(WRAPPED)[:-5])(stream)
        assert await stream.receive_some() == b""
        gone.set()

    async with scripted(half) as server, HttpPool() as pool:
        with trio.move_on_after(0.05):
            await fetch_piece(fetch(server.port), pool, target.write, Buffers())
        with trio.fail_after(5):
            await gone.wait()
