"""What links were seen to carry: pieces of 100 bytes and whole seconds."""

from __future__ import annotations

import pytest

from damselfly.engine.ids import PeerId, PieceIndex
from damselfly.engine.members import Flight, Member
from damselfly.engine.messages import PieceOffer
from damselfly.engine.piece import DigestForm
from damselfly.engine.rules import Rules
from damselfly.engine.speeds import Meter, Speeds, most_up_slots

OFFER = PieceOffer(PieceIndex(0), PeerId("p"), "p", 1, "/", 105)


def member(name: str = "m") -> Member:
    return Member(-1, PeerId(name), name, 1, "/", "sn", DigestForm.SHA256, 0.0)


def seen(rate: float, *, times: int = 2) -> Member:
    """Return a member whose uplink was seen to carry ``rate``."""
    made = member()
    for _ in range(times):
        made.up.learn(rate)
    made.serves = True
    return made


def speeds(*, grain: bool = True, hopeless: bool = True) -> Speeds:
    return Speeds(2, 2, Rules(grain=grain, hopeless=hopeless))


def fly(parent: Member, child: Member, now: float) -> Flight:
    marks = parent.up.begin(now), child.down.begin(now)
    return Flight(child, parent, parent.peer, *marks, looked_at=now, quiet_until=now)


def land(of: Speeds, flight: Flight, now: float) -> None:
    assert flight.parent is not None
    sent_s = flight.parent.up.end(now) - flight.up_mark
    got_s = flight.child.down.end(now) - flight.down_mark
    of.learn(flight, flight.parent, 100, sent_s, got_s)


def test_alone_on_its_uplink_a_piece_has_all_of_it() -> None:
    parent = member("p")
    land(speeds(), fly(parent, member("c"), 0.0), 10.0)
    assert parent.up.rate_bytes_per_s == 10.0


def test_two_pieces_at_once_had_half_of_it_each() -> None:
    of, parent = speeds(), member("p")
    first, second = fly(parent, member("c"), 0.0), fly(parent, member("d"), 0.0)
    land(of, first, 10.0)
    land(of, second, 10.0)
    assert parent.up.rate_bytes_per_s == 20.0


def test_a_piece_that_was_alone_for_a_while_had_more() -> None:
    of, parent = speeds(), member("p")
    first = fly(parent, member("c"), 0.0)
    second = fly(parent, member("d"), 5.0)
    land(of, first, 10.0)
    assert parent.up.rate_bytes_per_s == pytest.approx(100 / (5 + 5 / 2))
    land(of, second, 12.5)
    assert parent.up.rate_bytes_per_s == pytest.approx(100 / 7.5, rel=0.3)


def test_one_run_that_is_late_says_enough_of_its_parent() -> None:
    of, parent = speeds(), member("p")
    flight = fly(parent, member("c"), 0.0)
    flight.is_late = True
    land(of, flight, 10.0)
    of.survey([seen(100.0) for _ in range(4)])
    assert of.is_hopeless(of.steps(parent))


def test_a_slow_child_is_not_its_parents_fault() -> None:
    of, fast, slow, parent = speeds(), member("f"), member("s"), member("p")
    land(of, fly(parent, fast, 0.0), 1.0)
    land(of, fly(member("x"), slow, 1.0), 11.0)
    for start in (11.0, 21.0, 31.0):
        land(of, fly(parent, slow, start), start + 10.0)
    assert parent.up.rate_bytes_per_s == 100.0
    assert slow.down.rate_bytes_per_s == 10.0


def test_a_slow_parent_is_not_its_childs_fault() -> None:
    of, fast, slow, child = speeds(), member("f"), member("s"), member("c")
    land(of, fly(fast, child, 0.0), 1.0)
    for start in (1.0, 11.0, 21.0, 31.0):
        land(of, fly(slow, child, start), start + 10.0)
    assert slow.up.rate_bytes_per_s == 10.0
    assert child.down.rate_bytes_per_s > 75.0  # once the parent was as unknown


def test_estimates_rise_fast_and_fall_slowly() -> None:
    meter = Meter()
    meter.learn(100.0)
    meter.learn(200.0, 0.0)
    assert meter.rate_bytes_per_s == 150.0
    meter.learn(50.0)
    assert meter.rate_bytes_per_s == 125.0
    meter.forget()
    assert (meter.rate_bytes_per_s, meter.samples) == (0.0, 0)


