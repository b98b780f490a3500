"""Whether a content is the one that its digest names, computed while its pieces come."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from ..publish import PublishError
from .content import ContentFailed

if TYPE_CHECKING:
    from pathlib import Path

    from ..store import PieceStore
    from .blob import Blob

_BLOCK_BYTES: Final = 1 << 20
_DIGEST: Final = re.compile(r"(sha256|sha512):([0-9a-f]+)")


class Proof:
    """Hashes a blob in order, behind its pieces, so that at the end little is left to hash."""

    def __init__(self, blob: Blob, store: PieceStore) -> None:
        found = _DIGEST.fullmatch(blob.digest)
        self._blob, self._store = blob, store
        self._algorithm = found[1] if found else ""
        self._restart()
        self._lock = trio.Lock()

    async def run(self) -> None:
        """Hash what comes until cancelled, or until nothing more will come."""
        with suppress(ContentFailed):
            while self._algorithm:
                until = self._blob.ready_until(self._offset, _BLOCK_BYTES)
                if until > self._offset or self._store.voided != self._voided:
                    await self._follow(until)
                else:
                    await self._blob.wait()

    async def check(self, length: int, md5: str) -> None:
        """Hash the rest; raises ``PublishError`` if the content is another one.

        ``md5`` is what a supernode says of the whole, empty if it says nothing.
        """
        if self._algorithm:
            await self._follow(length)
            _compare(f"{self._algorithm}:{self._hasher.hexdigest()}", self._blob.digest)
        if md5:
            _compare(await trio.to_thread.run_sync(_md5, self._store.path), md5.lower())

    async def _follow(self, until: int) -> None:
        async with self._lock:
            if self._store.voided != self._voided:
                self._restart()
            await trio.to_thread.run_sync(self._hash, until)

    def _restart(self) -> None:
        self._hasher = hashlib.new(self._algorithm or "sha256", usedforsecurity=False)
        self._offset, self._voided = 0, self._store.voided

    def _hash(self, until: int) -> None:
        while self._offset < until:
            size = min(_BLOCK_BYTES, until - self._offset)
            if not (block := os.pread(self._store.fd, size, self._offset)):
                break  # the file was laid out anew meanwhile
            self._hasher.update(block)
            self._offset += len(block)


def _compare(real: str, expected: str) -> None:
    if real != expected:
        raise PublishError(f"the content is {real}, expected {expected}", mismatch=True)


def _md5(path: Path) -> str:
    with path.open("rb", buffering=0) as file:
        hasher = partial(hashlib.md5, usedforsecurity=False)
        return hashlib.file_digest(file, hasher).hexdigest()
