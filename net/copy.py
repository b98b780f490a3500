"""One open copy of a task at the supernode: its store, and everybody who needs it open."""

from __future__ import annotations

import hashlib
import os
import time
from typing import TYPE_CHECKING, Final

from trio.lowlevel import start_thread_soon

from .disk import mark_used, when_used
from .store import PieceStore, StoreError, StoreLocked, delete_store

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    from ..engine.ids import PieceIndex

_BLOCK_BYTES: Final = 1 << 20


class Copy:
    """A store that stays open until it is let go and nobody uses it any more.

    ``sound`` are the pieces that this process has hashed: the only ones to give out.
    """

    def __init__(self, store: PieceStore, before_s: float | None) -> None:
        self.store = store
        self.sound: set[PieceIndex] = set()
        self._before_s = before_s
        self._used_s = time.time()
        self._users = 0
        self._is_let_go = False
        self._is_deleted = False

    @classmethod
    def open(cls, path: Path, key: str) -> Self:
        """Open what an earlier run left at ``path``, or begin anew; blocks.

        Raises ``StoreLocked`` if another process writes there, and ``OSError``.
        """
        try:
            before_s = when_used(path).last_s
            copy = cls(PieceStore.open(path), before_s)
        except StoreLocked:
            raise
        except (StoreError, FileNotFoundError):
            return cls.create(path, key)
        mark_used(path, copy._used_s, before_s)
        return copy

    @classmethod
    def create(cls, path: Path, key: str) -> Self:
        """Begin an empty copy at ``path``; raises as ``PieceStore.create``."""
        return cls(PieceStore.create(path, key), None)

    @property
    def is_closed(self) -> bool:
        """Tell whether it was let go and is not used any more."""
        return self.store.fd < 0

    @property
    def is_busy(self) -> bool:
        """Tell whether somebody uses it."""
        return self._users > 0

    @property
    def is_whole(self) -> bool:
        """Tell whether the log has every piece of the file, right or not."""
        layout = self.store.layout
        return layout is not None and layout.length >= 0 and len(self.store.held) == layout.count

    def take(self) -> None:
        """Use it; every ``take`` needs a ``release``."""
        self._users += 1
        self._used_s = time.time()

    def release(self) -> None:
        """Use it no longer."""
        self._users -= 1
        self._used_s = time.time()
        self._close_if_unused()

    def let_go(self) -> None:
        """Close it as soon as nobody uses it; one that was deleted in a thread."""
        self._is_let_go = True
        self._close_if_unused()

    def revive(self) -> None:
        """Keep it open after all, as if it had been opened just now."""
        self._is_let_go = False
        self.sound = set()

    def unlink(self) -> None:
        """Remove its files; whoever uses it is not disturbed."""
        self._is_deleted = True
        delete_store(self.store.path)

    def close(self) -> None:
        """Close it, whoever uses it; without a head of the origin there is nothing to keep."""
        if self.store.layout is None:
            self.unlink()
        if not self._is_deleted:
            mark_used(self.store.path, self._used_s, self._before_s)
        self.store.close()

    def md5(self, length: int) -> str:
        """Read the first ``length`` bytes and return their MD5; blocks."""
        hasher = hashlib.md5(usedforsecurity=False)
        offset = 0
        while block := os.pread(self.store.fd, min(_BLOCK_BYTES, length - offset), offset):
            hasher.update(block)
            offset += len(block)
        return hasher.hexdigest()

    def _close_if_unused(self) -> None:
        if not self._is_let_go or self._users:
            return
        if self._is_deleted:
            # With its last descriptor a file's blocks go, which takes tenths of a second a GB.
            start_thread_soon(self.store.close, _ignore)
        else:
            self.close()


def _ignore(_: object) -> None:
    """Nobody waits for it."""