def test_nothing_is_said_of_an_uplink_before_it_sent_a_few() -> None:
    of = speeds()
    assert not of.survey([seen(1.0), seen(1.0), seen(1.0)])
    assert of.survey([seen(rate) for rate in (99.0, 100.0, 101.0, 100.0)])
    assert of.usual_bytes_per_s == 100.0
    assert of.steps(seen(10.0, times=1)) == 0
    assert of.steps(seen(10.0)) > 0


@pytest.mark.parametrize(
    ("rate", "slots", "hopeless"),
    [
        (100.0, 2, False),
        (90.0, 2, False),
        (50.0, 1, False),
        (200.0, 4, False),
        (1e9, 8, False),
        (24.0, 1, True),
    ],
)
def test_slots_follow_the_uplink(rate: float, slots: int, hopeless: bool) -> None:
    of = speeds()
    of.survey([seen(100.0) for _ in range(20)])
    steps = of.steps(seen(rate))
    assert (of.slots(steps), of.is_hopeless(steps)) == (slots, hopeless)


def test_where_uplinks_differ_everybody_has_more_slots() -> None:
    of = speeds()
    alike = [seen(100.0) for _ in range(9)]
    of.survey([*alike, seen(50.0)])
    assert (of.is_mixed, of.slots(0)) == (False, 2)
    mixed = [*alike, seen(50.0), seen(300.0)]
    assert of.survey(mixed)
    assert (of.is_mixed, of.slots(0)) == (True, 3)
    for one in mixed:
        one.up_slots = of.slots(of.steps(one))
    of.fit_down_slots(mixed, 8)
    assert of.down_slots == 5  # 1.5 times 38 slots of 11 members
    assert not of.survey(mixed)  # nothing new
    of.survey([seen(100.0) for _ in range(30)])
    of.fit_down_slots(mixed, 8)
    assert (of.is_mixed, of.down_slots) == (False, 2)


@pytest.mark.parametrize("headroom", [True, False])
def test_an_uplink_whose_children_are_full_may_carry_more(headroom: bool) -> None:
    of = Speeds(2, 2, Rules(headroom=headroom))
    of.pieces = 150
    of.survey([*[seen(100.0) for _ in range(9)], seen(50.0), seen(300.0)])
    assert of.is_mixed
    parent = seen(100.0)
    for start in range(9):
        child = member("c")
        child.down.learn(100.0)
        child.down.learn(100.0)
        land(of, fly(parent, child, float(start)), start + 1.0)
    assert parent.up.rate_bytes_per_s == pytest.approx(100.0)
    assert of.slots(of.steps(parent)) == (7 if headroom else 5)
    for start in range(9, 18):
        child = member("c")
        child.down.learn(1000.0)
        child.down.learn(1000.0)
        land(of, fly(parent, child, float(start)), start + 1.0)
    assert of.slots(of.steps(parent)) == 5, "now they could have taken more"


def test_rules_can_be_left_out() -> None:
    of = speeds(grain=False, hopeless=False)
    of.survey([*[seen(100.0) for _ in range(9)], *[seen(1.0) for _ in range(5)]])
    assert not of.is_mixed
    assert not of.is_hopeless(of.steps(seen(1.0)))


def test_patience() -> None:
    of = speeds()
    assert of.patience_s(100) == float("inf")
    of.survey([seen(100.0) for _ in range(4)])
    assert of.patience_s(100) == 3 * 2 * 1.0


def test_the_most_slots_bound_those_of_the_fastest() -> None:
    assert most_up_slots(2) == 20
    assert most_up_slots(1000) == most_up_slots(2000)


@pytest.mark.parametrize(
    ("rates", "mixed"),
    [
        ((30.0, 30.0, 29.0, 31.0), True),
        ((30.0, 10.0, 45.0, 16.0, 50.0, 12.0), False),
    ],
)
def test_a_difference_that_is_no_larger_than_the_doubt_is_none(
    rates: tuple[float, ...], mixed: bool
) -> None:
    of, odd = speeds(), seen(rates[0], times=1)
    for rate in rates[1:]:
        odd.up.learn(rate)
    members = [seen(20.0, times=4) for _ in range(4)]
    of.survey([*members, odd])
    assert of.is_mixed is mixed
    assert (of.steps(odd) != 0) is mixed


def test_no_estimate_more_than_doubles_at_a_time() -> None:
    meter = Meter()
    meter.learn(10.0)
    meter.learn(1000.0)
    assert meter.rate_bytes_per_s == 15.0
