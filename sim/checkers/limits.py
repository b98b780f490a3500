"""Slots and rates: nobody does more at once, or moves more, than it can."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from ...engine.events import Started
from ...engine.ids import PeerId, is_cdn
from .checker import Checker, Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ...engine.ids import PieceIndex
    from ..scenario import Scenario
    from .checker import Call
    from .fetches import Fetch, Fetches

    Beliefs = Callable[[], Iterable[Iterable[tuple[str, PieceIndex, str]]]]
    """What each supernode takes to be under way, as (child, piece, parent)."""

_ROUNDING = 1e-6


class Slots(Checker):
    """No living node uploads or downloads more pieces at once than it has slots.

    A parent may have more to do than a supernode knows of, if a child was given up for lost or
    belongs to another supernode: beyond the slots, only fetches that one of them believes in count.
    """

    def __init__(self, scenario: Scenario, fetches: Fetches, beliefs: Beliefs) -> None:
        most = scenario.most_slots
        self._up, self._down, self._cdn_up = most.up, most.down, most.cdn_up
        self._fetches, self._beliefs = fetches, beliefs
        self._dead: dict[str, None] = {}

    def see(self, call: Call) -> None:
        """Count whenever a fetch begins."""
        if isinstance(call.event, Started):
            self._dead.pop(call.node, None)
        for fetch in self._fetches.began:
            self._check(fetch)

    def crashed(self, node: str) -> None:
        """Mind no longer who still counts on a dead node."""
        self._dead[node] = None

    def _check(self, fetch: Fetch) -> None:
        downloads = len(self._fetches.to(fetch.child))
        if downloads > self._down:
            raise Violation(f"fetches {downloads} pieces at once with {self._down} slots")
        parent = fetch.parent
        limit = self._cdn_up if is_cdn(PeerId(parent)) else self._up
        uploads = self._fetches.of(parent)
        if len(uploads) <= limit or parent in self._dead:
            return
        for beliefs in self._beliefs():
            believed = {belief for belief in beliefs if belief[2] == parent}
            count = sum((one.child, one.piece, one.parent) in believed for one in uploads)
            if count > limit:
                raise Violation(f"{parent} uploads {count} at once with {limit} slots")


class Rates(Checker):
    """No link carries more than its rate allows.

    As long as anything is under way on a link, what has come over it since the first of these
    fetches began must fit into the time since then.  ``rates`` gives up and down for each address.
    """

    def __init__(
        self, scenario: Scenario, fetches: Fetches, rates: Mapping[str, tuple[float, float]]
    ) -> None:
        self._fetches, self._rates = fetches, rates
        self._boosts = (
            prod(max(1.0, slow.up) for slow in scenario.slowdowns),
            prod(max(1.0, slow.down) for slow in scenario.slowdowns),
        )
        self._busy: dict[tuple[str, bool], _Busy] = {}

    def see(self, call: Call) -> None:
        """Follow what begins and what comes."""
        for fetch, size in self._fetches.ended_now:
            for link in _links(fetch):
                self._end(link, size, call.now)
        for fetch in self._fetches.began:
            for link in _links(fetch):
                self._busy.setdefault(link, _Busy(call.now)).fetches += 1

    def crashed(self, node: str) -> None:
        """Its fetches end without a word."""
        for fetch, _ in self._fetches.ended_now:
            for link in _links(fetch):
                self._end(link, 0, 0.0)

    def _end(self, link: tuple[str, bool], size: int, now: float) -> None:
        busy = self._busy[link]
        busy.fetches -= 1
        if size and link[0] in self._rates:
            busy.size += size
            rate = self._rates[link[0]][link[1]] * self._boosts[link[1]]
            if busy.size > rate * (now - busy.since) * (1 + _ROUNDING) + 1:
                way = "received" if link[1] else "sent"
                took_s = now - busy.since
                raise Violation(
                    f"{link[0]} {way} {busy.size} bytes in {took_s:.6f} s at {rate:.0f} bytes/s"
                )
        if not busy.fetches:
            del self._busy[link]


class _Busy:
    __slots__ = ("fetches", "since", "size")

    def __init__(self, since: float) -> None:
        self.since, self.fetches, self.size = since, 0, 0


def _links(fetch: Fetch) -> tuple[tuple[str, bool], tuple[str, bool]]:
    """Return the uplink and the downlink that a fetch crosses, as address and direction."""
    return (fetch.parent_ip, False), (fetch.child_ip, True)
