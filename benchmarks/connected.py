"""How much memory does a supernode's process take for each peer that is connected?

Real connections: each peer registers, takes what it is told to fetch, says that half of it came,
and asks for more until its question is held.  Then all of them wait.
"""

from __future__ import annotations

import re
import select
import socket
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from damselfly.engine.ids import PeerId
from damselfly.engine.messages import (
    Code,
    HeldNote,
    Orders,
    PiecesOffered,
    PullPieces,
    PullResult,
    PullStatus,
    Refused,
    Registered,
    Reply,
    ReportPiece,
    Request,
    Update,
)
from damselfly.engine.wire.calls import decode_answer, encode_call

from .conversations import register
from .fetching import download
from .load import http
from .machine import resident_bytes
from .servers import Server, fill, origin, supernode

PEERS: Final = 2000
_FILE_BYTES: Final = 128 << 20
_TURNS: Final = 4
_HELD_S: Final = 0.02
_TIMEOUT_S: Final = 10.0
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


class _Peer:
    """One connection; it has one question open at a time."""

    def __init__(self, node: Server, url: str, name: str, *, native: bool) -> None:
        self._sock = socket.create_connection((node.host, node.port), timeout=_TIMEOUT_S)
        self._peer, self._native = PeerId(name), native
        self._number = 0
        self._last: Request = register(url, name, native=native)
        registered = self._exchange(self._last)
        assert isinstance(registered, Registered), registered
        self._task = registered.task
        self._ask(self._next(()))

    def turn(self) -> None:
        """If the question was answered, say that half came, and ask again."""
        ready, _, _ = select.select([self._sock], [], [], _HELD_S)
        if not ready:
            return
        match self._answer():
            case Orders(runs):
                came = [offer for run in runs for offer in run]
            case PiecesOffered(offers):
                came = list(offers)
            case Refused(Code.PEER_WAIT):
                came = []
            case other:
                raise RuntimeError(f"answered {other}")
        half = came[: len(came) // 2]
        if not self._native:
            for offer in half:
                self._exchange(
                    ReportPiece(self._task, self._peer, offer.parent, offer.piece, offer.piece_size)
                )
        self._ask(self._next(tuple([HeldNote(offer.piece, offer.parent) for offer in half])))

    def close(self) -> None:
        """Hang up."""
        self._sock.close()

    def _next(self, held: tuple[HeldNote, ...]) -> Request:
        if not self._native:
            status = PullStatus.RUNNING if self._number else PullStatus.START
            self._number = 1
            return PullPieces(self._task, self._peer, status, PullResult.INVALID)
        self._number += 1
        return Update(self._task, self._peer, self._number, self._number - 1, held, free=2)

    def _exchange(self, request: Request) -> Reply:
        self._ask(request)
        return self._answer()

    def _ask(self, request: Request) -> None:
        call = encode_call(request)
        self._last = request
        self._sock.sendall(http(call.method, call.target, call.headers, call.body))

    def _answer(self) -> Reply:
        data = b""
        while (end := data.find(b"\r\n\r\n") + 4) < 4 or len(data) < end + _length(data[:end]):
            data += self._sock.recv(64 << 10)
        return decode_answer(self._last, 200, data[end:])


def _length(head: bytes) -> int:
    found = _LENGTH.search(head)
    assert found is not None, head
    return int(found[1])


def bytes_per_peer(node: Server, url: str, peers: int, *, native: bool) -> float:
    """Connect so many peers, have all of them wait, and return what the process takes for each."""
    kind = "n" if native else "v"
    before = resident_bytes(node.pid)
    waiting: list[_Peer] = []
    try:
        for number in range(peers):
            name = f"127.0.0.1-{kind}{number}-0.000"
            waiting.append(_Peer(node, url, name, native=native))
        for _ in range(_TURNS):
            for peer in waiting:
                peer.turn()
        return (resident_bytes(node.pid) - before) / peers
    finally:
        for peer in waiting:
            peer.close()


def measure(peers: int = PEERS, file_bytes: int = _FILE_BYTES) -> dict[str, float]:
    """Return bytes of the process' memory for a peer of each form, each in a process of its own."""
    found: dict[str, float] = {}
    for form in ("v1", "native"):
        with tempfile.TemporaryDirectory(dir="/dev/shm") as name, ExitStack() as stack:
            folder = Path(name)
            file = folder / "file"
            with file.open("wb") as out:
                fill(out, file_bytes)
            source = stack.enter_context(origin(folder / "origin", file))
            node = stack.enter_context(supernode(folder / "supernode"))
            url = f"http://{source}/file"
            download(url, node, folder / "warm")
            found[form] = bytes_per_peer(node, url, peers, native=form == "native")
    return found


def main() -> None:
    """Measure and print."""
    for form, size in measure().items():
        print(f"{form}: {size:,.0f} bytes of the process for each of {PEERS} connected peers")


if __name__ == "__main__":
    main()
