from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from damselfly.engine.effects import ReadOrigin
from damselfly.engine.events import (
    OriginEnded,
    OriginFailed,
    OriginFailure,
    OriginOpened,
    OriginPieceStored,
)
from damselfly.engine.ids import FetchId, PieceIndex, TaskId
from damselfly.engine.piece import PieceLayout, PieceSizePolicy
from damselfly.sim.host import Content, Host, Replica
from damselfly.sim.links import EqualShare
from damselfly.sim.misfortunes import Cut, Partition
from damselfly.sim.origin import Origin
from damselfly.sim.scenario import Scenario
from damselfly.sim.ways import Ways
from damselfly.sim.world import World

FIRST, LAST = PieceIndex(0), PieceIndex(2)
CONTENT = Content(PieceLayout(250, 105))  # pieces of 100, 100 and 50 bytes


class Lab:
    """A host at 105 bytes per second, and an origin at 100."""

    def __init__(self, room_bytes: int | None = None, **knobs: Any) -> None:
        self.world = World(0)
        self.host = Host("10.0.0.2", 15001, 105, 105, is_supernode=False, room_bytes=room_bytes)
        self.replica = Replica(self.host, CONTENT)
        scenario = replace(Scenario(latency_s=0.25, origin_bytes_per_s=100), **knobs)
        network, self.ways = EqualShare(self.world), Ways(scenario)
        self.origin = Origin(self.world, network, self.ways, scenario)
        self.heard: list[tuple[float, object]] = []

    def hear(self, event: object) -> None:
        self.heard.append((self.world.now, event))


def read(first: int = 0, last: int | None = None, **knobs: object) -> ReadOrigin:
    return ReadOrigin(
        fetch=FetchId(3),
        task=TaskId("t"),
        url="http://origin.example/file",
        headers=(),
        piece_size=105,
        first_byte=first,
        last_byte=last,
        validator=str(knobs.get("validator", "")),
        wants_md5=bool(knobs.get("wants_md5")),
    )


def test_a_read_of_the_origin_brings_its_pieces_one_by_one() -> None:
    lab = Lab()
    lab.origin.read(lab.replica, read(wants_md5=True), lab.hear)
    lab.world.run(10)
    validator = CONTENT.validator
    assert lab.heard == [
        (0.5, OriginOpened(FetchId(3), 250, 105, True, validator)),
        (1.5, OriginPieceStored(FetchId(3), FIRST, 100, CONTENT.sha256(FIRST))),
        (2.5, OriginPieceStored(FetchId(3), PieceIndex(1), 100, CONTENT.sha256(PieceIndex(1)))),
        (3.0, OriginPieceStored(FetchId(3), LAST, 50, CONTENT.sha256(LAST))),
        (3.0, OriginEnded(FetchId(3), 250, CONTENT.md5)),
    ]
    assert lab.origin.bytes_read == 250


def test_a_read_of_a_range_brings_just_that() -> None:
    lab = Lab()
    wanted = read(100, 199, validator=CONTENT.validator, wants_md5=True)
    lab.origin.read(lab.replica, wanted, lab.hear)
    lab.world.run(10)
    second = PieceIndex(1)
    assert [event for _, event in lab.heard[1:]] == [
        OriginPieceStored(FetchId(3), second, 100, CONTENT.sha256(second)),
        OriginEnded(FetchId(3), 250, ""),
    ]


def test_a_policy_cuts_as_the_scenario_says() -> None:
    lab = Lab()
    by_policy = ReadOrigin(FetchId(3), TaskId("t"), "", (), PieceSizePolicy.DRAGONFLY)
    lab.origin.read(lab.replica, by_policy, lab.hear)
    lab.world.run(10)
    assert lab.heard[0][1] == OriginOpened(FetchId(3), 250, 105, True, CONTENT.validator)


def test_other_content_than_expected_fails_the_read() -> None:
    lab = Lab()
    lab.origin.read(lab.replica, read(validator='"v0"'), lab.hear)
    lab.world.run(10)
    ((_, event),) = lab.heard
    assert isinstance(event, OriginFailed)
    assert event.failure is OriginFailure.CHANGED


@pytest.mark.parametrize(("at_s", "moved", "events"), [(0.25, 0, 0), (2.0, 150, 2), (9.0, 250, 5)])
def test_a_read_is_cancelled_silently(at_s: float, moved: int, events: int) -> None:
    lab = Lab()
    under_way = lab.origin.read(lab.replica, read(), lab.hear)
    lab.world.at(at_s, lab.origin.cancel, under_way)
    lab.world.run(10)
    assert len(lab.heard) == events
    assert lab.origin.bytes_read == moved


@pytest.mark.parametrize(
    ("at", "heard", "moved"), [(OriginOpened, 1, 0), (OriginPieceStored, 2, 100)]
)
def test_a_listener_may_cancel_from_within(at: type, heard: int, moved: int) -> None:
    lab = Lab()

    def stop(event: object) -> None:
        lab.hear(event)
        if isinstance(event, at):
            lab.origin.cancel(under_way)

    under_way = lab.origin.read(lab.replica, read(), stop)
    lab.world.run(10)
    assert len(lab.heard) == heard
    assert lab.origin.bytes_read == moved


def failures(lab: Lab) -> list[tuple[float, OriginFailure, int]]:
    return [
        (when, event.failure, event.status)
        for when, event in lab.heard
        if isinstance(event, OriginFailed)
    ]


