from __future__ import annotations

import pytest

from damselfly.engine.effects import FetchPiece, ReadOrigin
from damselfly.engine.events import (
    FetchFailure,
    OriginEnded,
    OriginFailed,
    OriginFailure,
    OriginOpened,
    OriginPieceStored,
    PieceFailed,
    PieceFetched,
)
from damselfly.engine.ids import FetchId, PeerId, PieceIndex, TaskId
from damselfly.engine.messages import PieceOffer
from damselfly.engine.piece import PieceLayout, PieceSizePolicy
from damselfly.sim.host import Content, Host
from damselfly.sim.links import EqualShare, Link
from damselfly.sim.scenario import Scenario
from damselfly.sim.transfers import Source, Transfers
from damselfly.sim.world import World

FIRST, LAST = PieceIndex(0), PieceIndex(2)
CONTENT = Content(PieceLayout(250, 105))  # pieces of 100, 100 and 50 bytes


class Lab:
    """A parent and a child, both at 105 bytes per second; an origin at 100."""

    def __init__(self) -> None:
        self.world = World(0)
        self.parent = Host("10.0.0.1", 15001, 105, 105, is_supernode=False)
        self.child = Host("10.0.0.2", 15001, 105, 105, is_supernode=False)
        for piece in (FIRST, LAST):
            self.parent.disk[piece] = False
            self.parent.serves[piece] = None
        self.transfers = Transfers(
            self.world,
            EqualShare(self.world),
            Scenario(latency_s=0.25, dead_time_s=0.5),
            CONTENT,
            {(host.ip, host.port): host for host in (self.parent, self.child)},
            Link(100),
        )
        self.heard: list[tuple[float, object]] = []

    def hear(self, event: object) -> None:
        self.heard.append((self.world.now, event))

    def offer(self, piece: PieceIndex, host: str, *, md5: str = "") -> PieceOffer:
        return PieceOffer(piece, PeerId("p"), host, 15001, "/f", 105, md5=md5)

    def fetch(self, piece: PieceIndex, host: str = "10.0.0.1", md5: str = "") -> FetchPiece:
        return FetchPiece(FetchId(7), self.offer(piece, host, md5=md5), 100, 10.0)


def test_a_piece_takes_a_round_trip_the_dead_time_and_its_wrapped_bytes() -> None:
    lab = Lab()
    lab.transfers.fetch(lab.child, lab.fetch(FIRST), lab.hear)
    lab.world.run(10)
    assert lab.heard == [(2.0, PieceFetched(FetchId(7), 100, CONTENT.sha256(FIRST)))]
    assert lab.transfers.bytes_from == {Source.PEER: 100}
    assert lab.transfers.pieces_moved == 1
    assert lab.child.disk == {FIRST: False}
    assert not lab.child.serves
    assert not lab.parent.uploads


def test_the_last_piece_is_short_and_an_md5_is_answered_by_one() -> None:
    lab = Lab()
    lab.transfers.fetch(lab.child, lab.fetch(LAST, md5="aa:55"), lab.hear)
    lab.world.run(10)
    ((_, event),) = lab.heard
    assert isinstance(event, PieceFetched)
    assert event.size == 50
    assert event.digest.startswith("md5:")


def test_bad_bytes_have_another_digest_and_stay_bad() -> None:
    lab = Lab()
    lab.parent.disk[FIRST] = True
    lab.transfers.fetch(lab.child, lab.fetch(FIRST), lab.hear)
    lab.world.run(10)
    ((_, event),) = lab.heard
    assert isinstance(event, PieceFetched)
    assert event.digest != CONTENT.sha256(FIRST)
    assert lab.child.disk == {FIRST: True}


@pytest.mark.parametrize(
    ("piece", "host", "failure"),
    [
        (PieceIndex(1), "10.0.0.1", FetchFailure.NOT_FOUND),
        (FIRST, "10.9.9.9", FetchFailure.UNREACHABLE),
    ],
)
def test_what_is_not_there_fails(piece: PieceIndex, host: str, failure: FetchFailure) -> None:
    lab = Lab()
    lab.transfers.fetch(lab.child, lab.fetch(piece, host), lab.hear)
    lab.world.run(10)
    ((when, event),) = lab.heard
    assert isinstance(event, PieceFailed)
    assert (when, event.failure) == (1.25, failure)
    assert not lab.transfers.bytes_from


