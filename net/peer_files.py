"""The data directory as a peer server sees it: other processes write there, it reads and sweeps.

A download called ``name`` is the store ``<name>.service`` (protocol 8.6).  A file without a
store's log beside it was left by a v1 dfget, which has no such log: it is served as far as it
reaches, as v1 does.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from ..engine.errors import RemoteProtocolError
from ..engine.expressions import expression
from ..engine.ids import PieceIndex
from ..engine.uploads import FoundFile
from ..engine.wire.frame import ContentSlice, RangeError, plain_parts, upload_parts
from .http import FileSlice
from .sidecar import SUFFIX, SidecarReader, sidecar_path
from .store import delete_store

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from ..engine.uploads import ServePiece
    from ..engine.wire.frame import Part

SERVICE_SUFFIX: Final = ".service"
_OPEN_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
_SIGNED: Final = expression(r".*-[0-9]+-[0-9]+\.[0-9]{3}", re.DOTALL)
"""A task file name as dfget makes it, which no other file in the directory has."""
_FRESH_S: Final = 1.0
"""A file so young is in use; looking at its lock might disturb whoever is just taking it."""


class OpenPiece(NamedTuple):
    """A file and what to send of it; the receiver closes ``fd``."""

    fd: int
    parts: tuple[bytes | FileSlice, ...]


class ServedFiles:
    """Reads, lists and deletes the downloads in one directory."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._readers: dict[str, SidecarReader] = {}

    def open_piece(self, wanted: ServePiece) -> OpenPiece:
        """Find what ``wanted`` asks for; only pieces that a store has verified are given out.

        Raises ``RemoteProtocolError`` with the status of protocol 3.2: 404, 403 or 416.
        """
        path = self._path(wanted.name)
        try:
            fd = os.open(path, _OPEN_FLAGS)
        except FileNotFoundError as error:
            self._readers.pop(wanted.name, None)
            text = f"stat {path}: no such file or directory"
            raise RemoteProtocolError(text, status_hint=404) from error
        except OSError as error:
            denied = isinstance(error, PermissionError) or error.errno == errno.ELOOP
            text = f"open {path}: {error.strerror}"
            raise RemoteProtocolError(text, status_hint=403 if denied else 500) from error
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise RemoteProtocolError(f"open {path}: not an ordinary file", status_hint=403)
            parts = self._parts(wanted, found.st_size)
        except BaseException:
            os.close(fd)
            raise
        return OpenPiece(
            fd,
            tuple(
                [
                    FileSlice(fd, part.offset, part.count)
                    if isinstance(part, ContentSlice)
                    else part
                    for part in parts
                ]
            ),
        )

    def survey(self) -> tuple[FoundFile, ...]:
        """List the downloads; to be called in a worker thread.  A bad directory looks empty."""
        newest: dict[str, float] = {}
        with contextlib.suppress(OSError), os.scandir(self._data_dir) as entries:
            for entry in entries:
                name = entry.name.removesuffix(SUFFIX)
                if not name.endswith(SERVICE_SUFFIX) or not entry.is_file(follow_symlinks=False):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    modified_s = entry.stat().st_mtime
                    name = name.removesuffix(SERVICE_SUFFIX)
                    newest[name] = max(newest.get(name, modified_s), modified_s)
        now = time.time()
        return tuple(self._found(name, now - modified_s) for name, modified_s in newest.items())

    def delete(self, name: str) -> None:
        """Remove a download, unless some process is writing to it; ``OSError`` if it will not go.

        To be called in a worker thread.
        """
        path = self._path(name)
        self._readers.pop(name, None)
        with contextlib.suppress(BlockingIOError), _locked(path):
            delete_store(path)
            # What a v1 dfget leaves when its target is on another file system (protocol 8.6).
            if _SIGNED.fullmatch(name):
                (self._data_dir / name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._data_dir / f"{name}{SERVICE_SUFFIX}"

    def _parts(self, wanted: ServePiece, size_on_disk: int) -> tuple[Part, ...]:
        reader = self._reader(wanted.name)
        size = size_on_disk if reader is None else _known_size(reader)
        if wanted.plain:
            parts = plain_parts(wanted.first, wanted.last, size)
        else:
            parts = upload_parts(wanted.first, wanted.last, wanted.piece, size, wanted.piece_size)
        for part in parts:
            if reader is not None and isinstance(part, ContentSlice):
                _check_held(reader, part, size_on_disk)
        return parts

    def _reader(self, name: str) -> SidecarReader | None:
        reader = self._readers.get(name) or SidecarReader(self._path(name))
        try:
            reader.refresh()
        except FileNotFoundError:
            self._readers.pop(name, None)
            return None
        except OSError as error:
            text = f"the log of {name} cannot be read: {error.strerror}"
            raise RemoteProtocolError(text, status_hint=403) from error
        self._readers[name] = reader
        return reader

    def _found(self, name: str, age_s: float) -> FoundFile:
        path = self._path(name)
        delivered = False
        with contextlib.suppress(OSError):
            delivered = path.stat().st_nlink > 1
        if not delivered:
            with contextlib.suppress(OSError):
                reader = SidecarReader(path)
                reader.refresh()
                delivered = reader.finished_length is not None
        return FoundFile(name, age_s, age_s < _FRESH_S or _is_locked(path), delivered)


def _known_size(reader: SidecarReader) -> int:
    layout = reader.layout
    if layout is None:
        raise RangeError("no piece of this download is here yet")
    if layout.length >= 0:
        return layout.length
    return max([layout.offset(piece) + size for piece, (size, _) in reader.held.items()], default=0)


def _check_held(reader: SidecarReader, part: ContentSlice, size_on_disk: int) -> None:
    """Raise ``RangeError`` unless the store has verified every piece that ``part`` touches."""
    assert reader.layout is not None
    end, content_size = part.offset + part.count, reader.layout.content_size
    for piece in range(part.offset // content_size, (end - 1) // content_size + 1):
        if PieceIndex(piece) not in reader.held:
            raise RangeError(f"piece {piece} is not here yet")
    if end > size_on_disk:
        raise RangeError(f"the file was cut to {size_on_disk} bytes")


@contextlib.contextmanager
def _locked(path: Path) -> Generator[None]:
    """Keep writers out of a store meanwhile; ``BlockingIOError`` if one is in it."""
    try:
        log_fd = os.open(sidecar_path(path), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    try:
        fcntl.flock(log_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(log_fd)


def _is_locked(path: Path) -> bool:
    try:
        with _locked(path):
            return False
    except OSError as error:
        return isinstance(error, BlockingIOError)
