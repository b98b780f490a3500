"""What the tests of the piece store share: a file, and stores that hold pieces of it."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING, Final

from damselfly.engine.events import HeldPiece
from damselfly.engine.ids import PieceIndex
from damselfly.engine.piece import Digest
from damselfly.net.store import (
    PieceStore,
)

if TYPE_CHECKING:
    from pathlib import Path

PIECE_SIZE: Final = 1005
CONTENT: Final = 1000
DATA: Final = random.Random(1).randbytes(3 * CONTENT + 17)


def sha256(content: bytes) -> Digest:
    return Digest(f"sha256:{hashlib.sha256(content).hexdigest()}")


def piece_of(data: bytes, piece: int) -> bytes:
    return data[piece * CONTENT : (piece + 1) * CONTENT]


def put(store: PieceStore, piece: int) -> None:
    content = piece_of(DATA, piece)
    store.write(piece * CONTENT, memoryview(content))
    store.keep(PieceIndex(piece), len(content), sha256(content))


def held_piece(piece: int) -> HeldPiece:
    content = piece_of(DATA, piece)
    return HeldPiece(PieceIndex(piece), len(content), sha256(content))


def filled(path: Path, *pieces: int, key: str = "key") -> PieceStore:
    store = PieceStore.create(path, key)
    store.lay_out(len(DATA), PIECE_SIZE, '"v1"', keep=False)
    for piece in pieces:
        put(store, piece)
    return store
