"""Downloads that share one limit: who gives way, who gets more, and that it is never too much."""

from __future__ import annotations

import random
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf
from typing import Final

import pytest

from damselfly.engine.ids import ExchangeId
from damselfly.engine.shares import HOLD_S, Shares

TOTAL: Final = 12_000


def exchange(number: int) -> ExchangeId:
    return ExchangeId(number)


def shares_of(total: int = TOTAL) -> Shares:
    shares = Shares()
    shares.total_bytes_per_s = total
    return shares


def settled(shares: Shares, now: float = 0.0) -> dict[int, int]:
    answers = shares.settle(now)
    shares.check()
    assert shares.settle(now) == []
    assert shares.deadline() > now
    return {int(asked): share for asked, share in answers}


def test_one_alone_gets_what_it_wants_at_once() -> None:
    shares = shares_of()
    shares.ask("a", exchange(1), 12_000, 0, 0.0)
    assert settled(shares) == {1: 12_000}


def test_a_second_one_gets_its_half_when_the_first_has_given_way() -> None:
    shares = shares_of()
    shares.ask("a", exchange(1), 12_000, 12_000, 0.0)
    shares.ask("b", exchange(2), 12_000, 0, 0.0)
    assert settled(shares) == {1: 6_000}, "told, but it may not know yet"
    shares.ask("a", exchange(3), 12_000, 6_000, 0.0)
    assert settled(shares) == {2: 6_000}


def test_a_third_one_gets_a_part_as_soon_as_there_is_one() -> None:
    shares = shares_of()
    for number, name in enumerate("ab", 1):
        shares.ask(name, exchange(number), 12_000, 6_000, 0.0)
    shares.ask("c", exchange(3), 12_000, 0, 0.0)
    assert settled(shares) == {1: 4_000, 2: 4_000}
    shares.ask("b", exchange(4), 12_000, 4_000, 0.0)
    assert settled(shares) == {3: 2_000}
    shares.ask("a", exchange(5), 12_000, 4_000, 0.0)
    assert settled(shares) == {}
    shares.ask("c", exchange(6), 12_000, 2_000, 0.0)
    assert settled(shares) == {6: 4_000}


def test_small_wishes_are_met_where_there_is_room() -> None:
    shares = shares_of()
    shares.ask("a", exchange(1), 6_000, 6_000, 0.0)
    shares.ask("b", exchange(2), 1_500, 0, 0.0)
    assert settled(shares) == {2: 1_500}


def test_shares_are_in_proportion_to_wishes() -> None:
    shares = shares_of()
    shares.ask("a", exchange(1), 12_000, 12_000, 0.0)
    shares.ask("b", exchange(2), 4_000, 4_000, 0.0)
    assert settled(shares) == {1: 9_000, 2: 3_000}


@pytest.mark.parametrize("how", ["leaves", "hangs up"])
def test_what_one_leaves_the_others_get_at_once(how: str) -> None:
    shares = shares_of()
    for number, name in enumerate("abc", 1):
        shares.ask(name, exchange(number), 12_000, 4_000, 0.0)
    if how == "leaves":
        assert shares.leave("b") == exchange(2)
    else:
        shares.drop(exchange(2))
    assert settled(shares) == {1: 6_000, 3: 6_000}


def test_the_share_of_one_that_was_answered_and_is_silent_lapses() -> None:
    shares = shares_of()
    shares.ask("a", exchange(1), 12_000, 12_000, 0.0)
    shares.ask("b", exchange(2), 12_000, 0, 0.0)
    assert settled(shares) == {1: 6_000}
    due = shares.deadline()
    assert settled(shares, due - 0.01) == {}
    assert settled(shares, due) == {2: 12_000}
    shares.ask("a", exchange(3), 12_000, 6_000, due)
    assert settled(shares, due) == {}, "it takes what it was told, and the other must give way"
    shares.ask("b", exchange(4), 12_000, 12_000, due)
    assert settled(shares, due) == {4: 6_000}


def test_a_question_is_answered_in_time_though_nothing_has_changed() -> None:
    shares = shares_of()
    shares.ask("a", exchange(1), 12_000, 12_000, 5.0)
    assert settled(shares, 5.0) == {}
    assert shares.deadline() == 5.0 + HOLD_S
    assert settled(shares, 5.0 + HOLD_S) == {1: 12_000}


