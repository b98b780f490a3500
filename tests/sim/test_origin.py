from __future__ import annotations

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
from damselfly.sim.host import Content, Host
from damselfly.sim.links import EqualShare
from damselfly.sim.origin import Origin
from damselfly.sim.scenario import Scenario
from damselfly.sim.world import World

FIRST, LAST = PieceIndex(0), PieceIndex(2)
CONTENT = Content(PieceLayout(250, 105))  # pieces of 100, 100 and 50 bytes


class Lab:
    """A host at 105 bytes per second, and an origin at 100."""

    def __init__(self) -> None:
        self.world = World(0)
        self.host = Host("10.0.0.2", 15001, 105, 105, is_supernode=False)
        scenario = Scenario(latency_s=0.25, origin_bytes_per_s=100)
        self.origin = Origin(self.world, EqualShare(self.world), scenario, CONTENT)
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
    lab.origin.read(lab.host, read(wants_md5=True), lab.hear)
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
    lab.origin.read(lab.host, wanted, lab.hear)
    lab.world.run(10)
    second = PieceIndex(1)
    assert [event for _, event in lab.heard[1:]] == [
        OriginPieceStored(FetchId(3), second, 100, CONTENT.sha256(second)),
        OriginEnded(FetchId(3), 250, ""),
    ]


def test_a_policy_cuts_as_the_scenario_says() -> None:
    lab = Lab()
    by_policy = ReadOrigin(FetchId(3), TaskId("t"), "", (), PieceSizePolicy.DRAGONFLY)
    lab.origin.read(lab.host, by_policy, lab.hear)
    lab.world.run(10)
    assert lab.heard[0][1] == OriginOpened(FetchId(3), 250, 105, True, CONTENT.validator)


def test_other_content_than_expected_fails_the_read() -> None:
    lab = Lab()
    lab.origin.read(lab.host, read(validator='"v0"'), lab.hear)
    lab.world.run(10)
    ((_, event),) = lab.heard
    assert isinstance(event, OriginFailed)
    assert event.failure is OriginFailure.CHANGED


@pytest.mark.parametrize(("at_s", "moved", "events"), [(0.25, 0, 0), (2.0, 150, 2), (9.0, 250, 5)])
def test_a_read_is_cancelled_silently(at_s: float, moved: int, events: int) -> None:
    lab = Lab()
    under_way = lab.origin.read(lab.host, read(), lab.hear)
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

    under_way = lab.origin.read(lab.host, read(), stop)
    lab.world.run(10)
    assert len(lab.heard) == heard
    assert lab.origin.bytes_read == moved
