"""The native control protocol: updates and orders between our own programs, in msgpack.

One call, ``POST /damselfly/update``.  Bodies are maps with text keys; keys that are not known are
passed over, missing ones have the values of the messages.  This folder's README has an example.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias, TypeVar

import msgspec

from ..errors import RemoteProtocolError
from ..ids import PeerId, PieceIndex, TaskId
from ..messages import (
    Code,
    Extension,
    FailedNote,
    HeldNote,
    Orders,
    PieceOffer,
    Refused,
    Reply,
    TaskCompleted,
    Update,
)
from ..piece import MAX_PIECE_SIZE, WRAP_BYTES, Digest
from .fields import MAX_INT, MAX_NAME, MAX_TEXT, checked_text

UPDATE: Final = "/damselfly/update"
CONTENT_TYPE: Final = "application/msgpack"
VERSION: Final = "1"
"""What registrations and their replies name; another one is not spoken."""

_CONTINUE: Final = Code.PEER_CONTINUE.value
_MOST: Final = 4096
"""Pieces in one message."""
_MAX_PIECE: Final = 1 << 24

WireT = TypeVar("WireT")


def encode_update(said: Update) -> bytes:
    """Return the body of the call that makes an update."""
    return _encoder.encode(
        _Update(
            task=said.task,
            peer=said.peer,
            number=said.number,
            heard=said.heard,
            held=tuple([(note.piece, note.parent, note.digest) for note in said.held]),
            failed=tuple([(note.piece, note.parent, note.kind) for note in said.failed]),
            under_way=said.under_way,
            free=said.free,
            wanted=said.wanted,
            extends=said.extends,
        )
    )


def decode_update(body: bytes) -> Update:
    """Return the update in the body of a call; raises ``RemoteProtocolError``."""
    said = _decoded(_updates, body, "update")
    texts: list[str] = [said.task, said.peer]
    for _, parent, text in said.held:
        texts += (parent, text)
    for _, parent, text in said.failed:
        texts += (parent, text)
    _printable(texts)
    return Update(
        said.task,
        said.peer,
        said.number,
        said.heard,
        tuple([HeldNote(piece, parent, digest) for piece, parent, digest in said.held]),
        tuple([FailedNote(piece, parent, kind) for piece, parent, kind in said.failed]),
        said.under_way,
        said.free,
        said.wanted,
        said.extends,
    )


def encode_orders(reply: Reply) -> bytes:
    """Return the body that answers an update: orders, the end, or a refusal."""
    match reply:
        case Orders():
            return _encoder.encode(_orders_of(reply))
        case TaskCompleted(md5, wrapped_length):
            return _encoder.encode(
                _Orders(code=Code.PEER_FINISH, md5=md5, wrapped_length=wrapped_length)
            )
        case Refused(code, message):
            return _encoder.encode(_Orders(code=code, message=message))
        case _:
            raise AssertionError(f"{type(reply).__name__} answers no update")


def decode_orders(body: bytes) -> Reply:
    """Return what answers an update; raises ``RemoteProtocolError``."""
    found = _decoded(_orders, body, "orders")
    if found.code == Code.PEER_FINISH:
        length = _number(found.wrapped_length, "wrapped_length", MAX_INT)
        return TaskCompleted(_text(found.md5, "md5"), length)
    if found.code != Code.PEER_CONTINUE:
        return Refused(_code(found.code), _text(found.message, "message", MAX_TEXT))
    pieces = [run[-1] for run in (*found.runs, *found.extended)]
    _bounded("orders", found.runs, found.extended, found.rejected, found.parents, *pieces)
    parents = [_parent(parent) for parent in found.parents]
    size = _number(found.piece_size, "piece_size", MAX_PIECE_SIZE)
    if pieces and size <= WRAP_BYTES:
        raise RemoteProtocolError(f"orders: piece_size is {size}: expected more than {WRAP_BYTES}")
    return Orders(
        runs=tuple(_run(parents, parent, pieces, size) for parent, pieces in found.runs),
        extended=tuple(
            Extension(_piece(after), _run(parents, parent, pieces, size))
            for parent, after, pieces in found.extended
        ),
        rejected=tuple(map(_piece, found.rejected)),
        pace_s=_pace(found.pace_s),
    )


_Name: TypeAlias = Annotated[str, msgspec.Meta(max_length=MAX_NAME)]
_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=MAX_INT)]
_Piece: TypeAlias = Annotated[PieceIndex, msgspec.Meta(ge=0, le=_MAX_PIECE)]
_Peer: TypeAlias = Annotated[PeerId, msgspec.Meta(max_length=MAX_NAME)]
_Digest: TypeAlias = Annotated[Digest, msgspec.Meta(max_length=MAX_NAME)]
_few = msgspec.Meta(max_length=_MOST)


class _Update(msgspec.Struct, omit_defaults=True):
    task: Annotated[TaskId, msgspec.Meta(max_length=MAX_NAME)]
    peer: _Peer
    number: _Count
    heard: _Count
    held: Annotated[tuple[tuple[_Piece, _Peer, _Digest], ...], _few] = ()
    failed: Annotated[tuple[tuple[_Piece, _Peer, _Name], ...], _few] = ()
    under_way: Annotated[tuple[_Piece, ...], _few] = ()
    free: Annotated[int, msgspec.Meta(ge=0, le=_MOST)] = 0
    wanted: _Piece | None = None
    extends: bool = False


_Pieces: TypeAlias = list[tuple[int, str]]
_Run: TypeAlias = tuple[int, _Pieces]
_Extension: TypeAlias = tuple[int, int, _Pieces]


class _Orders(msgspec.Struct, omit_defaults=True):
    code: int
    message: str = ""
    md5: str = ""
    wrapped_length: int = 0
    pace_s: float = 0.0
    piece_size: int = 0
    parents: list[tuple[str, str, int, str]] = []
    runs: list[_Run] = []
    extended: list[_Extension] = []
    rejected: list[int] = []


_encoder = msgspec.msgpack.Encoder()
_updates = msgspec.msgpack.Decoder(_Update)
_orders = msgspec.msgpack.Decoder(_Orders)


def _orders_of(orders: Orders) -> _Orders:
    parents: dict[tuple[str, str, int, str], int] = {}
    runs: list[_Run] = [(_parent_of(run, parents), _plain(run)) for run in orders.runs]
    extended: list[_Extension] = [
        (_parent_of(one.pieces, parents), one.after, _plain(one.pieces)) for one in orders.extended
    ]
    every = (*orders.runs, *(one.pieces for one in orders.extended))
    return _Orders(
        code=_CONTINUE,
        pace_s=orders.pace_s,
        piece_size=every[0][0].piece_size if every else 0,
        parents=list(parents),
        runs=runs,
        extended=extended,
        rejected=list(orders.rejected),
    )


def _parent_of(run: tuple[PieceOffer, ...], parents: dict[tuple[str, str, int, str], int]) -> int:
    """Return the number of a run's parent, which is entered if it is new."""
    first = run[0]
    return parents.setdefault((first.parent, first.host, first.port, first.path), len(parents))


