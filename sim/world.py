"""Time, chance, and what is to happen when: the only room that knows simpy.

Nearly everything that happens in a swarm is a call at a known time, and there are millions of
them, so they wait on a private agenda behind one armed simpy timeout; when that fires, all calls
are made up to the next thing that simpy itself has to do.  In a swarm of equals many calls share
a moment, so the agenda is a list of calls for each moment and a heap of the moments.  What reads
as a story (arrivals, faults, sampling) is a generator of pauses, and runs as a simpy process.
"""

from __future__ import annotations

from heapq import heappop, heappush
from math import inf
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar

import simpy

from ..engine.errors import DamselflyError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

T = TypeVar("T")

Story: TypeAlias = "Iterator[float]"
"""Yields how many seconds to pause before it goes on."""


class Runaway(DamselflyError):
    """More has been asked for than one run may; the message says when that was."""


class World:
    """A simulated clock (seconds from 0) and every source of randomness of one run.

    After ``most_calls`` calls ``run`` raises ``Runaway``, so that even what is stuck in an instant
    ends.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.now = 0.0
        self.most_calls = inf
        self._env = simpy.Environment()
        self._over = self._env.event()
        self._agenda: dict[float, list[tuple[Callable[[Any], object], Any]]] = {}
        self._moments: list[float] = []
        self._count = 0
        self._armed = inf
        self._ahead = inf
        """How far the agenda may run ahead of simpy's clock."""

    def rng(self, name: str) -> Random:
        """Return the stream of ``name``: an own one each, so that no consumer disturbs another."""
        return Random(f"{self.seed}/{name}")

    def at(self, when: float, do: Callable[[T], object], subject: T) -> None:
        """Call ``do(subject)`` at ``when``, at once if that is past; equals in order of asking."""
        if (calls := self._agenda.get(when)) is not None:
            calls.append((do, subject))
            return
        self._agenda[when] = [(do, subject)]
        heappush(self._moments, when)
        if when < self._armed:
            self._arm(when)

    def after(self, delay: float, do: Callable[[T], object], subject: T) -> None:
        """Call ``do(subject)`` in ``delay`` seconds."""
        when = self.now + delay
        if (calls := self._agenda.get(when)) is not None:
            calls.append((do, subject))
            return
        self._agenda[when] = [(do, subject)]
        heappush(self._moments, when)
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
            self._ahead = -inf

    def _limit(self, until: float) -> Story:
        yield until - self.now
        if not self._over.triggered:
            self._over.succeed(False)

    def _told(self, story: Story) -> Generator[simpy.Event, None, None]:
        for pause in story:
            yield self._env.timeout(pause + (self.now - self._env.now))
            self.now = max(self.now, self._env.now)
            self._count += 1
            if self._count > self.most_calls:
                self._run_away()

    def _run_away(self) -> NoReturn:
        raise Runaway(f"more than {self.most_calls} calls, at {self.now!r} s")

    def _arm(self, when: float) -> None:
        self._armed = when
        timeout = self._env.timeout(max(0.0, when - self._env.now), when)
        timeout.callbacks.append(self._wake)  # pyright: ignore[reportUnknownMemberType]

    def _wake(self, alarm: simpy.Event) -> None:
        # simpy cannot cancel: an alarm that is no longer the armed one is ignored.
        if alarm.value != self._armed:
            return
        agenda, moments = self._agenda, self._moments
        self.now = max(self.now, self._armed)
        self._armed = -inf
        self._ahead = self._env.peek()
        while moments:
            due = moments[0]
            if due > self.now:
                if due >= self._ahead:
                    break
                self.now = due
            # What these ask for at this very moment comes behind them, in a list of its own.
            calls = agenda.pop(heappop(moments))
            self._count += len(calls)
            if self._count > self.most_calls:
                self._run_away()
            for do, subject in calls:
                do(subject)
        self._armed = inf
        if moments:
            self._arm(moments[0])
