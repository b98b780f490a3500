from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from damselfly.engine.effects import FetchPiece
from damselfly.engine.events import FetchFailure, PieceFailed, PieceFetched
from damselfly.engine.ids import FetchId, PeerId, PieceIndex
from damselfly.engine.messages import PieceOffer
from damselfly.engine.piece import PieceLayout
from damselfly.sim.host import Content, Host, Replica
from damselfly.sim.links import EqualShare
from damselfly.sim.misfortunes import Cut, Partition
from damselfly.sim.scenario import Scenario
from damselfly.sim.serving import FileServer
from damselfly.sim.transfers import Transfers
from damselfly.sim.ways import Ways, ramp_s
from damselfly.sim.world import World

FIRST, LAST = PieceIndex(0), PieceIndex(2)
CONTENT = Content(PieceLayout(250, 105))  # pieces of 100, 100 and 50 bytes


class Lab:
    """A parent and a child, both at 105 bytes per second."""

    def __init__(self, **knobs: Any) -> None:
        scenario = replace(Scenario(latency_s=0.25, dead_time_s=0.5), **knobs)
        self.world = World(0)
        self.parent = Host("10.0.0.1", 15001, 105, 105, is_supernode=False)
        self.child = Host("10.0.0.2", 15001, 105, 105, is_supernode=False)
        self.source, self.replica = Replica(self.parent, CONTENT), Replica(self.child, CONTENT)
        self.parent.replicas["/f"] = self.source
        for piece in (FIRST, LAST):
            self.source.store(piece)
            self.source.serves[piece] = None
        self.network, self.ways = EqualShare(self.world), Ways(scenario)
        hosts = {(host.ip, host.port): host for host in (self.parent, self.child)}
        self.transfers = Transfers(self.world, self.network, self.ways, scenario, hosts)
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
    lab.transfers.fetch(lab.replica, lab.fetch(FIRST), lab.hear)
    lab.world.run(10)
    assert lab.heard == [(2.0, PieceFetched(FetchId(7), 100, CONTENT.sha256(FIRST)))]
    assert lab.transfers.bytes_from_peers == 100
    assert lab.transfers.bytes_from_supernode == 0
    assert lab.transfers.pieces_moved == 1
    assert lab.replica.stored == {FIRST: False}
    assert not lab.replica.serves
    assert not lab.parent.uploads


def test_the_last_piece_is_short_and_an_md5_is_answered_by_one() -> None:
    lab = Lab()
    lab.transfers.fetch(lab.replica, lab.fetch(LAST, md5="aa:55"), lab.hear)
    lab.world.run(10)
    ((_, event),) = lab.heard
    assert isinstance(event, PieceFetched)
    assert event.size == 50
    assert event.digest.startswith("md5:")


def test_bad_bytes_have_another_digest_and_stay_bad() -> None:
    lab = Lab()
    lab.source.stored[FIRST] = True
    lab.transfers.fetch(lab.replica, lab.fetch(FIRST), lab.hear)
    lab.world.run(10)
    ((_, event),) = lab.heard
    assert isinstance(event, PieceFetched)
    assert event.digest != CONTENT.sha256(FIRST)
    assert lab.replica.stored == {FIRST: True}


@pytest.mark.parametrize(
    ("piece", "host", "failure"),
    [
        (PieceIndex(1), "10.0.0.1", FetchFailure.NOT_FOUND),
        (FIRST, "10.9.9.9", FetchFailure.UNREACHABLE),
    ],
)
def test_what_is_not_there_fails(piece: PieceIndex, host: str, failure: FetchFailure) -> None:
    lab = Lab()
    lab.transfers.fetch(lab.replica, lab.fetch(piece, host), lab.hear)
    lab.world.run(10)
    ((when, event),) = lab.heard
    assert isinstance(event, PieceFailed)
    assert (when, event.failure) == (1.25, failure)
    assert not lab.transfers.bytes_from_peers


def test_a_parent_that_dies_breaks_its_uploads_and_refuses_new_ones() -> None:
    lab = Lab()
    lab.transfers.fetch(lab.replica, lab.fetch(FIRST), lab.hear)

    def die(_: None) -> None:
        lab.parent.listens = False
        lab.transfers.cut_off(lab.parent)
        lab.transfers.fetch(lab.replica, lab.fetch(LAST), lab.hear)

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
    transfer = lab.transfers.fetch(lab.replica, lab.fetch(FIRST), lab.hear)
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
    lab.transfers.fetch(lab.replica, lab.fetch(FIRST), lab.hear)
    lab.world.run(10)
    assert lab.transfers.bytes_from_supernode == 100
    assert lab.transfers.bytes_from_peers == 0