def test_a_far_origin_answers_late() -> None:
    lab = Lab(origin_latency_s=1.0)
    lab.origin.read(lab.replica, read(), lab.hear)
    lab.world.run(10)
    assert lab.heard[0][0] == 2.0


def test_an_origin_in_trouble_answers_some_with_503() -> None:
    lab = Lab(origin_errors=0.5)
    for _ in range(40):
        lab.origin.read(lab.replica, read(), lab.hear)
    lab.world.run(1000)
    refused = failures(lab)
    assert 10 < len(refused) < 30
    assert set(refused) == {(0.5, OriginFailure.STATUS, 503)}


def test_a_read_may_break_in_the_body_and_the_bytes_count() -> None:
    lab = Lab(origin_drops=1.0)
    lab.origin.read(lab.replica, read(), lab.hear)
    lab.world.run(10)
    whole = sum(isinstance(event, OriginPieceStored) for _, event in lab.heard)
    ((_, failure, _),) = failures(lab)
    assert failure is OriginFailure.SHORT
    assert whole < 3
    assert lab.origin.bytes_read == whole * 100 + (25 if whole == 2 else 50)


def test_an_origin_without_ranges_says_so_and_gives_none() -> None:
    lab = Lab(origin_ranges=False)
    lab.origin.read(lab.replica, read(), lab.hear)
    lab.origin.read(lab.replica, read(100), lab.hear)
    lab.world.run(10)
    opened = [event for _, event in lab.heard if isinstance(event, OriginOpened)]
    assert [event.ranged for event in opened] == [False]
    assert failures(lab) == [(0.5, OriginFailure.CHANGED, 200)]


def test_an_outage_breaks_reads_and_refuses_new_ones() -> None:
    lab = Lab()
    lab.origin.read(lab.replica, read(), lab.hear)

    def begin(_: None) -> None:
        lab.origin.go_down()
        lab.origin.read(lab.replica, read(), lab.hear)

    def end(_: None) -> None:
        lab.origin.come_up()
        lab.origin.read(lab.replica, read(200), lab.hear)

    lab.world.at(2.0, begin, None)
    lab.world.at(3.0, end, None)
    lab.world.run(10)
    assert failures(lab) == [
        (2.0, OriginFailure.SHORT, 0),
        (2.5, OriginFailure.UNREACHABLE, 0),
    ]
    assert isinstance(lab.heard[-1][1], OriginEnded)


def test_what_does_not_fit_on_the_disk_is_not_begun() -> None:
    lab = Lab(room_bytes=249)
    lab.origin.read(lab.replica, read(), lab.hear)
    lab.world.run(10)
    ((_, event),) = lab.heard
    assert isinstance(event, OriginFailed)
    assert (event.failure, event.needed_bytes) == (OriginFailure.STORE_FULL, 250)


def test_cached_pieces_are_told_at_once_and_not_read() -> None:
    lab = Lab()
    lab.origin.read(lab.replica, read(), lab.hear, cached=2)
    lab.world.run(10)
    times = [when for when, event in lab.heard if isinstance(event, OriginPieceStored)]
    assert times == [0.5, 0.5, 1.0]
    assert lab.origin.bytes_read == 50


def test_a_slow_disk_delays_pieces_and_the_end() -> None:
    lab = Lab(disk_bytes_per_s=50.0)
    lab.origin.read(lab.replica, read(), lab.hear)
    lab.world.run(20)
    assert [when for when, _ in lab.heard] == [0.5, 3.5, 5.5, 6.5, 6.5]


def test_a_cancelled_read_tells_nothing_of_what_the_disk_still_has_to_do() -> None:
    lab = Lab(disk_bytes_per_s=50.0)
    under_way = lab.origin.read(lab.replica, read(), lab.hear)
    lab.world.at(3.2, lab.origin.cancel, under_way)
    lab.world.run(20)
    assert [type(event) for _, event in lab.heard] == [OriginOpened]


@pytest.mark.parametrize(("cut_s", "failure_s"), [(0.0, 10.5), (1.0, 31.0)])
def test_a_reader_that_is_cut_off_gives_up_in_time(cut_s: float, failure_s: float) -> None:
    lab = Lab(partitions=(Partition(0, 1),))
    lab.host.side = 1

    def cut(_: None) -> None:
        lab.ways.cut(1, Cut.BOTH)
        lab.origin.review()

    lab.world.at(cut_s, cut, None)
    lab.world.at(cut_s, lambda _: lab.origin.read(lab.replica, read(), lab.hear), None)
    if cut_s:
        lab.origin.read(lab.replica, read(), lab.hear)
    lab.world.run(100)
    kinds = {failure for _, failure, _ in failures(lab)}
    assert failure_s in [when for when, _, _ in failures(lab)]
    assert kinds <= {OriginFailure.UNREACHABLE, OriginFailure.STALLED}
    assert len(failures(lab)) == (2 if cut_s else 1)


def test_a_cut_that_heals_lets_a_read_go_on() -> None:
    lab = Lab(partitions=(Partition(0, 1),))
    lab.host.side = 1

    def turn(is_cut: bool) -> None:
        if is_cut:
            lab.ways.cut(1, Cut.BOTH)
        else:
            lab.ways.heal(1)
        lab.origin.review()

    lab.origin.read(lab.replica, read(), lab.hear)
    lab.world.at(1.0, turn, True)
    lab.world.at(6.0, turn, False)
    lab.world.run(100)
    assert lab.heard[-1][0] == 3.0 + 5.0
    assert not failures(lab)
