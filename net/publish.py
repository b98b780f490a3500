"""Putting a finished file under the user's name: all of it, verified, or nothing at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from functools import partial
from typing import TYPE_CHECKING, Final

from ..engine.errors import DamselflyError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from .store import PieceStore

NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT)
#: What ``link`` and ``rename`` say when only a copy can do: another file system, or one (or a
#: kernel setting) that allows no further link to this file.
_COPY_INSTEAD: Final = (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_MAX_STEM_BYTES: Final = 200


class PublishError(DamselflyError):
    """Nothing stands under the user's name; the message says why and what to do.

    ``mismatch``: the content is not what it should be.  ``no_space``: a disk is full.
    """

    def __init__(self, reason: str, *, mismatch: bool = False, no_space: bool = False) -> None:
        super().__init__(reason)
        self.mismatch = mismatch
        self.no_space = no_space


def publish(
    store: PieceStore,
    target: Path,
    length: int,
    md5: str = "",
    *,
    sha256: str = "",
    keep_store: bool,
) -> None:
    """Verify the ``length`` bytes in ``store`` and make them appear as ``target`` in one step.

    ``md5`` and ``sha256`` (hex) are those of the whole file; both empty: the pieces were enough.
    With ``keep_store`` target and store share their bytes where the file system allows, and the
    store is finished and must not be written again; without, it is gone afterwards, closed and
    all.  Directories above ``target`` are made, and a file that has the name is replaced.  To be
    called in a worker thread.  Raises ``PublishError``; the store then stays as it was.
    """
    check_target(target)
    with _explained(target, f"the data stays in {store.path}"):
        _cut(store, length)
        for name, expected in (("md5", md5), ("sha256", sha256)):
            if expected:
                _verify(store, target, name, expected)
        if keep_store:
            _link(store, target, length)
            store.finish(length)
        else:
            _move(store, target, length)
            store.delete()


def check_target(target: Path) -> None:
    """Make the directories above ``target`` and see that a file can be put there.

    Raises ``PublishError``.  Worth a call before a download begins.
    """
    with _explained(target, "nothing was written"):
        folder = target.parent
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True, exist_ok=True)
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{folder} is no directory")
        if target.is_dir():
            raise PublishError(f"{target} is a directory: give the name of a file")
        with contextlib.suppress(FileNotFoundError):
            mode = target.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
                raise PublishError(f"{target} is not an ordinary file: give another name")
        if not os.access(folder, os.W_OK | os.X_OK):
            read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
            number = errno.EROFS if read_only else errno.EACCES
            raise OSError(number, f"{folder}: {os.strerror(number)}")


@contextlib.contextmanager
def _explained(target: Path, state: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in NO_SPACE
        step = "free some space" if full else "choose a place that can be written"
        raise PublishError(
            f"cannot write {target}: {error.strerror}; {state}; {step} and run again",
            no_space=full,
        ) from error


def _cut(store: PieceStore, length: int) -> None:
    size = os.fstat(store.fd).st_size
    if size < length:
        raise PublishError(
            f"{store.path} has {size} of {length} bytes: something else cut it; run again",
            mismatch=True,
        )
    os.ftruncate(store.fd, length)


def _verify(store: PieceStore, target: Path, name: str, expected: str) -> None:
    with store.path.open("rb", buffering=0) as file:
        hasher = partial(hashlib.new, name, usedforsecurity=False)
        real = hashlib.file_digest(file, hasher).hexdigest()
    if real != expected.lower():
        raise PublishError(
            f"{name} not match, expected:{expected} real:{real}; {target} was not written;"
            " check the expected value, or whether the origin has changed",
            mismatch=True,
        )


def _link(store: PieceStore, target: Path, length: int) -> None:
    temporary = _temporary_name(target)
    try:
        try:
            os.link(store.path, temporary)
        except OSError as error:
            if error.errno not in _COPY_INSTEAD:
                raise
            _copy(store, temporary, length)
        temporary.replace(target)
    finally:
        # Renaming one link over another of the same file leaves both, so this may be left.
        temporary.unlink(missing_ok=True)


def _move(store: PieceStore, target: Path, length: int) -> None:
    try:
        store.path.replace(target)
    except OSError as error:
        if error.errno not in _COPY_INSTEAD:
            raise
        _link(store, target, length)


def _copy(store: PieceStore, temporary: Path, length: int) -> None:
    with temporary.open("xb") as file:
        copied = 0
        while copied < length:
            sent = os.sendfile(file.fileno(), store.fd, copied, length - copied)
            if sent == 0:
                raise OSError(errno.EIO, f"{store.path} ends after {copied} of {length} bytes")
            copied += sent
        os.fsync(file.fileno())


def _temporary_name(target: Path) -> Path:
    stem = os.fsdecode(os.fsencode(target.name)[:_MAX_STEM_BYTES])
    return target.with_name(f".{stem}.{secrets.token_hex(8)}.tmp")
