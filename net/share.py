"""Holding a download to its own limit and to its share of the host's (protocol 8.7)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import trio

from .http import HttpError
from .pacing import BURST_BYTES, bucket
from .peer_launch import PeerServerRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .http.messages import Pace

ROUND_S: Final = 3.0
"""At most one question in so long that brings nothing new: a v1 server holds none."""
_log = logging.getLogger(__name__)


class DownloadLimit:
    """The limit of one download in bytes per second; 0: none.

    ``ask``, if there is a peer server, is told what is wanted and what is taken, and returns the
    download's share of the host's total limit when that is something else; it raises ``HttpError``
    or ``PeerServerRefused``.  Without any answer all that is wanted is taken, and after a
    first one what that was.

    The download takes part from its first bytes until ``leave``: so nobody waits for what it does
    not use.
    """

    def __init__(
        self, wanted_bytes_per_s: int, ask: Callable[[int, int], Awaitable[int]] | None
    ) -> None:
        self._wanted = wanted_bytes_per_s
        self._ask = ask if wanted_bytes_per_s else None
        self._bucket = bucket(wanted_bytes_per_s)
        self._taken = 0
        self._begun, self._granted, self._changed = trio.Event(), trio.Event(), trio.Event()
        self._turn = trio.Lock()
        self._sharing = trio.CancelScope()

    @property
    def pace(self) -> Pace | None:
        """What keeps all transfers of the download together within the limit."""
        return self._pace if self._wanted else None

    @property
    def rate_bytes_per_s(self) -> int:
        """The limit as it is now; 0: none."""
        return int(self._bucket.rate_bytes_per_s)

    async def run(self) -> None:
        """Follow the share as others come and go, until ``leave`` or cancelled."""
        with self._sharing:
            await self._begun.wait()
            if self._ask is None:
                self._take(self._wanted)
                return
            while True:
                earliest_s = trio.current_time() + ROUND_S
                if not await self._hear(self._ask):
                    await trio.sleep_until(earliest_s)

    def leave(self) -> None:
        """All bytes have come: give the share to the others, by hanging up."""
        self._sharing.cancel()

    async def _pace(self, count: int) -> None:
        self._begun.set()
        await self._granted.wait()
        async with self._turn:
            wait_s = self._bucket.take(count, trio.current_time())
            with trio.move_on_after(wait_s) as waiting:
                while True:
                    await self._changed.wait()
                    now = trio.current_time()
                    waiting.deadline = now + self._bucket.take(0, now)

    async def _hear(self, ask: Callable[[int, int], Awaitable[int]]) -> bool:
        """Ask for the share; tell whether it has changed."""
        try:
            share = min(await ask(self._wanted, self._taken), self._wanted)
        except (HttpError, PeerServerRefused) as error:
            _log.info("no answer about the share of the host's total limit: %s", error)
            share = self._taken or self._wanted
        if share in (0, self._taken):
            return False
        _log.info("limit of this download: %d bytes/s of %d wanted", share, self._wanted)
        self._take(share)
        return True

    def _take(self, share: int) -> None:
        now = trio.current_time()
        self._bucket.set_rate(share, now)
        if not self._granted.is_set() and share < self._wanted:
            self._bucket.take(BURST_BYTES, now)  # the others leave no room for a burst
        self._taken = share
        self._granted.set()
        self._changed.set()
        self._changed = trio.Event()
