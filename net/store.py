"""The piece store: the content of one file, plain and once, and a log of the pieces that are right.

A store is two files, ``<data>`` and ``<data>.pieces`` (``sidecar``).  Whoever writes them holds a
lock on the log, so no two processes ever fill one file.  The data file is sparse until pieces
come; a disk that is full shows as ``OSError`` from ``write``.  The log bends rather than break:
records that do not fit on the disk are written before the next one that does.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Self

from ..engine.errors import DamselflyError, LocalProtocolError
from ..engine.events import HeldPiece
from ..engine.piece import Digest, DigestForm, PieceLayout
from ..engine.wire.frame import TAIL, piece_head
from .sidecar import (
    SCHEMA,
    SUFFIX,
    Created,
    Dropped,
    Finished,
    Kept,
    LaidOut,
    Moved,
    SidecarReader,
    SidecarState,
    encode,
    replay,
    sidecar_path,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ..engine.ids import PieceIndex
    from .sidecar import Record

MAX_NAME_BYTES: Final = 255 - len(SUFFIX)
_BLOCK_BYTES: Final = 1 << 20
_SHA256: Final = "sha256:"
_MD5: Final = "md5:"


class StoreError(DamselflyError):
    """The files of a store cannot be used; the message names them and the cause."""


class StoreLocked(StoreError):
    """Another process is writing this store."""


class PieceStore:
    """One file's pieces on disk, open for writing; a context manager that closes.

    All methods are synchronous.  ``write``, ``rehash`` and publishing may run in a worker thread;
    writes to different ranges may run at once.
    """

    def __init__(self, path: Path, fd: int, log_fd: int, state: SidecarState) -> None:
        """Take over open files; use ``create`` or ``open``."""
        self._path = path
        self._fd = fd
        self._log_fd = log_fd
        self._state = state
        self._unwritten = bytearray()
        self.voided = 0
        """How often pieces that were kept turned out not to be of this content."""

    @classmethod
    def create(cls, path: Path, key: str) -> Self:
        """Begin an empty store at ``path``, in place of an earlier one; makes the directory.

        ``key`` names the content.  Raises ``StoreLocked`` if another process writes there, and
        ``OSError``.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        _discard(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with contextlib.ExitStack() as undo:
            log_fd = os.open(sidecar_path(path), flags | os.O_APPEND, 0o600)
            undo.callback(os.close, log_fd)
            _lock(log_fd, path)
            fd = os.open(path, flags, 0o666)
            undo.pop_all()
        store = cls(path, fd, log_fd, SidecarState())
        store._append(Created(SCHEMA, os.urandom(8), key))
        return store

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the store that an earlier run left at ``path``.

        What the log says is not yet to be trusted: see ``rehash``.  Raises ``StoreError`` if there
        is none, if it is damaged, or (``StoreLocked``) if another process writes it.
        """
        with contextlib.ExitStack() as undo:
            try:
                log_fd = _open_locked(path)
                undo.callback(os.close, log_fd)
                state = _recover(path, log_fd)
                path = _complete_move(path, state)
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except OSError as error:
                raise StoreError(f"cannot open the store {path}: {error.strerror}") from error
            undo.pop_all()
        return cls(path, fd, log_fd, state)

    def close(self) -> None:
        """Let go of the files and the lock; harmless when repeated."""
        if self._fd < 0:
            return
        self._flush()
        os.close(self._fd)
        os.close(self._log_fd)
        self._fd = self._log_fd = -1

    def delete(self) -> None:
        """Remove the files and close."""
        delete_store(self._path)
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """Where the data file lies."""
        return self._path

    @property
    def fd(self) -> int:
        """The open data file, for ``sendfile`` and the like."""
        return self._fd

    @property
    def key(self) -> str:
        """What the content is, in the words of whoever created the store."""
        assert self._state.key is not None
        return self._state.key

    @property
    def layout(self) -> PieceLayout | None:
        """How the file is cut; ``None`` before the first ``lay_out``."""
        return self._state.layout

    @property
    def validator(self) -> str:
        """The origin's validator as last laid out."""
        return self._state.validator

    @property
    def held(self) -> Mapping[PieceIndex, tuple[int, Digest]]:
        """Content size and digest of each piece that was kept."""
        return MappingProxyType(self._state.held)

    @property
    def finished_length(self) -> int | None:
        """Length of the whole file once it was published, else ``None``."""
        return self._state.finished_length

    @property
    def is_published(self) -> bool:
        """Tell whether a user's file may share the bytes, so that they must stay as they are."""
        return self.finished_length is not None or os.fstat(self._fd).st_nlink > 1

    def lay_out(
        self, length: int, piece_size: int, validator: str, keep: bool, *, plain: bool = False
    ) -> None:
        """Make room for ``length`` bytes (-1: unknown); without ``keep`` all pieces are void.

        A disk that refuses shows when pieces come.
        """
        self._check_unfinished()
        layout, new = self._state.layout, PieceLayout(length, piece_size, plain)
        if keep and self._state.held and layout and layout.content_size != new.content_size:
            raise LocalProtocolError(
                f"{self._path}: pieces of {layout.content_size} bytes cannot be kept"
                f" in a layout of {new.content_size}"
            )
        self.voided += bool(self._state.held) and not keep
        self._append(LaidOut(length, piece_size, validator, keep, plain))
        with contextlib.suppress(OSError):
            if not keep:
                os.ftruncate(self._fd, 0)
            if length >= 0:
                os.ftruncate(self._fd, length)

    def write(self, offset: int, data: memoryview) -> None:
        """Write all of ``data`` at ``offset`` of the plain file; ``OSError``: the disk refuses."""
        self._check_unfinished()
        while data:
            written = os.pwrite(self._fd, data, offset)
            offset, data = offset + written, data[written:]

    def keep(self, piece: PieceIndex, size: int, digest: Digest) -> None:
        """Remember across crashes that the written bytes of ``piece`` match ``digest``."""
        self._append(Kept(piece, size, digest))

    def drop(self, piece: PieceIndex) -> None:
        """Forget a piece."""
        self.voided += piece in self._state.held
        self._append(Dropped(piece))

    def finish(self, length: int) -> None:
        """Remember that the file was published: another name may share its bytes from here on."""
        self._append(Finished(length))

    def rehash(self) -> tuple[HeldPiece, ...]:
        """Read all pieces kept, drop those that no longer match, and return the rest in order."""
        good: list[HeldPiece] = []
        for piece, (size, digest) in sorted(self._state.held.items()):
            if self.is_intact(piece):
                good.append(HeldPiece(piece, size, digest))
            else:
                self.drop(piece)
        return tuple(good)

    def is_intact(self, piece: PieceIndex) -> bool:
        """Read a piece again and tell whether it is what was kept."""
        size, digest = self._state.held[piece]
        layout = self._state.layout
        assert layout is not None, "a piece is only held under a layout"
        if size > layout.content_size or (layout.length >= 0 and size != layout.size(piece)):
            return False
        if digest.startswith(_SHA256):
            return digest == self.digest(piece, size, DigestForm.SHA256)
        return digest.startswith(_MD5) and digest == self.digest(
            piece, size, DigestForm.MD5_WRAPPED
        )

    def digest(self, piece: PieceIndex, size: int, form: DigestForm) -> Digest:
        """Read ``size`` content bytes of a piece and return their digest in the form asked for."""
        layout = self._state.layout
        assert layout is not None, "pieces only lie somewhere under a layout"
        match form:
            case DigestForm.SHA256:
                prefix, hasher = _SHA256, hashlib.sha256()
            case DigestForm.MD5_WRAPPED:
                prefix, hasher = _MD5, hashlib.md5(usedforsecurity=False)
                hasher.update(piece_head(size, layout.piece_size))
        offset = layout.offset(piece)
        end = offset + size
        while block := os.pread(self._fd, min(_BLOCK_BYTES, end - offset), offset):
            hasher.update(block)
            offset += len(block)
        if form is DigestForm.MD5_WRAPPED:
            hasher.update(TAIL)
        return Digest(prefix + hasher.hexdigest())

    def move_to(self, name: str) -> None:
        """Rename both files within their directory; ``FileExistsError`` if the name is taken.

        The log first says where the data goes, then the data is renamed, then the log: whenever
        the process dies in between, ``open`` on the old name finds the data and ends the move.
        """
        path = self._path.with_name(name)
        if path.exists() or sidecar_path(path).exists():
            raise FileExistsError(errno.EEXIST, "a store of this name exists", str(path))
        self._append(Moved(name))
        self._path.rename(path)
        sidecar_path(self._path).rename(sidecar_path(path))
        self._path = path

    def _check_unfinished(self) -> None:
        if self._state.finished_length is not None:
            raise LocalProtocolError(f"{self._path} was published: it must not change any more")

    def _append(self, record: Record) -> None:
        frame = encode(record)
        self._state.apply(record)
        self._unwritten += frame
        self._flush()

    def _flush(self) -> None:
        with contextlib.suppress(OSError):
            while self._unwritten:
                del self._unwritten[: os.write(self._log_fd, self._unwritten)]


class StoreDirectory:
    """The stores of one host's downloads, side by side in one directory that is made if missing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path_of(self, name: str) -> Path:
        """Return where the data file ``name`` lies; ``ValueError`` if no store can have that name.

        Names come from the network: none of them leads out of the directory.
        """
        if name in {"", ".", ".."} or "/" in name or "\0" in name:
            raise ValueError(f"store name {name!r}: expected a plain file name")
        if name.endswith(SUFFIX):
            raise ValueError(f"store name {name!r}: {SUFFIX} is the ending of a store's log")
        if len(os.fsencode(name)) > MAX_NAME_BYTES:
            raise ValueError(f"store name {name!r}: longer than {MAX_NAME_BYTES} bytes")
        return self._path / name

    def new(self, name: str, key: str) -> PieceStore:
        """Begin an empty store; errors as ``path_of`` and ``PieceStore.create``."""
        return PieceStore.create(self.path_of(name), key)

    def find_partial(self, key: str) -> PieceStore | None:
        """Open the newest unfinished store of this content that nobody is writing.

        Damaged stores are passed over.
        """
        for path in self._newest_first():
            with contextlib.suppress(StoreError, OSError):
                glance = SidecarReader(path)
                glance.refresh()
                if glance.key != key or glance.finished_length is not None:
                    continue
                store = PieceStore.open(path)
                if not store.is_published:
                    return store
                store.close()
        return None

    def adopt(self, store: PieceStore, name: str) -> None:
        """Give a store found here the name under which this process serves it."""
        store.move_to(self.path_of(name).name)

    def _newest_first(self) -> Iterator[Path]:
        logs: list[tuple[int, str]] = []
        with os.scandir(self._path) as entries:
            for entry in entries:
                if entry.name.endswith(SUFFIX):
                    with contextlib.suppress(OSError):
                        logs.append((entry.stat().st_mtime_ns, entry.name))
        for _, log in sorted(logs, reverse=True):
            yield self._path / log.removesuffix(SUFFIX)


def delete_store(path: Path) -> None:
    """Remove the files of the store at ``path``, those that exist."""
    path.unlink(missing_ok=True)
    sidecar_path(path).unlink(missing_ok=True)


def _discard(path: Path) -> None:
    """Remove what an earlier run left at ``path``, unless somebody is writing it."""
    try:
        log_fd = _open_locked(path)
    except FileNotFoundError:
        path.unlink(missing_ok=True)
        return
    try:
        delete_store(path)
    finally:
        os.close(log_fd)


def _open_locked(path: Path) -> int:
    log_path = sidecar_path(path)
    log_fd = os.open(log_path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    try:
        _lock(log_fd, path)
        if not os.path.samestat(os.fstat(log_fd), log_path.stat()):
            raise StoreLocked(f"the store {path} was replaced by another process just now")
    except BaseException:
        os.close(log_fd)
        raise
    return log_fd


def _lock(log_fd: int, path: Path) -> None:
    try:
        fcntl.flock(log_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StoreLocked(f"the store {path} is being written by another process") from None


def _recover(path: Path, log_fd: int) -> SidecarState:
    """Read the log and cut off what a crash tore, so that it can grow again."""
    state = SidecarState()
    good = replay(os.pread(log_fd, os.fstat(log_fd).st_size, 0), state)
    if state.key is None:
        raise StoreError(f"the store {path} is damaged: its log has no valid start")
    os.ftruncate(log_fd, good)
    return state


def _complete_move(path: Path, state: SidecarState) -> Path:
    """Return where the data of ``path`` is; end the renaming in which a process died."""
    if path.exists() or state.moved_to is None:
        return path
    moved = path.with_name(state.moved_to)
    if sidecar_path(moved).exists() or not moved.exists():
        return path
    sidecar_path(path).rename(sidecar_path(moved))
    return moved