def test_a_slow_disk_and_a_busy_core_hold_pieces_up_one_by_one() -> None:
    knobs = {"disk_bytes_per_s": 100.0, "disk_latency_s": 0.5, "piece_cpu_s": 0.25}
    lab = Lab(**knobs)
    lab.transfers.fetch(lab.replica, lab.fetch(FIRST), lab.hear)
    lab.world.at(0.0, lambda _: lab.transfers.fetch(lab.replica, lab.fetch(LAST), lab.hear), None)
    lab.world.run(20)
    # Both share the link: 55 wrapped bytes are through at 1 + 110/105, all 160 at 1 + 160/105.
    short, long = 1 + 110 / 105, 1 + 160 / 105
    first = short + 0.5 + 0.5 + 0.25
    second = max(long, short + 1.0) + 0.5 + 1.0 + 0.25
    assert [when for when, _ in lab.heard] == [pytest.approx(first), pytest.approx(second)]


def test_a_full_disk_takes_no_piece() -> None:
    lab = Lab()
    lab.child.room_bytes = 120
    lab.transfers.fetch(lab.replica, lab.fetch(FIRST), lab.hear)
    lab.world.at(5.0, lambda _: lab.transfers.fetch(lab.replica, lab.fetch(LAST), lab.hear), None)
    lab.world.run(20)
    _, (_, event) = lab.heard
    assert isinstance(event, PieceFailed)
    assert event.failure is FetchFailure.STORE_FULL
    assert lab.child.free_bytes() == 20
    lab.replica.clear()
    assert lab.child.free_bytes() == 120


def test_slow_start_takes_its_time_before_the_bytes() -> None:
    lab = Lab(tcp_window_bytes=10)
    lab.transfers.fetch(lab.replica, lab.fetch(FIRST), lab.hear)
    lab.world.run(20)
    cost_s = ramp_s(100, 10, 0.5, 105)
    assert cost_s > 0.5
    assert [when for when, _ in lab.heard] == [2.0 + cost_s]


@pytest.mark.parametrize(("heal_s", "outcome"), [(4.0, None), (50.0, FetchFailure.STALLED)])
def test_a_piece_on_its_way_waits_for_a_cut_to_heal(
    heal_s: float, outcome: FetchFailure | None
) -> None:
    lab = Lab(partitions=(Partition(0, 1),))
    lab.parent.side = 1

    def cut(_: None) -> None:
        lab.ways.cut(1, Cut.BOTH)
        lab.transfers.review()

    def heal(_: None) -> None:
        lab.ways.heal(1)
        lab.transfers.review()

    lab.transfers.fetch(lab.replica, lab.fetch(FIRST), lab.hear)
    lab.world.at(1.5, cut, None)
    lab.world.at(heal_s, heal, None)
    lab.world.run(100)
    ((when, event),) = lab.heard
    if outcome is None:
        assert isinstance(event, PieceFetched)
        assert when == pytest.approx(2.0 + 2.5)
    else:
        assert isinstance(event, PieceFailed)
        assert (event.failure, when) == (outcome, 1.5 + 10 + 0.25)
    assert not lab.parent.uploads


@pytest.mark.parametrize(("heal_s", "arrives_s"), [(3.5, 5.0), (50.0, None)])
def test_a_connection_over_a_cut_is_tried_again(heal_s: float, arrives_s: float | None) -> None:
    lab = Lab(partitions=(Partition(0, 1),))
    lab.parent.side = 1
    lab.ways.cut(1, Cut.IN)
    lab.transfers.fetch(lab.replica, lab.fetch(FIRST), lab.hear)
    lab.world.at(heal_s, lambda _: lab.ways.heal(1), None)
    lab.world.run(100)
    ((when, event),) = lab.heard
    if arrives_s is not None:
        assert when == arrives_s  # the fourth try, at 4 s, and 1 s of bytes
    else:
        assert isinstance(event, PieceFailed)
        assert event.failure is FetchFailure.UNREACHABLE
        assert 9 < when < 11


def test_a_piece_from_a_stalled_host_is_given_up_and_one_that_crawls_is_not() -> None:
    for rate, failed in ((0.0, True), (1.0, False)):
        lab = Lab()
        lab.network.set_rate(lab.parent.up, rate)
        lab.transfers.fetch(lab.replica, lab.fetch(FIRST), lab.hear)
        lab.world.run(500)
        ((_, event),) = lab.heard
        assert isinstance(event, PieceFailed) == failed