def test_another_total_is_told_at_once() -> None:
    shares = shares_of()
    shares.ask("a", exchange(1), 20_000, 12_000, 0.0)
    assert settled(shares) == {}
    shares.total_bytes_per_s = 3_000
    assert settled(shares) == {1: 3_000}
    shares.ask("a", exchange(2), 20_000, 3_000, 0.0)
    shares.total_bytes_per_s = 0
    assert settled(shares) == {2: 20_000}


def test_room_is_kept_for_what_v1_programs_were_told() -> None:
    shares = shares_of()
    assert shares.poll("v1", 12_000, 0.0) == 12_000
    shares.ask("a", exchange(1), 12_000, 0, 0.0)
    assert settled(shares) == {}, "it will hear with its next question"
    assert shares.leave("v1") is None
    assert shares.poll("v1", 12_000, 1.0) == 6_000
    assert settled(shares, 1.0) == {1: 6_000}
    assert shares.deadline() < inf


def test_a_share_is_at_least_a_byte() -> None:
    shares = shares_of(2)
    for number, name in enumerate("abc", 1):
        shares.ask(name, exchange(number), 1_000, 0, 0.0)
    assert settled(shares) == {1: 1, 2: 1}
    shares.drop(exchange(1))
    shares.leave("a")
    assert settled(shares) == {3: 1}


@dataclass(slots=True)
class Taker:
    """A download on the far side of a network that takes its time."""

    wants: int
    takes: int = 0
    is_here: bool = False


class Storm:
    """Takers come, hang up and die without a word; every message takes up to a second."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.shares = shares_of()
        self.now = 0.0
        self.takers = {str(n): Taker(self.rng.choice([3_000, TOTAL])) for n in range(6)}
        self._asked: dict[ExchangeId, str] = {}
        self._post: list[tuple[float, int, str, int]] = []
        self._count = 0

    def begin(self, name: str) -> None:
        self.takers[name].is_here = True
        self._put(name, -1)

    def end(self, name: str) -> None:
        taker = self.takers[name]
        taker.is_here, taker.takes = False, 0
        held = [asked for asked, whose in self._asked.items() if whose == name]
        for asked in held:
            self.shares.drop(asked)
            del self._asked[asked]
        self._post = [entry for entry in self._post if entry[2] != name]
        self._settle()

    def until(self, end_s: float) -> None:
        while (due := min(self._post[0][0] if self._post else inf, self.shares.deadline())) < end_s:
            self.now = due
            if self._post and self._post[0][0] <= due:
                _, _, name, share = heappop(self._post)
                self._arrived(name, share)
            self._settle()
        self.now = end_s

    def taken(self) -> int:
        return sum(taker.takes for taker in self.takers.values())

    def _put(self, name: str, share: int) -> None:
        self._count += 1
        heappush(self._post, (self.now + self.rng.uniform(0.0, 1.0), self._count, name, share))

    def _arrived(self, name: str, share: int) -> None:
        """A share has come to its taker, or (-1) the taker's question to the server."""
        taker = self.takers[name]
        if share >= 0:
            taker.takes = share
            self._put(name, -1)
            return
        self._count += 1
        self._asked[exchange(self._count)] = name
        self.shares.ask(name, exchange(self._count), taker.wants, taker.takes, self.now)

    def _settle(self) -> None:
        for asked, share in self.shares.settle(self.now):
            self._put(self._asked.pop(asked), share)
        self.shares.check()
        assert self.taken() <= TOTAL


@pytest.mark.parametrize("seed", range(40))
def test_it_is_never_too_much_and_in_the_end_all_of_it(seed: int) -> None:
    storm = Storm(seed)
    for _ in range(30):
        name = storm.rng.choice([*storm.takers])
        if storm.takers[name].is_here:
            storm.end(name)
        else:
            storm.begin(name)
        storm.until(storm.now + storm.rng.uniform(0.0, 4.0))
    storm.until(storm.now + 20.0)
    here = [taker for taker in storm.takers.values() if taker.is_here]
    wanted = sum(taker.wants for taker in here)
    expected = [min(t.wants, t.wants * TOTAL // max(1, wanted)) for t in here]
    assert [taker.takes for taker in here] == expected
