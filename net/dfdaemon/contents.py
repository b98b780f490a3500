"""All content that the daemon has or is fetching: shared between clients, checked, kept.

A content is one as the swarm sees it: the same URL, but for the query parameters that do not
count.  Whoever asks for one that is being fetched reads along; what was fetched stays (``shelf``)
and is given to other peers (``peers``).  A download that everybody has left goes on only if at
least half of it is here, since then finishing costs less than it has cost so far, and whoever
left tends to come back; else it ends after a moment and what came is deleted.
"""

from __future__ import annotations

import itertools
import logging
import time
from contextlib import AsyncExitStack
from os import getpid
from typing import TYPE_CHECKING, Final

import trio

from ...engine.ids import TaskId, peer_id, sign, task_id, task_url
from ...engine.records import dataclass
from ..http import HttpPool
from ..origin import OriginReader
from ..pacing import bucket, pace_of
from ..store import StoreError
from .asking import OriginAsker, Permits, has_credentials
from .blob import Blob, Label
from .breaker import Breaker
from .bring import Bringing, Kit, Suspects
from .content import Content, Unreachable, Unsuitable
from .peers import Peers
from .shelf import Shelf

if TYPE_CHECKING:
    from .asking import Described
    from .content import ContentRequest
    from .settings import DaemonSettings

_SWEEP_S: Final = 60.0
_MOST_BLOBS: Final = 4000
_VALIDATORS: Final = ("etag", "last-modified", "docker-content-digest")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Census:
    """What is here, what is being fetched, and how downloads ended so far."""

    blobs: int
    held_bytes: int
    fetching: int
    fetched: int
    failed: int


