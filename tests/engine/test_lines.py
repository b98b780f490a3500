"""Who is sent a piece at once, and who has to wait for how long."""

from __future__ import annotations

import random
from math import inf

import pytest

from damselfly.engine.ids import ExchangeId, PieceIndex
from damselfly.engine.lines import Lines
from damselfly.engine.uploads import ServePiece


def wanted(number: int) -> ServePiece:
    return ServePiece(ExchangeId(number), "T1", 0, 1023, PieceIndex(0), 1024, plain=False)


def sent(lines: Lines, now: float = 0.0) -> list[int]:
    begun = [int(one.exchange) for one in lines.due(now)]
    lines.check()
    assert lines.due(now) == []
    assert lines.deadline() > now
    return begun


def test_each_host_is_sent_so_many_at_a_time_and_the_others_in_order() -> None:
    lines = Lines(2, 3.0)
    for number in range(4):
        lines.join("a", wanted(number), 0.0)
    lines.join("b", wanted(9), 0.0)
    assert sent(lines) == [0, 1, 9]
    assert [lines.is_waiting(ExchangeId(number)) for number in (1, 2, 9)] == [False, True, False]
    lines.leave(ExchangeId(9))
    assert sent(lines) == []
    lines.leave(ExchangeId(1))
    assert sent(lines) == [2]
    lines.leave(ExchangeId(0))
    lines.leave(ExchangeId(2))
    assert sent(lines) == [3]
    assert lines.deadline() == inf


def test_nobody_waits_for_too_long() -> None:
    lines = Lines(1, 3.0)
    for number in range(3):
        lines.join("a", wanted(number), number / 2)
        assert sent(lines, number / 2) == ([0] if number == 0 else [])
    assert lines.deadline() == 3.5
    assert sent(lines, 3.4) == []
    assert sent(lines, 3.5) == [1]
    lines.leave(ExchangeId(0))
    assert sent(lines, 3.6) == [], "the one that was late is still being sent"
    assert sent(lines, 4.0) == [2]


def test_who_leaves_the_line_is_not_sent_anything() -> None:
    lines = Lines(1, 3.0)
    for number in range(3):
        lines.join("a", wanted(number), 0.0)
    assert sent(lines) == [0]
    lines.leave(ExchangeId(1))
    lines.leave(ExchangeId(1))
    lines.leave(ExchangeId(0))
    assert sent(lines) == [2]


@pytest.mark.parametrize("seed", range(20))
def test_everything_is_sent_once(seed: int) -> None:
    rng, lines = random.Random(seed), Lines(2, 3.0)
    now, asked, under_way, begun = 0.0, 0, list[int](), list[int]()
    gone = 0
    for _ in range(300):
        now += rng.choice([0.0, 0.2, 1.0])
        if rng.random() < 0.5:
            lines.join(rng.choice("abc"), wanted(asked), now)
            asked += 1
        elif under_way:
            lines.leave(ExchangeId(under_way.pop(rng.randrange(len(under_way)))))
        elif lines.is_waiting(ExchangeId(asked - 1)):
            lines.leave(ExchangeId(asked - 1))
            gone += 1
        new = sent(lines, now)
        begun += new
        under_way += new
    begun += sent(lines, now + 3.0)
    assert len(begun) == len({*begun}) == asked - gone
