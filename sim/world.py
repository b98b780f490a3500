"""Time, chance, and what is to happen when: the only room that knows simpy.

Nearly everything that happens in a swarm is a call at a known time, and there are millions of
them, so they wait on a private agenda behind one armed simpy timeout.  What reads as a story
(arrivals, faults, sampling) is a generator of pauses, and runs as a simpy process.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from math import inf
from random import Random
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import simpy

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

T = TypeVar("T")

Story: TypeAlias = "Iterator[float]"
"""Yields how many seconds to pause before it goes on."""


class World:
    """A simulated clock (seconds from 0) and every source of randomness of one run."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.now = 0.0
        self._env = simpy.Environment()
        self._over = self._env.event()
        self._agenda: list[tuple[float, int, Callable[[Any], object], Any]] = []
        self._numbers = count()
        self._armed = inf

    def rng(self, name: str) -> Random:
        """Return the stream of ``name``: an own one each, so that no consumer disturbs another."""
        return Random(f"{self.seed}/{name}")

    def at(self, when: float, do: Callable[[T], object], subject: T) -> None:
        """Call ``do(subject)`` at ``when``, at once if that is past; equals in order of asking."""
        heappush(self._agenda, (when, next(self._numbers), do, subject))
        if when < self._armed:
            self._arm(when)

    def after(self, delay: float, do: Callable[[T], object], subject: T) -> None:
        """Call ``do(subject)`` in ``delay`` seconds."""
        when = self.now + delay
        heappush(self._agenda, (when, next(self._numbers), do, subject))
        if when < self._armed:
            self._arm(when)

    def play(self, story: Story) -> None:
        """Run ``story`` beside everything else, from now on."""
        self._env.process(self._told(story))

    def run(self, until: float) -> bool:
        """Let time pass until ``stop`` or the time ``until``; tell whether it was stopped."""
        self.play(self._limit(until))
        self._env.run(self._over)
        return self._over.value is True

    def stop(self) -> None:
        """End ``run`` once what is due now is done."""
        if not self._over.triggered:
            self._over.succeed(True)

    def _limit(self, until: float) -> Story:
        yield until - self.now
        if not self._over.triggered:
            self._over.succeed(False)

    def _told(self, story: Story) -> Generator[simpy.Event, None, None]:
        for pause in story:
            yield self._env.timeout(pause)
            self.now = max(self.now, self._env.now)

    def _arm(self, when: float) -> None:
        self._armed = when
        timeout = self._env.timeout(max(0.0, when - self._env.now), when)
        timeout.callbacks.append(self._wake)  # pyright: ignore[reportUnknownMemberType]

    def _wake(self, alarm: simpy.Event) -> None:
        # simpy cannot cancel: an alarm that is no longer the armed one is ignored.
        if alarm.value != self._armed:
            return
        agenda = self._agenda
        self.now = now = max(self.now, self._armed)
        self._armed = -inf
        while agenda and agenda[0][0] <= now:
            _, _, do, subject = heappop(agenda)
            do(subject)
        self._armed = inf
        if agenda:
            self._arm(agenda[0][0])
