"""The network as flows: access links and how concurrent transfers share them.

A flow crosses the uplink of its sender, the downlink of its receiver, and uplinks that racks or
sites share, if there are any; the core between them is never the bottleneck.  ``EqualShare`` gives
a flow the smaller of its equal shares at both ends and looks only at the two links that a start or
an end touches; ``TreeShare`` does so along the whole way.  ``MaxMin`` is the exact max-min fair
allocation, recomputed for all flows once per instant: slower, and the check on both.  There flows
may differ in weight, as those of TCP do that meet in a queue.

A flow may follow another, its upstream: it is of the same size and never has more through.  While
it lags it goes at its share; once it has caught up it goes no faster than its upstream.  What it
leaves of its share then is not given to others, in neither model: an approximation, as few follow.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from heapq import heapify, heappop, heappush
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from .world import World

T = TypeVar("T")

_NOTHING_BYTES: Final = 1.0
"""Who lags by less has caught up: no rounding of times and rates comes near it."""


class Link:
    """One direction of an access link or a shared uplink, and the flows that cross it now."""

    __slots__ = ("flows", "rate_bytes_per_s", "share_bytes_per_s")

    def __init__(self, rate_bytes_per_s: float) -> None:
        self.rate_bytes_per_s = rate_bytes_per_s
        self.share_bytes_per_s = rate_bytes_per_s
        self.flows: dict[Flow, None] = {}

    def join(self, flow: Flow) -> None:
        """Let ``flow`` cross."""
        self.flows[flow] = None
        self.share_bytes_per_s = self.rate_bytes_per_s / len(self.flows)

    def leave(self, flow: Flow) -> None:
        """``flow`` crosses no longer."""
        flows = self.flows
        del flows[flow]
        if flows:
            self.share_bytes_per_s = self.rate_bytes_per_s / len(flows)


class Flow:
    """Bytes under way; made by ``Network.start``.

    ``share`` is what the links give it, and ``rate`` what it takes of that: all, unless it follows
    its ``upstream``.  ``followers`` follow it.  ``due`` is when it is through, or catches up.
    """

    __slots__ = (
        *("alarm", "do", "down", "due", "followers", "is_coupled", "left", "rate", "share"),
        *("since", "size", "subject", "up", "upstream", "via", "weight"),
    )

    def __init__(
        self,
        up: Link,
        down: Link,
        size: int,
        do: Callable[[Any], object],
        subject: object,
        via: tuple[Link, ...] = (),
    ) -> None:
        self.up, self.down, self.via, self.size = up, down, via, size
        self.do, self.subject = do, subject
        self.weight = 1.0
        self.left = float(size)
        self.rate = self.share = 0.0
        self.since = 0.0
        self.due = inf
        self.alarm = inf
        self.upstream: Flow | None = None
        self.followers: dict[Flow, None] = {}
        self.is_coupled = False
        """Whether it ever followed, or was followed."""


class Network(ABC):
    """Moves flows over links; what differs is how a link is shared."""

    def __init__(self, world: World) -> None:
        self._world = world

    def start(
        self,
        up: Link,
        down: Link,
        size: int,
        do: Callable[[T], object],
        subject: T,
        via: tuple[Link, ...] = (),
        upstream: Flow | None = None,
    ) -> Flow:
        """Send ``size`` bytes from ``up`` to ``down``, then call ``do(subject)``.

        ``via``: shared links between them.  ``upstream``, of the same size, brings the bytes to
        where they are sent on.
        """
        flow = Flow(up, down, size, do, subject, via)
        flow.weight = self._weight()
        flow.since = self._world.now
        if upstream is not None:
            flow.upstream = upstream
            flow.is_coupled = upstream.is_coupled = True
            upstream.followers[flow] = None
        self._cross(flow)
        return flow

    def review(self, flow: Flow, may_move: bool) -> bool:
        """Hold ``flow``, so that it takes no share, or let it go on; tell whether it stands still.

        It also stands still on a link that carries nothing.  Of its upstream nothing is said.
        """
        is_held = flow not in flow.up.flows
        if may_move and is_held:
            self._cross(flow)
        elif not may_move and not is_held:
            self._give(flow, 0.0)
            self._leave(flow)
        return not (may_move and flow.up.rate_bytes_per_s and flow.down.rate_bytes_per_s)

    def set_rate(self, link: Link, rate_bytes_per_s: float) -> None:
        """Change what ``link`` carries from now on; 0 stops all flows on it."""
        link.rate_bytes_per_s = rate_bytes_per_s
        link.share_bytes_per_s = rate_bytes_per_s / max(1, len(link.flows))
        self._changed(link, link, ())

    def moved(self, flow: Flow) -> float:
        """Return the bytes of ``flow`` that have come through so far."""
        return flow.size - flow.left + flow.rate * (self._world.now - flow.since)

    def detach(self, flow: Flow) -> None:
        """All bytes of ``flow`` are there: it follows no longer."""
        if flow.upstream is not None:
            del flow.upstream.followers[flow]
            flow.upstream = None
            self._pace(flow)

    def cancel(self, flow: Flow) -> int:
        """Stop ``flow`` for good, without a call; return the bytes that had come through.

        Its followers are detached: they have to be cancelled, too, or go on.
        """
        self._remove(flow)
        return min(flow.size, max(0, round(self.moved(flow))))

    def _weight(self) -> float:
        return 1.0

    @abstractmethod
    def _changed(self, up: Link, down: Link, via: tuple[Link, ...]) -> None:
        """Flows joined or left these links: find the rates that follow."""

    def _give(self, flow: Flow, share: float) -> None:
        flow.share = share
        if flow.is_coupled:
            self._pace(flow)
        else:
            self._set_rate(flow, share)

    def _pace(self, flow: Flow) -> None:
        """Find the rate of a flow that follows or is followed, and of all that depend on it."""
        rate, rate_before, due = flow.share, flow.rate, None
        if (upstream := flow.upstream) is not None:
            # It will not be through before its upstream is, and that detaches it.
            due = inf
            lag = self.moved(upstream) - self.moved(flow)
            if lag < _NOTHING_BYTES:
                rate = min(rate, upstream.rate)
            elif rate > upstream.rate:
                due = self._world.now + lag / (rate - upstream.rate)
        self._set_rate(flow, rate, due)
        if rate != rate_before:
            for follower in flow.followers:
                self._pace(follower)

    def _set_rate(self, flow: Flow, rate: float, due: float | None = None) -> None:
        now = self._world.now
        flow.left -= flow.rate * (now - flow.since)
        flow.since = now
        flow.rate = rate
        if due is None:
            due = inf if not rate else now + flow.left / rate if flow.left > 0 else now
        flow.due = due
        # An alarm that comes too early is put off when it rings: cheaper than a new one each time.
        if due < flow.alarm:
            flow.alarm = due
            self._world.at(due, self._ring, flow)

    def _ring(self, flow: Flow) -> None:
        now = self._world.now
        if flow.due <= now:
            if flow.upstream is not None:
                flow.alarm = inf
                self._pace(flow)
                return
            self._remove(flow)
            flow.do(flow.subject)
        elif flow.alarm <= now:
            flow.alarm = flow.due
            if flow.due < inf:
                self._world.at(flow.due, self._ring, flow)

    def _remove(self, flow: Flow) -> None:
        # No alarm that still waits may find it due.
        flow.due = flow.alarm = inf
        if flow.is_coupled:
            if flow.upstream is not None:
                del flow.upstream.followers[flow]
                flow.upstream = None
            for follower in list(flow.followers):
                self.detach(follower)
        self._leave(flow)

    def _cross(self, flow: Flow) -> None:
        flow.up.join(flow)
        flow.down.join(flow)
        for link in flow.via:
            link.join(flow)
        self._changed(flow.up, flow.down, flow.via)

    def _leave(self, flow: Flow) -> None:
        if flow not in flow.up.flows:
            return
        flow.up.leave(flow)
        flow.down.leave(flow)
        for link in flow.via:
            link.leave(flow)
        self._changed(flow.up, flow.down, flow.via)


class EqualShare(Network):
    """``rate = min(up / flows on it, down / flows on it)``; may leave capacity unused.

    Looks at no shared link.
    """

    def _changed(self, up: Link, down: Link, via: tuple[Link, ...]) -> None:
        for link in (up, down):
            for flow in link.flows:
                rate = flow.up.share_bytes_per_s
                if flow.down.share_bytes_per_s < rate:
                    rate = flow.down.share_bytes_per_s
                if rate != flow.share:
                    self._give(flow, rate)


class TreeShare(Network):
    """As ``EqualShare``, with the shared links on the way."""

    def _changed(self, up: Link, down: Link, via: tuple[Link, ...]) -> None:
        for link in (up, down, *via):
            for flow in link.flows:
                rate = min(flow.up.share_bytes_per_s, flow.down.share_bytes_per_s)
                for shared in flow.via:
                    if shared.share_bytes_per_s < rate:
                        rate = shared.share_bytes_per_s
                if rate != flow.share:
                    self._give(flow, rate)


class MaxMin(Network):
    """The exact max-min fair allocation by progressive filling.

    With ``unfairness`` each flow has a weight, lognormal with this sigma: on a link that is its
    bottleneck it gets so many times what a flow of weight 1 gets.
    """

    def __init__(self, world: World, unfairness: float = 0.0) -> None:
        super().__init__(world)
        self._links: dict[Link, None] = {}
        self._stale = False
        self._unfairness, self._rng = unfairness, world.rng("unfairness")

    def _weight(self) -> float:
        return self._rng.lognormvariate(0.0, self._unfairness) if self._unfairness else 1.0

    def _changed(self, up: Link, down: Link, via: tuple[Link, ...]) -> None:
        for link in (up, down, *via):
            if link.flows:
                self._links[link] = None
            else:
                self._links.pop(link, None)
        if not self._stale:
            self._stale = True
            self._world.at(self._world.now, MaxMin._settle, self)

    def _settle(self) -> None:
        self._stale = False
        for flow, rate in max_min_rates(list(self._links)).items():
            if rate != flow.share:
                self._give(flow, rate)


def max_min_rates(links: list[Link]) -> dict[Flow, float]:
    """Return the max-min fair rate of every flow on ``links``, which are all links in use.

    Progressive filling: the link with the smallest share left for a weight of 1 fixes its flows
    at that share times their weights.
    """
    rates: dict[Flow, float] = {}
    room = {link: link.rate_bytes_per_s for link in links}
    unfixed = {link: len(link.flows) for link in links}
    weights = {link: sum([flow.weight for flow in link.flows]) for link in links}
    queue = [(room[link] / weights[link], number, link) for number, link in enumerate(links)]
    heapify(queue)
    while queue:
        share, number, link = heappop(queue)
        if not unfixed[link]:
            continue
        now_share = room[link] / weights[link]
        if now_share > share:
            heappush(queue, (now_share, number, link))
            continue
        share = min(share, now_share)
        for flow in link.flows:
            if flow not in rates:
                rates[flow] = rate = share * flow.weight
                for end in (flow.up, flow.down, *flow.via):
                    room[end] = max(0.0, room[end] - rate)
                    unfixed[end] -= 1
                    weights[end] -= flow.weight
    return rates
