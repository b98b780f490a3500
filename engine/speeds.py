"""How fast members send and receive, seen from the times that pieces took, and what follows.

While a link carries ``n`` pieces each has an ``n``-th of it.  So the size of a piece over the sum
of its shares of the time, on the uplink it left, is what that uplink carries, and for the downlink
likewise.  A link that is known to carry no more than that is what held the piece up; the other
one is not blamed.  Estimates rise fast and fall slowly: a link may be idle, but it is never too
fast.
"""

from __future__ import annotations

from math import inf, log, log2
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .members import Flight, Member
    from .rules import Rules

STEPS: Final = 4
"""Steps of speed per factor of two: a link that is ``STEPS`` steps slower has half the rate."""
FASTEST, SLOWEST = -8, 16
"""Beyond these all are alike."""
MOST_UP_SLOTS: Final = 256
"""No uplink is given more."""
_HOPELESS: Final = 8
"""A quarter of what is usual: with one slot it sends a piece at half the speed of the others."""
_RISE, _FALL = 0.5, 0.25
_MOST_RISE: Final = 2.0
"""Whatever was seen, an estimate grows by no more at a time."""
_AT_FIRST: Final = 0.15
_SWAY: Final = 0.25
_DOUBTS: Final = 1.5
"""A difference counts if it is so many times what the estimate is in doubt by."""
_AT_CAPACITY: Final = 0.8
_FEW: Final = 4
_CERTAIN: Final = 2
_CLEARLY: Final = 1.25
_HARDLY: Final = 1.03
_MIXED, _ALIKE = 0.10, 0.05
_COARSE, _USUAL, _FINE = 1.5, 2.0, 2.5
"""So many times the upload slots where uplinks differ; more if there are more pieces."""
_SOME_PIECES, _MANY_PIECES = 100, 150
_MOST_HEADROOM: Final = 1.5
_MORE, _LESS = 1.1, 0.8
_DOWN_PER_UP: Final = 1.5
_LAPS: Final = 3.0
"""A piece that takes so many times what is usual is late."""


class Meter:
    """One direction of one member's link: what crosses it now, and what it was seen to carry."""

    __slots__ = (
        *("_shares_s", "_since", "active", "doubt", "headroom", "rate_bytes_per_s", "samples"),
    )

    def __init__(self) -> None:
        self.active = 0
        """Pieces that cross it now."""
        self.rate_bytes_per_s = 0.0
        """0: not seen yet."""
        self.doubt = _AT_FIRST
        """By how much what is seen differs from that, as the logarithm of a factor."""
        self.headroom = 1.0
        """It may carry so many times what was seen."""
        self.samples = 0
        self._shares_s = 0.0  # of the time, that a piece which was always there would have had
        self._since = 0.0

    def begin(self, now: float) -> float:
        """One more piece crosses; return the mark from which to measure it."""
        if self.active:
            self._shares_s += (now - self._since) / self.active
        self._since = now
        self.active += 1
        return self._shares_s

    def end(self, now: float) -> float:
        """One piece less; its shares of the time are what is returned, less its mark."""
        shares_s = self._shares_s = self._shares_s + (now - self._since) / self.active
        self._since = now
        self.active -= 1
        return shares_s

    def shares_s(self, mark: float, now: float) -> float:
        """Return a piece's shares of the time since ``begin`` or ``mark`` gave ``mark`` for it."""
        return self.mark(now) - mark

    def mark(self, now: float) -> float:
        """Return the mark from which to measure a piece that crosses."""
        return self._shares_s + (now - self._since) / self.active

    @property
    def is_known(self) -> bool:
        """Tell whether enough was seen: the first piece may have waited for the other end."""
        return self.samples >= _CERTAIN

    def learn(self, seen: float, fall: float = _FALL) -> None:
        """Take in what the link seemed to carry, in bytes per second.

        ``fall``: by what part of the difference it is taken to be slower than before; 0 if it was
        not what held the bytes up.
        """
        rate = self.rate_bytes_per_s
        self.samples += 1
        if not rate:
            self.rate_bytes_per_s = seen
        elif seen > rate or fall:
            self.doubt += _SWAY * (abs(log(seen / rate)) - self.doubt)
            share = _RISE if seen > rate else fall
            self.rate_bytes_per_s = rate + share * (min(seen, _MOST_RISE * rate) - rate)

    def differs(self, usual_bytes_per_s: float, factor: float = 1.0) -> bool:
        """Tell whether the link is slower or faster than usual, by ``factor`` and beyond doubt."""
        difference = abs(log(self.rate_bytes_per_s / usual_bytes_per_s))
        return difference > max(log(factor), _DOUBTS * self.doubt)

    def forget(self) -> None:
        """Learn anew."""
        self.rate_bytes_per_s, self.samples = 0.0, 0
        self.headroom, self.doubt = 1.0, _AT_FIRST


