"""What a link carries, estimated from when pieces crossed it."""

from __future__ import annotations

from bisect import bisect_right
from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_WINDOW: Final = 4.0
"""Times of a usual piece."""
_LEAST_S: Final = 1e-6


class Crossing(NamedTuple):
    """Bytes on a link, and from when to when."""

    begin_s: float
    end_s: float
    size_bytes: int


def capacity_bytes_per_s(crossings: Sequence[Crossing]) -> float | None:
    """Return the most that crossed a link, on average over some pieces; ``None``: nothing did.

    Each piece counts as if it had come at an even rate, and time when nothing was on its way does
    not count.  A link that was held up elsewhere carries more than this tells.
    """
    if not any(one.size_bytes for one in crossings):
        return None
    flows = [(one, max(one.end_s - one.begin_s, _LEAST_S)) for one in crossings]
    times, sums = _progress(flows)
    window_s = min(_WINDOW * median(took_s for _, took_s in flows), times[-1])

    def until(when: float) -> float:
        """Return the bytes that had crossed by then."""
        after = bisect_right(times, when)
        if after == len(times):
            return sums[-1]
        if not after:
            return 0.0
        part = (when - times[after - 1]) / (times[after] - times[after - 1])
        return sums[after - 1] + part * (sums[after] - sums[after - 1])

    # The best window begins or ends where a piece does.
    best = max(
        max(until(when + window_s) - until(when), until(when) - until(when - window_s))
        for when in times
    )
    return best / window_s


def _progress(flows: Sequence[tuple[Crossing, float]]) -> tuple[list[float], list[float]]:
    """Return moments, on a clock that stands still while nothing crosses, and bytes until then."""
    changes: list[tuple[float, int, float]] = []
    for one, took_s in flows:
        rate = one.size_bytes / took_s
        changes += [(one.begin_s, 1, rate), (one.begin_s + took_s, -1, -rate)]
    changes.sort()
    times, sums = [0.0], [0.0]
    active, rate, before_s = 0, 0.0, changes[0][0]
    for when, step, change in changes:
        if active:
            times.append(times[-1] + when - before_s)
            sums.append(sums[-1] + rate * (when - before_s))
        active, rate, before_s = active + step, rate + change, when
    return times, sums
