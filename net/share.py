"""Holding a download to its own limit and to its share of the host's (protocol 8.7)."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final, Self

import trio

from .http import HttpError
from .pacing import BURST_BYTES, bucket, pace_of
from .peer_launch import PeerServerRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .http.messages import Pace

ROUND_S: Final = 3.0
_LEAST_WAIT_S: Final = 0.05
_LEAVE_TIMEOUT_S: Final = 1.0
_log = logging.getLogger(__name__)


class DownloadLimit:
    """The limit of one download in bytes per second; 0: none.

    ``ask``, if there is a peer server, says what is wanted and gives the download's share of the
    host's total limit; it raises ``HttpError`` or ``PeerServerRefused``, and then all that is
    wanted is taken.  An async context manager: entering it joins those who share, leaving it makes
    room for them.  ``clock`` is one that all processes of the host share.

    The dfgets of a host ask all at the same moments, every 3 s.  One that joins in between and
    cannot have all it wants waits until the next of them, when the others have given way: so they
    never take more than the total, and no less while they all have something to fetch.
    """

    def __init__(
        self,
        wanted_bytes_per_s: int,
        ask: Callable[[int], Awaitable[int]] | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wanted, self._clock = wanted_bytes_per_s, clock
        self._ask = ask if wanted_bytes_per_s else None
        self._bucket = bucket(wanted_bytes_per_s)

    @property
    def pace(self) -> Pace | None:
        """What keeps all transfers of the download together within the limit."""
        return pace_of(self._bucket)

    @property
    def rate_bytes_per_s(self) -> int:
        """The limit as it is now; 0: none."""
        return int(self._bucket.rate_bytes_per_s)

    async def __aenter__(self) -> Self:
        if self._ask is not None and await self._take_share(self._ask) < self._wanted:
            await self._next_round()
            await self._take_share(self._ask)
            # The others leave no room for a burst.
            self._bucket.take(BURST_BYTES, trio.current_time())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._ask is None:
            return
        with trio.move_on_after(_LEAVE_TIMEOUT_S, shield=True):
            try:
                await self._ask(0)
            except (HttpError, PeerServerRefused) as error:
                _log.info("the peer server still counts this download's share: %s", error)

    async def run(self) -> None:
        """Follow the share as others come and go, until cancelled."""
        if self._ask is None:
            return
        while True:
            await self._next_round()
            await self._take_share(self._ask)

    async def _take_share(self, ask: Callable[[int], Awaitable[int]]) -> int:
        try:
            share = min(max(1, await ask(self._wanted)), self._wanted)
        except (HttpError, PeerServerRefused) as error:
            _log.info("no share of the host's total limit, so all that is wanted: %s", error)
            share = self._wanted
        if share != self.rate_bytes_per_s:
            _log.info("limit of this download: %d bytes/s of %d wanted", share, self._wanted)
        self._bucket.set_rate(share, trio.current_time())
        return share

    async def _next_round(self) -> None:
        wait_s = ROUND_S - self._clock() % ROUND_S
        await trio.sleep(wait_s if wait_s > _LEAST_WAIT_S else wait_s + ROUND_S)