class Contents:
    """Owns all downloads of a daemon.

    ``run`` must be running (``await nursery.start(contents.run)``) for ``open`` to work.  A
    download that everybody has left is given up after ``linger_s``.
    """

    def __init__(self, settings: DaemonSettings, *, linger_s: float = 5.0) -> None:
        self._settings, self._linger_s = settings, linger_s
        self._blobs: dict[TaskId, Blob] = {}  # the one used last is the last
        self._permits = Permits(settings.auth_check)
        self._numbers = itertools.count(1)
        self._is_stopping = False
        self._fetched = self._failed = 0
        bounds, folder = settings.bounds, settings.local_repo
        self._shelf = Shelf(folder, bounds.store_bytes, bounds.store_age_s, bounds.leftover_s)
        self._breaker = Breaker(settings.supernodes)
        self._peers = Peers(folder, self._breaker.nodes, settings.local_ip, settings.peer_port)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the downloads until cancelled; raises ``OSError`` if the store cannot be used."""
        settings = self._settings
        for blob in await trio.to_thread.run_sync(self._shelf.load):
            self._enter(blob)
        async with AsyncExitStack() as stack:
            reader = await stack.enter_async_context(OriginReader())
            pool = await stack.enter_async_context(HttpPool())
            stack.callback(self._stop)
            self._nursery = await stack.enter_async_context(trio.open_nursery())
            self._asker = OriginAsker(reader, self._nursery)
            pace = pace_of(bucket(settings.rate_bytes_per_s))
            self._kit = Kit(
                shelf=self._shelf,
                reader=reader,
                pool=pool,
                breaker=self._breaker,
                peers=self._peers,
                suspects=Suspects(),
                at_once=trio.Semaphore(settings.bounds.downloads),
                dropped=settings.dropped,
                pace=pace,
            )
            await reader.prepare()
            await self._nursery.start(self._peers.run)
            for blob in self._blobs.values():
                if blob.is_complete:
                    self._peers.finished(blob.name, blob.task, blob.label.peer, None)
            self._nursery.start_soon(self._breaker.run)
            self._nursery.start_soon(self._sweep)
            task_status.started()
            await trio.sleep_forever()

    async def open(self, request: ContentRequest) -> Content:
        """Return the content once its headers and, where anybody knows it, its length are known.

        Raises ``OriginAnswered`` (pass that on), ``Unsuitable`` (forward the request as if it
        were not eligible), ``Unreachable`` and, if that shows before the length, ``ContentFailed``
        (502).
        """
        try:
            return await self._open(request)
        except Unsuitable as error:
            if request.strict:
                raise Unreachable(f"{error}, and the rule is strict") from error
            raise

    async def _open(self, request: ContentRequest) -> Content:
        task = task_id(task_url(request.url, self._settings.dropped))
        described = await self._ask(request, self._blobs.get(task))
        blob = self._blobs.get(task)
        if blob is not None and (blob.failure or _is_other(blob, request, described)):
            self._discard(blob)
            blob = None
        if blob is None:
            blob = self._new(task, request, described)
        content = Content(blob)
        try:
            self._use(blob, request)
            if described is None:
                await blob.known()
        except BaseException:
            content.close()
            raise
        return content

    def census(self) -> Census:
        """Count."""
        blobs = self._blobs.values()
        return Census(
            blobs=len(blobs),
            held_bytes=sum([blob.progress.held_bytes for blob in blobs]),
            fetching=sum([blob.running is not None for blob in blobs]),
            fetched=self._fetched,
            failed=self._failed,
        )

    # --- who may have it ---

    async def _ask(self, request: ContentRequest, blob: Blob | None) -> Described | None:
        """Return what the origin says to this client, or nothing where that need not be asked."""
        if blob is not None and self._permits.holds(request, trio.current_time()):
            return None
        try:
            described = await self._asker.describe(request)
        except Unreachable:
            if blob is not None and blob.is_public and blob.is_complete:
                return None  # what the origin once gave to anybody
            if blob is None and self._may_join_blindly(request):
                return None
            raise
        self._permits.note(request, trio.current_time())
        if blob is not None and not has_credentials(request):
            blob.is_public = True
        return described

    def _may_join_blindly(self, request: ContentRequest) -> bool:
        """Tell whether the swarm may be asked for what only a supernode can read the origin of."""
        is_unchecked = self._permits.holds(request, trio.current_time())
        return is_unchecked and bool(self._breaker.alive)

    # --- blobs come and go ---

    def _new(self, task: TaskId, request: ContentRequest, described: Described | None) -> Blob:
        """Enter a blob that is about to come."""
        if request.strict and not self._breaker.nodes:
            raise Unreachable("the rule is strict and no supernode is configured: add one")
        length = described.length if described is not None else -1
        self._make_room(max(0, length))
        who = f"{sign(getpid(), time.time())}-{next(self._numbers)}"
        label = Label(
            task=task,
            peer=peer_id(self._peers.ip, who),
            digest=request.digest,
            headers=described.headers if described is not None else (),
            is_public=not has_credentials(request),
            length=length,
        )
        blob = Blob(f"{task}-{who}", label)
        self._enter(blob)
        return blob

    def _enter(self, blob: Blob) -> None:
        blob.on_left = self._left
        self._blobs[blob.task] = blob

    def _use(self, blob: Blob, request: ContentRequest) -> None:
        """Have a blob opened, and completed if it is not."""
        if self._blobs.get(blob.task) is blob:
            self._blobs[blob.task] = self._blobs.pop(blob.task)
        if blob.running is None and (blob.store is None or not blob.is_complete):
            blob.running = trio.CancelScope()
            if not blob.is_complete:
                blob.is_of_swarm = bool(self._breaker.alive)  # for heads sent before it is certain
            self._nursery.start_soon(self._bring, blob, request)

    async def _bring(self, blob: Blob, request: ContentRequest) -> None:
        assert blob.running is not None
        bringing, was_here = Bringing(blob, request, self._kit), blob.is_complete
        try:
            with blob.running:
                await bringing.run()
        except (OSError, StoreError) as error:
            blob.fail(f"the daemon cannot keep the content: {error}")
        except Exception as error:
            # One strange origin must not end the daemon for all others.
            _log.exception("fetching task %s failed", blob.task)
            blob.fail(f"the daemon failed: {error!r}")
        finally:
            blob.running = None
        if blob.failure or not blob.is_complete:
            self._failed += 1
            blob.fail("the download was given up")
            if bringing.is_resumable:
                blob.is_resumable = True
                self._forget(blob)
            else:
                self._discard(blob)
        elif not was_here:
            self._fetched += 1
        self._settle(blob)

    def _left(self, blob: Blob) -> None:
        """The last client has left."""
        if blob.running is not None and not blob.is_complete:
            self._nursery.start_soon(self._linger, blob, blob.used_at)
        self._settle(blob)

    async def _linger(self, blob: Blob, since: float) -> None:
        """Give up a download that nobody has come back to."""
        await trio.sleep(self._linger_s)
        is_wanted = blob.readers or blob.used_at != since or blob.is_complete
        if blob.running is not None and not is_wanted and not blob.is_mostly_here:
            self._forget(blob)
            blob.running.cancel()

    def _settle(self, blob: Blob) -> None:
        """Close the files of a blob that nobody uses; one that broke off can then be resumed."""
        if not blob.is_idle:
            return
        self._shelf.close(blob)
        if blob.is_resumable and blob.task not in self._blobs:
            self._enter(blob.again())
        elif blob.is_resumable:
            self._discard(blob)

    def _forget(self, blob: Blob) -> None:
        if self._blobs.get(blob.task) is blob:
            del self._blobs[blob.task]

    def _discard(self, blob: Blob) -> None:
        """Give a blob out no more, and remove its files; whoever reads it is not disturbed."""
        self._forget(blob)
        if not self._is_stopping:
            self._peers.withdraw(blob.name)
            self._nursery.start_soon(trio.to_thread.run_sync, self._shelf.delete, blob.name)

    def _make_room(self, wanted: int) -> None:
        """Discard what was unused for longest until ``wanted`` bytes fit, or raise ``Unsuitable``.

        Nothing that is being read or fetched goes.
        """
        idle = [blob for blob in self._blobs.values() if blob.is_idle]
        lacking = self._shelf.lacks_bytes(list(self._blobs.values()), wanted)
        if lacking > sum([blob.progress.held_bytes for blob in idle]):
            raise Unsuitable(f"no room for {wanted} bytes in {self._settings.local_repo}")
        for blob in idle:
            if lacking <= 0 and len(self._blobs) < _MOST_BLOBS:
                return
            lacking -= blob.progress.held_bytes
            self._discard(blob)

    async def _sweep(self) -> None:
        """Discard what is too old, now and again."""
        while True:
            now = time.time()
            for blob in list(self._blobs.values()):
                if blob.is_idle and self._shelf.is_expired(blob, now):
                    self._discard(blob)
            names = frozenset([blob.name for blob in self._blobs.values()])
            await trio.to_thread.run_sync(self._shelf.sweep, names)
            await trio.sleep(_SWEEP_S)

    def _stop(self) -> None:
        """Close what nobody reads; who still does so closes it on leaving."""
        self._is_stopping = True
        for blob in self._blobs.values():
            blob.fail("the daemon is stopping")
            self._settle(blob)


def _is_other(blob: Blob, request: ContentRequest, described: Described | None) -> bool:
    """Tell whether what is here is not what the origin has."""
    if described is None:
        return False
    if request.digest != blob.digest or (
        blob.length is not None and 0 <= described.length != blob.length
    ):
        return True
    if request.digest:
        return False
    return any(
        _value(blob.headers, name) != _value(described.headers, name) for name in _VALIDATORS
    )


def _value(headers: tuple[tuple[str, str], ...], name: str) -> str | None:
    return next((value for key, value in headers if key.lower() == name), None)
