from __future__ import annotations

import pytest

from damselfly.engine.effects import FetchPiece
from damselfly.engine.events import FetchFailure, PieceFailed, PieceFetched
from damselfly.engine.ids import FetchId, PeerId, PieceIndex
from damselfly.engine.messages import PieceOffer
from damselfly.engine.piece import PieceLayout
from damselfly.sim.host import Content, Host
from damselfly.sim.links import EqualShare
from damselfly.sim.scenario import Scenario
from damselfly.sim.serving import FileServer
from damselfly.sim.transfers import Transfers
from damselfly.sim.world import World

FIRST, LAST = PieceIndex(0), PieceIndex(2)
CONTENT = Content(PieceLayout(250, 105))  # pieces of 100, 100 and 50 bytes


class Lab:
    """A parent and a child, both at 105 bytes per second."""

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
        )
        self.parent.server = FileServer(self.transfers)
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
    assert lab.transfers.bytes_from_peers == 100
    assert lab.transfers.bytes_from_supernode == 0
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
    assert not lab.transfers.bytes_from_peers


def test_a_parent_that_dies_breaks_its_uploads_and_refuses_new_ones() -> None:
    lab = Lab()
    lab.transfers.fetch(lab.child, lab.fetch(FIRST), lab.hear)

    def die(_: None) -> None:
        lab.parent.listens = False
        lab.transfers.cut_off(lab.parent)
        lab.transfers.fetch(lab.child, lab.fetch(LAST), lab.hear)

    lab.world.at(1.5, die, None)
    lab.world.run(10)
    assert [(when, type(event)) for when, event in lab.heard] == [
        (1.75, PieceFailed),
        (2.75, PieceFailed),
    ]
    assert lab.transfers.bytes_from_peers == 52
    assert not lab.parent.up.flows


@pytest.mark.parametrize(("at_s", "moved"), [(0.5, 0), (1.5, 52), (5.0, 100)])
def test_cancelling_is_silent_at_any_time(at_s: float, moved: int) -> None:
    lab = Lab()
    transfer = lab.transfers.fetch(lab.child, lab.fetch(FIRST), lab.hear)
    for when in (at_s, at_s + 0.1):
        lab.world.at(when, lab.transfers.cancel, transfer)
    lab.world.run(10)
    assert bool(lab.heard) == (at_s == 5.0)
    assert lab.transfers.bytes_from_peers == moved
    assert not lab.parent.uploads
    assert not lab.child.down.flows


def test_the_supernodes_bytes_are_counted_apart() -> None:
    lab = Lab()
    lab.parent.is_supernode = True
    lab.transfers.fetch(lab.child, lab.fetch(FIRST), lab.hear)
    lab.world.run(10)
    assert lab.transfers.bytes_from_supernode == 100
    assert lab.transfers.bytes_from_peers == 0
