"""Writes the trace of an engine to files that rotate, and never stands in the engine's way.

Packing a record is all that happens in the engine's turn; a task hands what has piled up to a
worker thread, every second or as soon as there is much of it.  Whatever goes wrong, a disk that
is full, refuses or hangs, ends the recording with one warning, and nothing else.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from ..engine.errors import ConfigError
from ..engine.records import dataclass
from ..engine.trace import TraceWriter
from .version import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_log = logging.getLogger(__name__)
_MIB: Final = 1 << 20
_EVERY_S: Final = 1.0
_MUCH_BYTES: Final = _MIB >> 2
_MOST_BYTES: Final = 16 * _MIB
"""What may wait for the disk: more would be taken from the supernode's own memory."""
_PATIENCE_S: Final = 10.0
_SUFFIX: Final = ".trace"


@dataclass(frozen=True, slots=True)
class TraceLimits:
    """How much of a recording is kept.

    A file is full with the record that brings it to ``file_bytes``.  There are at most ``files``
    in the folder, those of earlier recordings included: the oldest go.

    Raises:
        ConfigError: too small to hold anything; names setting and value.

    """

    file_bytes: int = 64 * _MIB
    files: int = 8

    def __post_init__(self) -> None:
        if self.file_bytes < 1:
            raise ConfigError(f"size of trace files is {self.file_bytes}: expected at least 1 byte")
        if self.files < 2:
            raise ConfigError(f"number of trace files is {self.files}: expected at least 2")


class Recorder:
    """Records one engine into ``folder``; ``run`` must run meanwhile.

    ``header`` says how to build the engine again.  The files are called
    ``<engine>-<start, UTC>-<pid>-<part>.trace``, so that their names sort by age.
    """

    def __init__(
        self, folder: Path, limits: TraceLimits, engine: str, header: Mapping[str, object]
    ) -> None:
        self._limits = limits
        began = time.gmtime()
        name = f"{engine}-{time.strftime('%Y%m%d-%H%M%S', began)}-{os.getpid()}"
        self._files = _Files(folder, engine, name, limits.files)
        self._part, self._part_bytes, self._records = 1, 0, 0
        self._pile: list[_Chunk] = []
        self._pile_bytes = 0
        self._some, self._much = trio.Event(), trio.Event()
        self._is_on = True
        self._threads = trio.CapacityLimiter(1)  # never behind those who hash and write pieces
        about = {
            "engine": engine,
            "version": VERSION,
            "began_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", began),
            "recording": name,
            "part": 1,
            "first_record": 1,
        }
        self._writer = TraceWriter(self._put, {**about, **header})

    def record(self, now: float, event: object | None, effects: Sequence[object]) -> None:
        """Take down one call of the engine; never fails, never waits."""
        if not self._is_on:
            return
        try:
            if self._part_bytes >= self._limits.file_bytes:
                self._part, self._part_bytes = self._part + 1, 0
                self._writer.begin({"part": self._part, "first_record": self._records + 1})
            self._writer.record(now, event, effects)
        except Exception as error:
            # A value that no trace can hold is a bug of ours, but none that may end the service.
            self._stop(f"record {self._records + 1} cannot be written: {error}")
            return
        self._records += 1
        if self._pile_bytes > _MOST_BYTES:
            self._stop(f"{self._pile_bytes} bytes wait: the disk is slower than the engine")

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write until cancelled, and what is left then."""
        task_status.started()
        try:
            while self._is_on:
                await self._some.wait()
                with trio.move_on_after(_EVERY_S):
                    await self._much.wait()
                await self._flush()
        finally:
            await self._flush()
            self._is_on = False

    def _put(self, data: bytes) -> None:
        self._pile.append(_Chunk(self._part, data))
        self._pile_bytes += len(data)
        self._part_bytes += len(data)
        self._some.set()
        if self._pile_bytes >= _MUCH_BYTES:
            self._much.set()

    async def _flush(self) -> None:
        pile, self._pile, self._pile_bytes = self._pile, [], 0
        self._some, self._much = trio.Event(), trio.Event()
        if not self._is_on:
            return
        with trio.move_on_after(_PATIENCE_S, shield=True) as patience:
            try:
                await trio.to_thread.run_sync(
                    self._files.write, pile, abandon_on_cancel=True, limiter=self._threads
                )
            except OSError as error:
                self._stop(error.strerror or str(error))
            except ValueError as error:  # a path that no file can have
                self._stop(str(error))
        if patience.cancelled_caught:
            self._stop(f"the disk took more than {_PATIENCE_S:g} s to write {len(pile)} records")

    def _stop(self, why: str) -> None:
        if self._is_on:
            self._is_on = False
            self._pile.clear()
            self._some.set()
            self._much.set()
            _log.warning("recording to %s is off: %s; all else goes on", self._files.folder, why)


class _Chunk(NamedTuple):
    part: int
    data: bytes


class _Files:
    """The files of one recording; for one worker thread at a time."""

    def __init__(self, folder: Path, engine: str, name: str, most: int) -> None:
        self.folder = folder
        self._engine, self._name, self._most = engine, name, most
        self._part = 0

    def write(self, pile: Sequence[_Chunk]) -> None:
        """Append to the files that the pile is meant for; raises ``OSError``."""
        for part, chunks in groupby(pile, key=lambda chunk: chunk.part):
            mode = "r+b" if part == self._part else "xb"
            if part != self._part:
                self._make_room()
                self._part = part
            path = self.folder / f"{self._name}-{part:06d}{_SUFFIX}"
            data = memoryview(b"".join([chunk.data for chunk in chunks]))
            with path.open(mode, buffering=0) as out:
                out.seek(0, os.SEEK_END)
                while data:
                    data = data[out.write(data) :]

    def _make_room(self) -> None:
        """Delete the oldest files, so that one more is not too many."""
        self.folder.mkdir(parents=True, exist_ok=True)
        found = sorted(self.folder.glob(f"{self._engine}-*{_SUFFIX}"))
        for path in found[: max(0, len(found) - self._most + 1)]:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
