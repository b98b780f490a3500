"""The daemon's blobs on disk: found again after a restart, bounded in bytes and in age.

Each lies in a store of its own, ``<task>-<sign>.service``, whose log names it (``blob.Label``).
When one was used is kept in the time of its file.  Whatever else lies in the directory and is old
is left-over and goes.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import trio

from ..disk import free_bytes
from ..peer_files import SERVICE_SUFFIX
from ..request import Progress
from ..sidecar import SUFFIX, SidecarReader
from ..store import PieceStore, StoreDirectory, StoreError, delete_store
from .blob import Blob, decode_label

if TYPE_CHECKING:
    from pathlib import Path

_SPARE_BYTES: Final = 64 << 20
_MOST_BYTES: Final = 100 << 30


class Shelf:
    """One directory of blobs.

    ``limit_bytes`` 0: a quarter of the disk, at most 100 GiB.  What was unused for ``max_age_s``
    may go, what was never completed after ``leftover_s``.
    """

    def __init__(self, folder: Path, limit_bytes: int, max_age_s: float, leftover_s: float) -> None:
        self._folder = folder
        self._limit_bytes, self._max_age_s, self._leftover_s = limit_bytes, max_age_s, leftover_s

    def load(self) -> list[Blob]:
        """Return the blobs of earlier runs, those used last at the end; blocks; ``OSError``."""
        StoreDirectory(self._folder)  # makes it
        if not self._limit_bytes:
            found = os.statvfs(self._folder)
            self._limit_bytes = min(found.f_blocks * found.f_frsize // 4, _MOST_BYTES)
        with os.scandir(self._folder) as entries:
            logs = [entry.name for entry in entries if entry.name.endswith(SERVICE_SUFFIX + SUFFIX)]
        blobs: list[Blob] = []
        for log in sorted(logs):
            name = log.removesuffix(SERVICE_SUFFIX + SUFFIX)
            if (blob := self._find(name)) is not None:
                blobs.append(blob)
            else:
                delete_store(self.path_of(name))
        return sorted(blobs, key=lambda blob: blob.used_at)

    def path_of(self, name: str) -> Path:
        """Return where the data of a blob lies."""
        return self._folder / f"{name}{SERVICE_SUFFIX}"

    async def open(self, blob: Blob) -> PieceStore:
        """Open the store of a blob, a new one if there is none; ``OSError``, ``StoreError``."""
        return await trio.to_thread.run_sync(self._open, blob)

    def close(self, blob: Blob) -> None:
        """Close the store of a blob that nobody uses; its file remembers when it was used."""
        if blob.store is not None:
            blob.store.close()
            blob.store = None
            with contextlib.suppress(OSError):
                os.utime(self.path_of(blob.name), (blob.used_at, blob.used_at))

    def delete(self, name: str) -> None:
        """Remove the files of a blob; whoever has them open is not disturbed; blocks."""
        with contextlib.suppress(OSError):
            delete_store(self.path_of(name))

    def sweep(self, names: frozenset[str]) -> None:
        """Remove what is old in the directory and belongs to none of the blobs named; blocks."""
        oldest = time.time() - self._leftover_s
        kept = {self.path_of(name).name for name in names}
        kept |= {f"{file}{SUFFIX}" for file in kept}
        with contextlib.suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    is_old = max(found.st_atime, found.st_mtime) < oldest
                    if is_old and stat.S_ISREG(found.st_mode) and entry.name not in kept:
                        os.unlink(entry.path)

    def is_expired(self, blob: Blob, now: float) -> bool:
        """Tell whether an idle blob has been kept long enough (``now`` is the wall clock)."""
        limit_s = self._max_age_s if blob.is_complete else self._leftover_s
        return now - blob.used_at >= limit_s

    def lacks_bytes(self, blobs: list[Blob], wanted: int) -> int:
        """Return how many bytes must go before ``wanted`` more may come; 0 or less: none.

        ``blobs`` are all there are, those still coming counted as whole.
        """
        taken = sum([max(0, blob.length or 0) for blob in blobs])
        coming = sum([_to_come(blob) for blob in blobs])
        free = free_bytes(self._folder) - coming - _SPARE_BYTES
        return wanted - min(self._limit_bytes - taken, free)

    def _open(self, blob: Blob) -> PieceStore:
        path = self.path_of(blob.name)
        with contextlib.suppress(StoreError):
            if path.exists():
                return PieceStore.open(path)
        blob.is_complete = False
        store = PieceStore.create(path, blob.label.encode())
        os.fchmod(store.fd, 0o600)  # it may be somebody's private image
        return store

    def _find(self, name: str) -> Blob | None:
        path = self.path_of(name)
        reader = SidecarReader(path)
        try:
            reader.refresh()
            used_at = path.stat().st_mtime
        except OSError:
            return None
        label = decode_label(reader.key or "")
        if label is None:
            return None
        if reader.finished_length is not None:
            label = replace(label, length=reader.finished_length)
        blob = Blob(name, label, is_complete=reader.finished_length is not None)
        blob.used_at = used_at
        held = sum([size for size, _ in reader.held.values()])
        blob.progress = Progress(length=label.length, held_bytes=held)
        return None if self.is_expired(blob, time.time()) else blob


def _to_come(blob: Blob) -> int:
    return max(0, (blob.length or 0) - blob.progress.held_bytes)
