"""A byte budget that refills with time."""

from __future__ import annotations

from math import inf

from .errors import ConfigError, LocalProtocolError


class TokenBucket:
    """Limits a stream of bytes to ``rate_bytes_per_s``, after a first ``burst_bytes``.

    Callers reserve: ``take`` always grants, lets the budget go below zero, and says how long to
    wait before sending, so that those who ask first go first and nobody starves.  A rate of 0 or
    ``None`` sets no limit.  A ``now`` older than the latest one counts as the latest.
    Raises ``ConfigError`` for a rate or burst that cannot be.
    """

    def __init__(self, rate_bytes_per_s: float | None, burst_bytes: int) -> None:
        if burst_bytes < 0:
            raise ConfigError(f"burst of {burst_bytes} bytes: expected 0 or more")
        self._burst = burst_bytes
        self._rate = _checked_rate(rate_bytes_per_s)
        self._budget = float(burst_bytes)
        self._now = -inf

    @property
    def rate_bytes_per_s(self) -> float:
        """The limit; 0 is none."""
        return self._rate

    def set_rate(self, rate_bytes_per_s: float | None, now: float) -> None:
        """Change the limit; what was granted before still counts."""
        self._refill(now)
        self._rate = _checked_rate(rate_bytes_per_s)

    def take(self, n: int, now: float) -> float:
        """Reserve ``n`` bytes and return the seconds to wait before sending them.

        Raises ``LocalProtocolError`` for a negative ``n``.
        """
        if n < 0:
            raise LocalProtocolError(f"{n} bytes asked of a rate limit: expected 0 or more")
        self._refill(now)
        if not self._rate:
            return 0.0
        self._budget -= n
        return max(0.0, -self._budget / self._rate)

    def _refill(self, now: float) -> None:
        if now <= self._now:
            return
        since, self._now = now - self._now, now
        earned = since * self._rate if self._rate else inf
        self._budget = min(float(self._burst), self._budget + earned)


def _checked_rate(rate_bytes_per_s: float | None) -> float:
    rate = float(rate_bytes_per_s or 0)
    if not 0 <= rate < inf:
        raise ConfigError(f"rate of {rate_bytes_per_s} bytes/s: expected a number, 0 for no limit")
    return rate
