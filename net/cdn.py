"""The supernode's copies on disk: filled from origins, kept, given again, deleted (protocol 7).

The content lies plain at ``<home>/repo/download/<3>/<taskId>``; the wrapped file that v1 clients
expect there is a view made while sending (``cdn_port``).  Of what an earlier run left no byte is
given out before it was hashed again.  A complete copy is used if the origin says that nothing has
changed, or says nothing; an incomplete one as far as it goes, on the condition that the rest is
of the same content.
"""

from __future__ import annotations

import logging
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar, TypeVarTuple, Unpack

import trio

from ..engine.effects import CheckOrigin
from ..engine.events import (
    CopyDeleted,
    CopyHashed,
    Freshness,
    OriginEnded,
    OriginFailed,
    OriginFailure,
    OriginOpened,
    OriginPieceStored,
    PieceHashed,
    PieceVerified,
)
from ..engine.piece import DigestForm
from .copy import Copy
from .disk import copy_path, delete_copy, survey
from .fill import Fill, damaged, whole_prefix
from .pacing import Bandwidth, bucket, pace_of
from .publish import NO_SPACE
from .store import StoreError
from .turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..engine.effects import HashCopy, HashPiece, ReadOrigin, SurveyDisk, VerifyPiece
    from ..engine.events import DiskSurveyed, OriginEvent
    from ..engine.ids import PieceIndex, TaskId
    from .origin import OriginReader

T = TypeVar("T")
ArgsT = TypeVarTuple("ArgsT")
_log = logging.getLogger(__name__)
_THREADS: Final = 8
"""For work on one piece, or none."""
_LONG_THREADS: Final = 2
"""For work on whole files, which must not hold up the other."""
_CHECK_S: Final = 3.0
"""How long an origin may take to say that nothing has changed; registrations wait for it."""


class Doomed(NamedTuple):
    """A copy about to be deleted; ``copy`` is ``None`` if no task in memory has it open."""

    task: TaskId
    copy: Copy | None
    turn: trio.Event


