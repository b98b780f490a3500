"""Named deadlines: which comes next, and which are due."""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from math import inf, isnan
from typing import Final, Generic, TypeVar

from .errors import LocalProtocolError

K = TypeVar("K", bound=Hashable)

_SLACK: Final = 16


class Timers(Generic[K]):
    """At most one deadline per name; ties go off in the order in which they were set.

    Times are seconds on the caller's clock.  Setting, cancelling and popping cost O(log n); the
    memory is that of the live deadlines, times a constant.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, K]] = []
        self._live: dict[K, tuple[float, int]] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._live)

    def __contains__(self, key: K) -> bool:
        return key in self._live

    def set(self, key: K, when: float) -> None:
        """Let ``key`` go off at ``when`` instead of whenever it was to; ``inf`` cancels it.

        Raises ``LocalProtocolError`` if ``when`` is not a number.
        """
        if isnan(when):
            raise LocalProtocolError(f"timer {key!r}: the deadline is not a number")
        if when == inf:
            self.cancel(key)
            return
        self._count += 1
        self._live[key] = when, self._count
        heappush(self._heap, (when, self._count, key))
        self._compact()

    def cancel(self, key: K) -> None:
        """Forget ``key``; one that is not set is no error."""
        self._live.pop(key, None)
        self._compact()

    def next(self) -> float:
        """Return the earliest deadline, ``inf`` if there is none."""
        heap = self._heap
        while heap and not self._is_live(heap[0]):
            heappop(heap)
        return heap[0][0] if heap else inf

    def pop_due(self, now: float) -> list[K]:
        """Forget and return the names whose deadline is at or before ``now``, earliest first."""
        due: list[K] = []
        while self._live and self.next() <= now:
            key = heappop(self._heap)[2]
            del self._live[key]
            due.append(key)
        return due

    def _is_live(self, entry: tuple[float, int, K]) -> bool:
        when, count, key = entry
        return self._live.get(key) == (when, count)

    def _compact(self) -> None:
        if len(self._heap) > 2 * len(self._live) + _SLACK:
            self._heap = [entry for entry in self._heap if self._is_live(entry)]
            heapify(self._heap)
