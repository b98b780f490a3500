"""Who follows what is on its way to somebody else, and what is held against whom."""

from __future__ import annotations

from random import Random

import pytest

from damselfly.engine.ids import ExchangeId, PeerId, PieceIndex
from damselfly.engine.members import Flight, Member
from damselfly.engine.messages import FailedNote, PieceOffer
from damselfly.engine.order_book import OrderBook
from damselfly.engine.orders import RarestFirst
from damselfly.engine.piece import DigestForm, PieceLayout
from damselfly.engine.rules import Rules, Slots, rules_of
from damselfly.engine.scheduler import Scheduler
from damselfly.engine.swarm import Swarm
from damselfly.engine.watch import is_held_up

from .test_native_supernode import Native

PIECES = 12


class Town:
    """A swarm with nothing in it but the supernode's copy, whose few uploads others follow."""

    def __init__(self, *names: str, rules: Rules | None = None, up: int = 2, down: int = 2) -> None:
        slots = Slots(up=up, down=down, cdn_up=1)
        self.swarm = Swarm(slots, rules if rules is not None else Rules())
        self.swarm.know_all(PieceLayout(PIECES * 1000, 1005))
        for piece in range(PIECES):
            self.swarm.cdn_got(PieceIndex(piece))
        rng = Random(3)
        order = RarestFirst(self.swarm.picker, rng)
        self.scheduler = Scheduler(self.swarm, order, 1, rng)
        self.members = {name: self.join(name) for name in names}
        self.now = 0.0

    def join(self, name: str, *, relays: bool = True, native: bool = True) -> Member:
        member = Member(-1, PeerId(name), name, 1, "/", "sn", DigestForm.SHA256, 0.0)
        member.orders = OrderBook() if native else None
        member.relays = relays
        self.swarm.add(member)
        member.exchange = ExchangeId(member.index)
        self.swarm.requeue(member)
        return member

    def start(
        self, name: str, parent: str | None, *pieces: int, upstream: Flight | None = None
    ) -> Flight:
        member = self.members[name]
        source = self.members[parent] if parent is not None else None
        flight = self.swarm.start(member, source, PeerId(parent or "cdn"), self.now, upstream)
        for piece in pieces:
            offer = PieceOffer(PieceIndex(piece), flight.sender, "x", 1, "/", 1005)
            self.swarm.bring(flight, offer.piece, offer, self.now)
        self.swarm.requeue(member)
        self.swarm.check()
        return flight

    def keep_the_supernode_busy(self) -> None:
        self.members["z"] = self.join("z", relays=False)
        self.start("z", None, PIECES - 1)

    def follow(self, name: str) -> Flight | None:
        """Have a member follow what it is told to; return its run."""
        found = self.scheduler.work_for(self.members[name], self.now)
        if found is None:
            return None
        assert found.upstream is not None
        assert found.parent is found.upstream.child
        parent = found.upstream.child.peer
        flight = self.start(name, parent, found.piece, upstream=found.upstream)
        more = self.scheduler.continue_run(found.member, found.parent, 8, found.upstream)
        for piece in more:
            offer = PieceOffer(piece, flight.sender, "x", 1, "/", 1005)
            self.swarm.bring(flight, piece, offer, self.now)
        self.swarm.check()
        return flight

    def land(self, name: str, piece: int) -> None:
        member = self.members[name]
        sender = member.fetching[PieceIndex(piece)].sender
        self.swarm.delivered(member, PieceIndex(piece), self.now, sender)
        self.swarm.requeue(member)
        self.swarm.check()


def test_who_finds_nothing_follows_a_run_piece_by_piece() -> None:
    town = Town("a", "b")
    town.start("a", None, 5, 2, 7)
    flight = town.follow("b")
    assert flight is not None
    assert flight.parent is town.members["a"]
    assert list(flight.offers) == [5, 2, 7]


def test_what_is_held_goes_before_what_arrives() -> None:
    town = Town("a", "b", "c")
    town.start("a", None, 5)
    town.swarm.holds(town.members["c"], PieceIndex(1))
    found = town.scheduler.work_for(town.members["b"], 0.0)
    assert found is not None
    assert (found.piece, found.parent, found.upstream) == (1, town.members["c"], None)


def test_an_uplink_that_has_nothing_yet_finds_who_waits() -> None:
    town = Town("a", "b")
    flight = town.start("a", None, 5)
    found = town.scheduler.relay_from(town.members["a"])
    assert found is not None
    assert (found.member, found.piece) == (town.members["b"], 5)
    assert found.upstream is flight


