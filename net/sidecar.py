"""The log beside a data file that says which of its pieces are right.

``<data file>.pieces`` is a series of frames, each a little-endian length and CRC-32 (4 bytes
each) and then msgpack: ``[name of the record, {field: value}]``.  The first record is ``Created``.
The log only grows, so whoever reads it while it is written sees a prefix of it, and a process
killed in mid-write leaves at most one broken frame at its end.  It is not synced: after a power
loss it may promise pieces that never reached the disk, which is why pieces of an earlier run are
hashed again before they are trusted.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import field
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias, assert_never

import msgspec

from ..engine.errors import ConfigError, RemoteProtocolError
from ..engine.ids import PieceIndex
from ..engine.piece import Digest, PieceLayout
from ..engine.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SUFFIX: Final = ".pieces"
SCHEMA: Final = 1
MAX_RECORD_BYTES: Final = 256 << 10
_FRAME: Final = struct.Struct("<II")
_HEAD_BYTES: Final = 64  # reaches beyond ``birth``, which tells two logs apart

Natural: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]


@dataclass(frozen=True, slots=True)
class Created:
    """The first record.  ``birth`` is random, so that no two logs ever begin alike."""

    schema: int
    birth: bytes
    key: str


@dataclass(frozen=True, slots=True)
class LaidOut:
    """The pieces from here on are of this layout; without ``keep`` all earlier ones are void."""

    length: Annotated[int, msgspec.Meta(ge=-1)]
    piece_size: int
    validator: str
    keep: bool
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """The bytes of a piece are in the data file and match ``digest``."""

    piece: Natural
    size: Natural
    digest: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """A piece thought right is not."""

    piece: Natural


@dataclass(frozen=True, slots=True)
class Moved:
    """Data file and log are about to be renamed, in this order, to ``name``."""

    name: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The file was published; nothing may change it any more."""

    length: Natural


Record: TypeAlias = Created | LaidOut | Kept | Dropped | Moved | Finished
_RECORDS: Final[Mapping[str, type[Record]]] = {
    cls.__name__: cls for cls in (Created, LaidOut, Kept, Dropped, Moved, Finished)
}


@dataclass(slots=True)
class SidecarState:
    """What the records read so far amount to."""

    key: str | None = None
    layout: PieceLayout | None = None
    validator: str = ""
    held: dict[PieceIndex, tuple[int, Digest]] = field(
        default_factory=dict[PieceIndex, tuple[int, Digest]]
    )
    moved_to: str | None = None
    finished_length: int | None = None

    def apply(self, record: Record) -> None:
        """Take in the next record; ``RemoteProtocolError`` if it cannot follow the earlier ones."""
        if (self.key is None) is not isinstance(record, Created):
            raise RemoteProtocolError(f"{record}: expected Created first, and only there")
        match record:
            case Created(schema, _, key):
                if schema != SCHEMA:
                    raise RemoteProtocolError(f"schema {schema}: expected {SCHEMA}")
                self.key = key
            case LaidOut(length, piece_size, validator, keep, plain):
                self._lay_out(length, piece_size, plain=plain)
                self.validator = validator
                if not keep:
                    self.held.clear()
            case Kept(piece, size, digest):
                if self.layout is None:
                    raise RemoteProtocolError(f"{record}: expected LaidOut before it")
                self.held[PieceIndex(piece)] = size, Digest(digest)
            case Dropped(piece):
                self.held.pop(PieceIndex(piece), None)
            case Moved(name):
                self.moved_to = name
            case Finished(length):
                self.finished_length = length
            case _:
                assert_never(record)

    def _lay_out(self, length: int, piece_size: int, *, plain: bool) -> None:
        try:
            self.layout = PieceLayout(length, piece_size, plain)
        except ConfigError as error:
            raise RemoteProtocolError(str(error)) from error


def sidecar_path(data_path: Path) -> Path:
    """Return where the log of ``data_path`` lies."""
    return data_path.with_name(data_path.name + SUFFIX)


def encode(record: Record) -> bytes:
    """Return the frame of one record; ``ValueError`` if it is larger than any reader takes."""
    payload = msgspec.msgpack.encode((type(record).__name__, record))
    if len(payload) > MAX_RECORD_BYTES:
        raise ValueError(f"{type(record).__name__} of {len(payload)} bytes: too large for the log")
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def replay(log: bytes, state: SidecarState) -> int:
    """Apply the whole frames at the start of ``log`` and return how many bytes they fill.

    What follows them is a frame still being written, one that a crash tore, or garbage.
    """
    good = 0
    while good + _FRAME.size <= len(log):
        size, checksum = _FRAME.unpack_from(log, good)
        payload = log[good + _FRAME.size : good + _FRAME.size + size]
        if size > MAX_RECORD_BYTES or len(payload) < size or zlib.crc32(payload) != checksum:
            break
        try:
            state.apply(_decode(payload))
        except (RemoteProtocolError, msgspec.DecodeError):
            break
        good += _FRAME.size + size
    return good


class SidecarReader:
    """Follows the log of a store that another process may be writing: the view of a peer server.

    Nothing is locked and no file stays open.  ``held`` is what may be served.
    """

    def __init__(self, data_path: Path) -> None:
        self._path = sidecar_path(data_path)
        self._restart(b"")

    def refresh(self) -> bool:
        """Read what was appended since; tell whether anything changed.

        A log that was replaced by another is read from its start.  Raises ``OSError`` if it
        cannot be read, ``FileNotFoundError`` if the store was deleted or renamed.
        """
        fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(fd).st_size
            head = os.pread(fd, _HEAD_BYTES, 0)
            restarted = size < self._offset or head[: len(self._head)] != self._head
            if restarted:
                self._restart(head)
            self._head = head
            appended = os.pread(fd, size - self._offset, self._offset)
        finally:
            os.close(fd)
        good = replay(appended, self._state)
        self._offset += good
        return restarted or good > 0

    @property
    def key(self) -> str | None:
        """The key of the store; ``None`` while the log has no valid start."""
        return self._state.key

    @property
    def layout(self) -> PieceLayout | None:
        """How the file is cut; ``None`` until that is known."""
        return self._state.layout

    @property
    def validator(self) -> str:
        """The origin's validator for this content, or empty."""
        return self._state.validator

    @property
    def held(self) -> Mapping[PieceIndex, tuple[int, Digest]]:
        """Content size and digest of each piece that is right."""
        return MappingProxyType(self._state.held)

    @property
    def finished_length(self) -> int | None:
        """Length of the whole file once it was published, else ``None``."""
        return self._state.finished_length

    def _restart(self, head: bytes) -> None:
        self._head = head
        self._offset = 0
        self._state = SidecarState()


def _decode(payload: bytes) -> Record:
    name, fields = msgspec.msgpack.decode(payload, type=tuple[str, msgspec.Raw])
    if name not in _RECORDS:
        raise RemoteProtocolError(f"record {name!r}: expected one of {', '.join(_RECORDS)}")
    return msgspec.msgpack.decode(fields, type=_RECORDS[name])