class Speeds:
    """What is usual among the members of one swarm, and how many slots a link deserves.

    Where uplinks differ (``is_mixed``) everybody has more slots: a finer grain evens out what
    rounding to whole slots leaves.  The fewer ``pieces`` there are, the dearer that is.
    """

    def __init__(self, up_slots: int, down_slots: int, rules: Rules) -> None:
        self._up_slots, self._least_down_slots, self._rules = up_slots, down_slots, rules
        self._samples, self._survey_at = 0, _FEW
        self.pieces = 0
        self.usual_bytes_per_s = 0.0
        """The median uplink; 0 until a few have been seen."""
        self.is_mixed = False
        self.down_slots = down_slots
        """Pieces that a member may download at once."""

    def learn(
        self, flight: Flight, parent: Member, size: float, sent_s: float, got_s: float
    ) -> bool:
        """Take in that ``size`` bytes of a run have come so far; tell if a ``survey`` is due.

        ``sent_s`` and ``got_s`` are its shares of the time on the links of both ends.  A link that
        is known to carry hardly more than it did is what held the run up.
        """
        if sent_s <= 0 or got_s <= 0:
            return self._samples >= self._survey_at
        up, down = parent.up, flight.child.down
        sent, got = size / sent_s, size / got_s
        sent_all = sent >= _AT_CAPACITY * up.rate_bytes_per_s > 0
        got_all = got >= _AT_CAPACITY * down.rate_bytes_per_s > 0
        up.learn(sent, 0.0 if got_all else _FALL)
        down.learn(got, 0.0 if sent_all else _FALL)
        if sent_all and self.is_mixed and self.is_fine and self._rules.headroom:
            # Where both were full, nobody knows which of them held it up.
            times = _MORE if got_all else _LESS
            up.headroom = min(max(1.0, up.headroom * times), _MOST_HEADROOM)
        if flight.is_late:
            up.samples += _CERTAIN
        self._samples += 1
        return self._samples >= self._survey_at

    def survey(self, members: Iterable[Member]) -> bool:
        """Look what is usual now, and whether members differ; false if hardly anything changed."""
        known = [member.up for member in members if member.up.samples >= _CERTAIN]
        rates = sorted([up.rate_bytes_per_s for up in known])
        self._survey_at = self._samples + max(_FEW, len(rates))
        if len(rates) < _FEW:
            return False
        before, was_mixed = self.usual_bytes_per_s, self.is_mixed
        usual = rates[len(rates) // 2]
        others = sum(up.differs(usual, _CLEARLY) for up in known)
        self.is_mixed = self._rules.grain and others > len(rates) * (
            _ALIKE if was_mixed else _MIXED
        )
        if self.is_mixed is was_mixed and before / _HARDLY < usual < before * _HARDLY:
            return False
        self.usual_bytes_per_s = usual
        return True

    def fit_down_slots(self, members: Iterable[Member], most: int) -> None:
        """Let members download as much at once as keeps the uplinks of mixed swarms busy."""
        self.down_slots = self._least_down_slots
        if self.is_mixed:
            slots = [member.up_slots * member.serves for member in members]
            wanted = int(_DOWN_PER_UP * sum(slots) / max(1, len(slots)))
            self.down_slots = min(max(most, self.down_slots), max(wanted, self.down_slots))

    def steps(self, member: Member) -> int:
        """Return by how many steps a member's uplink is slower than usual."""
        up, usual = member.up, self.usual_bytes_per_s
        if self.is_mixed:
            usual /= up.headroom
        if up.samples < _CERTAIN or not usual:
            return 0
        if not up.differs(usual):
            return 0
        exact = STEPS * log2(usual / up.rate_bytes_per_s)
        if -0.75 < exact - member.steps < 0.75:
            return member.steps
        return max(FASTEST, min(SLOWEST, round(exact)))

    def slots(self, steps: int) -> int:
        """Return how many pieces an uplink that is so much slower than usual sends at once."""
        usual: float = self._up_slots
        if self.is_mixed:
            is_coarse = self.pieces < _SOME_PIECES
            usual *= _FINE if self.is_fine else _COARSE if is_coarse else _USUAL
        return _slots(usual, steps)

    def is_hopeless(self, steps: int) -> bool:
        """Tell whether whoever takes from such an uplink waits longer than it is worth."""
        return self._rules.hopeless and steps >= _HOPELESS

    @property
    def is_fine(self) -> bool:
        """Tell whether the file has so many pieces that small differences can be evened out."""
        return self.pieces >= _MANY_PIECES

    def patience_s(self, size: int) -> float:
        """Return after how long a piece is late."""
        if not self.usual_bytes_per_s:
            return inf
        return _LAPS * size * self.slots(0) / self.usual_bytes_per_s


def most_up_slots(up_slots: int) -> int:
    """Return how many slots the fastest uplink has where a usual one has ``up_slots``."""
    return _slots(_FINE * up_slots, FASTEST)


def _slots(usual: float, steps: int) -> int:
    return min(max(1, round(usual * 2 ** (-steps / STEPS))), MOST_UP_SLOTS)