def test_a_parent_that_dies_breaks_its_uploads_and_refuses_new_ones() -> None:
    lab = Lab()
    lab.transfers.fetch(lab.child, lab.fetch(FIRST), lab.hear)

    def die(_: None) -> None:
        lab.parent.is_up = False
        lab.transfers.cut_off(lab.parent)
        lab.transfers.fetch(lab.child, lab.fetch(LAST), lab.hear)

    lab.world.at(1.5, die, None)
    lab.world.run(10)
    assert [(when, type(event)) for when, event in lab.heard] == [
        (1.75, PieceFailed),
        (2.75, PieceFailed),
    ]
    assert lab.transfers.bytes_from[Source.PEER] == 52
    assert not lab.parent.up.flows


@pytest.mark.parametrize(("at_s", "moved"), [(0.5, 0), (1.5, 52), (5.0, 100)])
def test_cancelling_is_silent_at_any_time(at_s: float, moved: int) -> None:
    lab = Lab()
    transfer = lab.transfers.fetch(lab.child, lab.fetch(FIRST), lab.hear)
    for when in (at_s, at_s + 0.1):
        lab.world.at(when, lab.transfers.cancel, transfer)
    lab.world.run(10)
    assert bool(lab.heard) == (at_s == 5.0)
    assert lab.transfers.bytes_from[Source.PEER] == moved
    assert not lab.parent.uploads
    assert not lab.child.down.flows


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
    lab.transfers.read_origin(lab.child, read(wants_md5=True), lab.hear)
    lab.world.run(10)
    validator = CONTENT.validator
    assert lab.heard == [
        (0.5, OriginOpened(FetchId(3), 250, 105, True, validator)),
        (1.5, OriginPieceStored(FetchId(3), FIRST, 100, CONTENT.sha256(FIRST))),
        (2.5, OriginPieceStored(FetchId(3), PieceIndex(1), 100, CONTENT.sha256(PieceIndex(1)))),
        (3.0, OriginPieceStored(FetchId(3), LAST, 50, CONTENT.sha256(LAST))),
        (3.0, OriginEnded(FetchId(3), 250, CONTENT.md5)),
    ]
    assert lab.transfers.bytes_from == {Source.ORIGIN: 250}


def test_a_read_of_a_range_brings_just_that() -> None:
    lab = Lab()
    wanted = read(100, 199, validator=CONTENT.validator, wants_md5=True)
    lab.transfers.read_origin(lab.child, wanted, lab.hear)
    lab.world.run(10)
    second = PieceIndex(1)
    assert [event for _, event in lab.heard[1:]] == [
        OriginPieceStored(FetchId(3), second, 100, CONTENT.sha256(second)),
        OriginEnded(FetchId(3), 250, ""),
    ]


def test_a_policy_cuts_as_the_scenario_says() -> None:
    lab = Lab()
    by_policy = ReadOrigin(FetchId(3), TaskId("t"), "", (), PieceSizePolicy.DRAGONFLY)
    lab.transfers.read_origin(lab.child, by_policy, lab.hear)
    lab.world.run(10)
    assert lab.heard[0][1] == OriginOpened(FetchId(3), 250, 105, True, CONTENT.validator)


def test_other_content_than_expected_fails_the_read() -> None:
    lab = Lab()
    lab.transfers.read_origin(lab.child, read(validator='"v0"'), lab.hear)
    lab.world.run(10)
    ((_, event),) = lab.heard
    assert isinstance(event, OriginFailed)
    assert event.failure is OriginFailure.CHANGED


@pytest.mark.parametrize(("at_s", "moved", "events"), [(0.25, 0, 0), (2.0, 150, 2), (9.0, 250, 5)])
def test_a_read_is_cancelled_silently(at_s: float, moved: int, events: int) -> None:
    lab = Lab()
    under_way = lab.transfers.read_origin(lab.child, read(), lab.hear)
    lab.world.at(at_s, lab.transfers.cancel, under_way)
    lab.world.run(10)
    assert len(lab.heard) == events
    assert lab.transfers.bytes_from[Source.ORIGIN] == moved


def test_a_listener_may_cancel_from_within() -> None:
    lab = Lab()

    def stop_at_first_piece(event: object) -> None:
        lab.hear(event)
        if isinstance(event, OriginPieceStored):
            lab.transfers.cancel(under_way)

    under_way = lab.transfers.read_origin(lab.child, read(), stop_at_first_piece)
    lab.world.run(10)
    assert len(lab.heard) == 2
    assert lab.transfers.bytes_from[Source.ORIGIN] == 100