class CdnStores:
    """All copies of one supernode: those of tasks in memory, and those on the disk behind them."""

    def __init__(self, repo: Path, reader: OriginReader, bandwidth: Bandwidth) -> None:
        self._folder, self._reader, self._bandwidth = repo / "download", reader, bandwidth
        self._copies: dict[TaskId, Copy] = {}
        self._draining: dict[TaskId, Copy] = {}  # of no task in memory any more, but being sent
        self._turns: Turns[TaskId] = Turns()
        self._threads = trio.CapacityLimiter(_THREADS)
        self._long_work = trio.CapacityLimiter(_LONG_THREADS)
        self._all_reads = bucket(bandwidth.usable_bytes_per_s)
        self.origin_bytes = 0
        self.cache_hits = 0

    def find(self, task: TaskId) -> Copy | None:
        """Return the copy of a task in memory."""
        return self._copies.get(task)

    # --- filling ---

    async def read(
        self,
        effect: ReadOrigin,
        post: Callable[[OriginEvent], None],
        few_hosts: Callable[[], bool] = bool,
    ) -> None:
        """Perform a read: what is on disk from there, the rest from the origin.

        ``few_hosts`` is as in ``OriginReader.read``.
        """
        try:
            copy = await self._open(effect.task)
        except (OSError, StoreError) as error:
            full = isinstance(error, OSError) and error.errno in NO_SPACE
            failure = OriginFailure.STORE_FULL if full else OriginFailure.STORE_FAILED
            reason = f"cannot keep task {effect.task} under {self._folder}: {error}"
            post(OriginFailed(effect.fetch, failure, reason))
            return
        copy.take()
        fill = Fill(effect, copy, post, partial(self._renew, effect.task))
        try:
            if not copy.sound:  # it may hold what an earlier run left
                if copy.is_whole and await self._is_fresh(effect, copy):
                    self.cache_hits += 1
                    await self._give_again(effect, copy, post)
                    return
                if not copy.is_whole:
                    fill.precede(whole_prefix(copy))
            await self._fill(fill, few_hosts)
            if fill.is_void:
                await self._fill(fill, few_hosts)
        finally:
            fill.copy.release()

    async def _fill(self, fill: Fill, few_hosts: Callable[[], bool]) -> None:
        pace = pace_of(self._all_reads, bucket(self._bandwidth.link_bytes_per_s))
        ready = partial(fill.give_cached, self._is_intact)
        read = fill.shortened()
        await self._reader.read(
            read, fill, fill.take, self._count, pace=pace, ready=ready, few_hosts=few_hosts
        )
        if fill.ended is not None:
            fill.finish(await self._whole_md5(fill.copy, fill.ended.length))

    async def _is_fresh(self, effect: ReadOrigin, copy: Copy) -> bool:
        """Tell whether a whole copy may be used.  Where a digest is asked for, that will tell."""
        store, layout = copy.store, copy.store.layout
        assert layout is not None
        if effect.md5:
            return True
        if not store.validator:
            return False
        asked = CheckOrigin(
            effect.fetch,
            effect.url,
            effect.headers,
            store.validator,
            layout.length,
            effect.insecure,
            effect.root_cas,
        )
        with trio.move_on_after(_CHECK_S):
            found = await self._reader.check(asked)
            return found in (Freshness.SAME, Freshness.UNKNOWN)
        return True

    async def _give_again(
        self, effect: ReadOrigin, copy: Copy, post: Callable[[OriginEvent], None]
    ) -> None:
        """Say of a whole copy what a read would say, each piece once it was hashed again."""
        store, layout = copy.store, copy.store.layout
        assert layout is not None
        cut = layout.length, layout.piece_size
        post(OriginOpened(effect.fetch, *cut, ranged=True, validator=store.validator))
        for piece, (size, digest) in sorted(store.held.items()):
            if not await self._is_intact(copy, piece):
                error = damaged(piece)
                post(OriginFailed(effect.fetch, error.failure, f"the origin {error}"))
                return
            copy.sound.add(piece)
            post(OriginPieceStored(effect.fetch, piece, size, digest))
        md5 = await self._whole_md5(copy, layout.length) if effect.wants_md5 else ""
        post(OriginEnded(effect.fetch, layout.length, md5))

    async def hash(self, effect: HashPiece, post: Callable[[PieceHashed], None]) -> None:
        """Perform a ``HashPiece`` off the event loop."""
        found = self._held(effect.task, effect.piece)
        if found is None:
            return
        copy, size = found
        copy.take()
        try:
            form = DigestForm.MD5_WRAPPED
            digest = await self._work(copy.store.digest, effect.piece, size, form)
            if self._copies.get(effect.task) is copy:  # else it is of no task any more
                post(PieceHashed(effect.task, effect.piece, digest.removeprefix("md5:")))
        finally:
            copy.release()

    async def hash_whole(self, effect: HashCopy, post: Callable[[CopyHashed], None]) -> None:
        """Perform a ``HashCopy`` off the event loop."""
        copy, md5 = self._copies.get(effect.task), ""
        if copy is not None:
            copy.take()
            try:
                md5 = await self._whole_md5(copy, effect.length)
            except OSError as error:
                _log.warning("the copy of task %s cannot be read: %s", effect.task, error)
            finally:
                copy.release()
        if self._copies.get(effect.task) is copy:
            post(CopyHashed(effect.task, md5))

    async def verify(self, effect: VerifyPiece, post: Callable[[PieceVerified], None]) -> None:
        """Perform a ``VerifyPiece`` off the event loop."""
        found = self._held(effect.task, effect.piece)
        if found is None:
            post(PieceVerified(effect.task, effect.piece, intact=False))
            return
        copy, _ = found
        copy.take()
        try:
            intact = await self._work(copy.store.is_intact, effect.piece)
            if self._copies.get(effect.task) is copy:
                post(PieceVerified(effect.task, effect.piece, intact))
        finally:
            copy.release()

    # --- letting go ---

    def forget(self, task: TaskId) -> None:
        """Close a copy once nobody uses it; its files stay for the next time."""
        copy = self._copies.pop(task, None)
        if copy is not None:
            if copy.is_busy:
                self._drain(task, copy)
            copy.let_go()

    def doom(self, task: TaskId) -> Doomed:
        """Give a copy out no more; ``delete`` is to follow, and nobody opens it before."""
        copy = self._copies.pop(task, None) or self._draining.pop(task, None)
        is_open = copy is not None and not copy.is_closed
        return Doomed(task, copy if is_open else None, self._turns.join(task))

    async def delete(self, doomed: Doomed, post: Callable[[CopyDeleted], None]) -> None:
        """Remove the files of a copy; whoever is being sent them gets all of it."""
        task, copy, turn = doomed
        gone = False
        try:
            await turn.wait()
            if copy is None:
                gone = await self._work(delete_copy, self._folder, task)
            else:
                await self._work(copy.unlink)
                gone = True
        except OSError as error:
            _log.warning("the copy of task %s cannot be deleted: %s", task, error)
        finally:
            if copy is not None:
                copy.let_go()
            self._turns.leave(task, turn)
        post(CopyDeleted(task, gone))

    async def survey(self, effect: SurveyDisk, post: Callable[[DiskSurveyed], None]) -> None:
        """Perform a ``SurveyDisk``."""
        in_use = frozenset((*self._copies, *self._draining, *self._turns))
        work = partial(survey, self._folder, in_use, lists_copies=effect.lists_copies)
        post(await self._work(work))

    def close(self) -> None:
        """Close all copies."""
        for copy in (*self._copies.values(), *self._draining.values()):
            copy.close()
        self._copies.clear()
        self._draining.clear()

    # --- inside ---

    async def _open(self, task: TaskId) -> Copy:
        """Return the copy to fill."""
        turn = self._turns.join(task)
        try:
            await turn.wait()
            if (copy := self._copies.get(task)) is not None:
                return copy
            copy = self._draining.pop(task, None)
            if copy is not None and not copy.is_closed:
                copy.revive()
            else:
                copy = await self._work(Copy.open, copy_path(self._folder, task), str(task))
            if trio.current_effective_deadline() == -inf:
                copy.close()  # the task was forgotten meanwhile
                await trio.lowlevel.checkpoint()
            self._copies[task] = copy
            return copy
        finally:
            self._turns.leave(task, turn)

    def _renew(self, task: TaskId, old: Copy) -> Copy:
        """Return an empty copy, in use, in place of ``old``, which is let go."""
        old.unlink()
        new = Copy.create(copy_path(self._folder, task), str(task))
        new.take()
        if self._copies.get(task) is old:
            self._copies[task] = new
        else:
            new.let_go()
        old.let_go()
        old.release()
        return new

    def _drain(self, task: TaskId, copy: Copy) -> None:
        still = {name: one for name, one in self._draining.items() if not one.is_closed}
        self._draining = {**still, task: copy}

    def _held(self, task: TaskId, piece: PieceIndex) -> tuple[Copy, int] | None:
        copy = self._copies.get(task)
        if copy is None or piece not in copy.sound:
            return None
        return copy, copy.store.held[piece][0]

    async def _is_intact(self, copy: Copy, piece: PieceIndex) -> bool:
        """Read a piece again; one that is not what the log says is dropped."""
        try:
            intact = await self._work(copy.store.is_intact, piece)
        except OSError as error:
            _log.warning("piece %d of %s cannot be read: %s", piece, copy.store.path, error)
            intact = False
        if not intact:
            copy.store.drop(piece)
        return intact

    async def _whole_md5(self, copy: Copy, length: int) -> str:
        return await trio.to_thread.run_sync(copy.md5, length, limiter=self._long_work)

    async def _work(self, function: Callable[[Unpack[ArgsT]], T], *args: *ArgsT) -> T:
        return await trio.to_thread.run_sync(function, *args, limiter=self._threads)

    def _count(self, count: int) -> None:
        self.origin_bytes += count