def _plain(run: tuple[PieceOffer, ...]) -> _Pieces:
    return [(offer.piece, offer.sha256) for offer in run]


def _run(
    parents: list[tuple[PeerId, str, int, str]],
    parent: int,
    pieces: list[tuple[int, str]],
    piece_size: int,
) -> tuple[PieceOffer, ...]:
    if not 0 <= parent < len(parents):
        raise RemoteProtocolError(f"orders: no parent {parent}: there are {len(parents)}")
    peer, host, port, path = parents[parent]
    return tuple(
        PieceOffer(
            piece=_piece(piece),
            parent=peer,
            host=host,
            port=port,
            path=path,
            piece_size=piece_size,
            sha256=_text(sha256, "sha256"),
        )
        for piece, sha256 in pieces
    )


def _parent(found: tuple[str, str, int, str]) -> tuple[PeerId, str, int, str]:
    peer, host, port, path = found
    name = _text(host, "host")
    if not name:
        raise RemoteProtocolError("orders: a parent without a host")
    where = _text(path, "path", MAX_TEXT)
    return PeerId(_text(peer, "parent")), name, _number(port, "port", 65535), where


def _decoded(decoder: msgspec.msgpack.Decoder[WireT], body: bytes, where: str) -> WireT:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _fail(f"{where}: {error}") from None


def _bounded(where: str, *lists: list[Any]) -> None:
    for found in lists:
        if len(found) > _MOST:
            raise _fail(f"{where}: {len(found)} items: expected at most {_MOST}")


def _printable(texts: list[str]) -> None:
    """Check all at once, and one by one only to name the one that is wrong."""
    if not "".join(texts).isprintable():
        for text in texts:
            _text(text, "update")


def _text(value: str, name: str, limit: int = MAX_NAME) -> str:
    return checked_text(value, name, "native", limit, _fail)


def _number(value: int, name: str, most: int) -> int:
    if not 0 <= value <= most:
        raise _fail(f"{name} is {value}: expected 0 to {most}")
    return value


def _piece(value: int) -> PieceIndex:
    return PieceIndex(_number(value, "piece", _MAX_PIECE))


def _pace(value: float) -> float:
    if not 0.0 <= value <= 10.0:
        raise _fail(f"pace_s is {value}: expected 0 to 10")
    return value


def _code(value: int) -> Code:
    try:
        return Code(value)
    except ValueError:
        return Code.UNKNOWN_ERROR


def _fail(message: str) -> RemoteProtocolError:
    return RemoteProtocolError(message, status_hint=400)