def test_nobody_follows_more_than_the_uplink_has_slots_for() -> None:
    town = Town("a", "b", "c", "d", up=2)
    town.start("a", None, 5)
    town.members["b"].relays = town.members["c"].relays = False
    assert town.follow("b") is not None
    assert town.follow("c") is not None
    assert town.follow("d") is None


def test_a_chain_ends_after_four_hands() -> None:
    names = ("a", "b", "c", "d", "e", "f", "g")
    town = Town(*names, up=1)
    town.start("a", None, 5)
    depths = [flight.depth for name in names[1:] if (flight := town.follow(name)) is not None]
    assert depths == [1, 2, 3, 4]


@pytest.mark.parametrize("why", ["v1 child", "parent does not", "rule left out", "shunned"])
def test_nobody_follows(why: str) -> None:
    town = Town("a", rules=rules_of("damselfly-no-relays") if why == "rule left out" else None)
    if why == "parent does not":
        town.swarm.stop_relaying(town.members["a"])
    town.start("a", None, 5)
    town.members["b"] = town.join("b", native=why != "v1 child")
    town.members["b"].shunned = (why == "shunned") << town.members["a"].index
    assert town.follow("b") is None
    town.swarm.check()


def test_a_run_from_a_slow_uplink_is_not_followed() -> None:
    town = Town("a", "b", "s")
    town.keep_the_supernode_busy()
    town.members["s"].steps = 2
    town.start("a", "s", 5)
    assert town.follow("b") is None


def test_nobody_follows_what_depends_on_itself() -> None:
    town = Town("a", "b")
    upstream = town.start("a", None, 5)
    flight = town.start("b", "a", 5, upstream=upstream)
    upstream.is_late = True
    town.members["a"].late = 1
    town.members["a"].in_flight = 0
    town.swarm.picker.lost(PieceIndex(5))
    town.swarm.requeue(town.members["a"])
    assert town.follow("a") is None
    assert flight.upstream is upstream


def test_what_follows_is_measured_once_its_parent_has_it_all() -> None:
    town = Town("a", "b")
    town.start("a", None, 0, 1)
    flight = town.follow("b")
    assert flight is not None
    parent = town.members["a"]
    town.now = 1.0
    town.land("a", 0)
    town.land("b", 0)
    assert flight.upstream is not None
    assert not flight.got_bytes
    town.now = 2.0
    town.land("a", 1)
    assert flight.upstream is None
    assert not parent.relaying
    town.land("b", 1)
    assert parent.up.samples == 0, "a single piece more, of which most was there, is no measure"


def test_what_follows_is_not_late_before_its_parent_has_it() -> None:
    town = Town("a", "b", "c")
    town.swarm.speeds.usual_bytes_per_s = 1000.0
    town.swarm.holds(town.members["c"], PieceIndex(0))
    town.swarm.stop_serving(town.members["c"])  # else it would have been taken from there
    upstream = town.start("a", None, 0)
    flight = town.start("b", "a", 0, upstream=upstream)
    town.swarm.holders[0] = 1 << town.members["c"].index

    assert not is_held_up(town.swarm, flight, 100.0)
    upstream.is_late = True
    assert is_held_up(town.swarm, flight, 100.0)


def test_a_run_that_ends_early_is_followed_no_more() -> None:
    town = Town("a", "b")
    town.start("a", None, 0)
    flight = town.follow("b")
    assert flight is not None
    town.swarm.give_up(town.members["a"], PieceIndex(0), 1.0)
    town.swarm.check()
    town.swarm.give_up(town.members["b"], PieceIndex(0), 1.0)
    assert not town.members["a"].relaying
    town.swarm.check()


def test_who_fails_to_pass_on_is_not_accused_but_not_followed_again() -> None:
    node = Native(cdn_up_slots=1, ban_after=1)
    node.warm_native(1, "a", "b", relays=True)
    node.update(0.1, "a")
    (run,) = node.pieces(node.update(0.2, "b"))
    assert run == (0,)
    waiting = node.update(0.3, "b", failed=(FailedNote(PieceIndex(0), PeerId("a")),))
    assert waiting not in node.answers
    node.update(0.4, "a", 0)
    assert node.pieces(waiting) == [(0,)], "what it has is taken from it all the same"
