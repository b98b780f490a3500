"""Streams of bytes held to a rate: each waits its turn before it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from ..engine.errors import ConfigError
from ..engine.ratelimit import TokenBucket
from ..engine.records import dataclass

if TYPE_CHECKING:
    from .http.messages import Pace

BURST_BYTES: Final = 256 << 10


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """What a supernode takes of its network, in bytes per second; 0: no limit.

    ``link``: one read of an origin.  ``total`` less ``reserved``: all reads of origins together,
    and, counted apart, all uploads.
    """

    link_bytes_per_s: int = 0
    total_bytes_per_s: int = 0
    reserved_bytes_per_s: int = 0

    def __post_init__(self) -> None:
        for name in ("link_bytes_per_s", "total_bytes_per_s", "reserved_bytes_per_s"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}: expected 0 or more")
        if 0 < self.total_bytes_per_s <= self.reserved_bytes_per_s:
            raise ConfigError(
                f"of {self.total_bytes_per_s} bytes/s, {self.reserved_bytes_per_s} are reserved:"
                " nothing is left; reserve less"
            )

    @property
    def usable_bytes_per_s(self) -> int:
        """What is left in each direction; 0: no limit."""
        return max(0, self.total_bytes_per_s - self.reserved_bytes_per_s)


def bucket(rate_bytes_per_s: int) -> TokenBucket:
    """Return a limit that streams can share; 0: none."""
    return TokenBucket(rate_bytes_per_s, BURST_BYTES)


def pace_of(*limits: TokenBucket) -> Pace | None:
    """Return what keeps one stream within all of ``limits``, or nothing if there are none."""
    real = [limit for limit in limits if limit.rate_bytes_per_s]
    if not real:
        return None

    async def pace(count: int) -> None:
        now = trio.current_time()
        wait_s = max([limit.take(count, now) for limit in real])
        if wait_s > 0:
            await trio.sleep(wait_s)

    return pace
