"""What is done about members that differ: measured in pieces of 1,000 bytes and whole seconds."""

from __future__ import annotations

from random import Random

import pytest

from damselfly.engine.ids import ExchangeId, PeerId, PieceIndex
from damselfly.engine.members import Member
from damselfly.engine.messages import PieceOffer
from damselfly.engine.orders import RarestFirst
from damselfly.engine.piece import DigestForm, PieceLayout
from damselfly.engine.rules import Rules, Slots
from damselfly.engine.scheduler import Scheduler
from damselfly.engine.swarm import Swarm

PIECES = 40
USUAL = 1000.0
CHILDREN = ("c", "d", "e", "f")


class Town:
    """Parents that hold everything, children that hold nothing, and a clock."""

    def __init__(
        self, rules: Rules | None = None, parents: int = 8, *, pace_s: float = 0.0
    ) -> None:
        slots = Slots(up=2, down=2, cdn_up=20)
        self.swarm = Swarm(slots, Rules() if rules is None else rules, pace_s=pace_s)
        self.swarm.know_all(PieceLayout(PIECES * 1000, 1005))
        for piece in range(PIECES):
            self.swarm.cdn_got(PieceIndex(piece))
        self.members = {name: self.join(name) for name in CHILDREN}
        self.parents = [self.join(f"p{number}") for number in range(parents)]
        for parent in self.parents:
            for piece in range(PIECES):
                self.swarm.holds(parent, PieceIndex(piece))
        rng = Random(5)
        order = RarestFirst(self.swarm.picker, rng)
        self.scheduler = Scheduler(self.swarm, order, 1, rng)
        self.now = 0.0
        self._next = 0

    def join(self, name: str, port: int = 1, form: DigestForm = DigestForm.SHA256) -> Member:
        member = Member(-1, PeerId(name), name, port, "/", "sn", form, 0.0)
        self.swarm.add(member)
        return member

    def wait(self, name: str) -> Member:
        member = self.members[name]
        member.exchange = ExchangeId(1)
        self.swarm.requeue(member)
        return member

    def start(self, name: str, parent: Member | None, piece: int | None = None) -> PieceIndex:
        if piece is None:
            piece, self._next = self._next, self._next + 1
        index = PieceIndex(piece)
        offer = PieceOffer(index, parent.peer if parent else PeerId("cdn"), "x", 1, "/", 1005)
        flight = self.swarm.start(self.members[name], parent, offer.parent, self.now)
        self.swarm.bring(flight, index, offer, self.now)
        self.swarm.requeue(self.members[name])
        self.swarm.check()
        return index

    def land(self, name: str, piece: PieceIndex) -> None:
        member = self.members[name]
        said = member.fetching[piece].sender
        self.swarm.delivered(member, piece, self.now, said)
        self.swarm.requeue(member)
        self.swarm.check()

    def sends(self, parent: Member, rate: float, *, times: int = 2) -> None:
        """Let a parent deliver pieces at this rate."""
        for _ in range(times):
            piece = self.start("c", parent)
            self.now += 1000 / rate
            self.land("c", piece)

    def knows_what_is_usual(self) -> Town:
        for parent in self.parents[:4]:
            self.sends(parent, USUAL)
        return self


def test_the_parent_that_would_send_fastest_is_taken() -> None:
    town = Town().knows_what_is_usual()
    fast = town.parents[5]
    town.sends(fast, 4 * USUAL)
    assert fast.up_slots == 8
    town.wait("d")
    for _ in range(2):
        found = town.scheduler.work_for(town.members["d"], town.now)
        assert found is not None
        assert found.parent is fast
        town.start("d", fast, found.piece)


def test_a_run_that_goes_on_is_measured_meanwhile() -> None:
    town = Town()
    parent, swarm = town.parents[0], town.swarm
    first = town.start("c", parent)
    flight = town.members["c"].fetching[first]
    for piece in range(1, 20):
        offer = PieceOffer(PieceIndex(piece), parent.peer, "x", 1, "/", 1005)
        swarm.bring(flight, offer.piece, offer, town.now)
    for piece in range(19):
        town.now += 1000 / USUAL
        town.land("c", PieceIndex(piece))
        swarm.look_at(flight, town.now + 0.5)
    assert parent.up.samples == 3
    town.now += 0.01
    town.land("c", PieceIndex(19))
    assert parent.up.samples == 3, "how much of the last piece came in that time nobody knows"
    assert parent.up.rate_bytes_per_s == pytest.approx(USUAL, rel=0.2)


def test_without_measuring_all_are_alike() -> None:
    town = Town(Rules(rates=False)).knows_what_is_usual()
    town.sends(town.parents[5], 4 * USUAL)
    town.sends(town.parents[6], USUAL / 20)
    assert {(parent.up_slots, parent.serves) for parent in town.parents} == {(2, True)}


def test_a_hopeless_uplink_is_nobodys_parent_until_it_gets_another_chance() -> None:
    town = Town().knows_what_is_usual()
    slow = town.parents[7]
    town.sends(slow, USUAL / 20)
    assert not slow.serves
    assert all(not holders >> slow.index & 1 for holders in town.swarm.holders)
    town.swarm.pardon(town.now + 29)
    assert not slow.serves
    town.swarm.pardon(town.now + 31)
    town.swarm.check()
    assert slow.serves
    assert all(holders >> slow.index & 1 for holders in town.swarm.holders)


def test_who_is_banned_stays_so() -> None:
    town = Town().knows_what_is_usual()
    slow = town.parents[7]
    town.sends(slow, USUAL / 20)
    town.swarm.stop_serving(slow)
    town.swarm.pardon(town.now + 31)
    town.swarm.check()
    assert not slow.serves


def test_a_late_piece_is_missing_again_and_takes_no_slot() -> None:
    town = Town().knows_what_is_usual()
    piece = town.start("d", town.parents[7])
    town.start("d", town.parents[6])
    member = town.wait("d")
    assert member.level < 0
    town.now += 5.9
    assert list(town.swarm.overdue(town.now)) == []
    town.now += 0.2
    assert list(town.swarm.overdue(town.now)) == [member, member]
    town.swarm.requeue(member)
    town.swarm.check()
    assert member.level >= 0
    assert town.swarm.missing(member) >> piece & 1
    assert list(town.swarm.overdue(town.now)) == []
    town.start("d", town.parents[5], piece)
    assert town.parents[7].up.active == 0
    assert not town.swarm.missing(member) >> piece & 1
    town.land("d", piece)


def test_a_late_piece_may_come_after_all() -> None:
    town = Town().knows_what_is_usual()
    piece = town.start("d", town.parents[7])
    town.now += 7
    assert list(town.swarm.overdue(town.now)) == [town.members["d"]]
    town.land("d", piece)
    assert not town.members["d"].fetching
    assert not town.swarm.missing(town.members["d"]) >> piece & 1


def test_who_would_not_leave_its_parent_is_only_given_more() -> None:
    town = Town().knows_what_is_usual()
    town.swarm.md5_known = (1 << PIECES) - 1
    town.members["v1"] = town.join("v1", form=DigestForm.MD5_WRAPPED)
    piece = town.start("v1", town.parents[7])
    town.now += 7
    assert list(town.swarm.overdue(town.now)) == [town.members["v1"]]
    assert not town.swarm.missing(town.members["v1"]) >> piece & 1
    town.swarm.check()


@pytest.mark.parametrize("alone", ["nobody else has it", "the child is slow"])
def test_a_piece_is_not_late_if_no_other_parent_would_help(alone: str) -> None:
    town = Town().knows_what_is_usual()
    if alone == "the child is slow":
        for _ in range(2):
            town.members["d"].down.learn(USUAL / 50)
    piece = town.start("d", town.parents[7])
    if alone == "nobody else has it":
        for parent in town.parents[:7]:
            town.swarm.drops(parent, piece)
        town.swarm.cdn_holds &= ~(1 << piece)
    town.now += 7
    assert list(town.swarm.overdue(town.now)) == []
    town.swarm.check()


def test_the_supernode_helps_who_waits_for_the_only_peer_that_has_a_piece() -> None:
    town = Town().knows_what_is_usual()
    slow = town.parents[7]
    piece = town.start("d", slow)
    for parent in town.parents[:7]:
        town.swarm.drops(parent, piece)
    town.now += 7
    member = town.wait("d")
    assert list(town.swarm.overdue(town.now)) == [member]
    town.swarm.requeue(member)
    found = town.scheduler.work_for(member, town.now)
    assert found is not None
    assert (found.piece, found.parent) == (piece, None)


def test_a_late_piece_is_no_copy_until_it_is_there() -> None:
    town = Town().knows_what_is_usual()
    piece, copies = PieceIndex(30), town.swarm.picker.copies
    for name in ("d", "e"):
        town.start(name, town.parents[7], piece)
    assert copies(piece) == len(town.parents) + 2
    town.now += 7
    assert len(list(town.swarm.overdue(town.now))) == 2
    others = len(town.parents) - 1  # the slow one is nobody's parent any more
    assert copies(piece) == others
    town.swarm.check()
    town.land("d", piece)
    assert copies(piece) == others + 1
    town.swarm.give_up(town.members["e"], piece, town.now)
    assert copies(piece) == others + 1
    town.swarm.check()


def test_what_a_hopeless_uplink_still_sends_is_late_at_once() -> None:
    town = Town().knows_what_is_usual()
    slow = town.parents[7]
    town.start("d", slow)
    town.now += 5.5
    town.start("e", slow)
    town.start("f", town.parents[6])
    town.now += 0.6
    assert [member.peer for member in town.swarm.overdue(town.now)] == ["d", "e"]
    assert not slow.serves
    town.swarm.check()


def test_nothing_is_late_where_that_rule_is_left_out() -> None:
    town = Town(Rules(late=False)).knows_what_is_usual()
    town.start("d", town.parents[7])
    assert list(town.swarm.overdue(town.now + 1000)) == []


@pytest.mark.parametrize("behind", [True, False])
def test_among_the_equally_deprived_those_behind_come_first(behind: bool) -> None:
    town = Town(Rules(behind=behind))
    for name, has in (("d", 9), ("e", 3)):
        for piece in range(has):
            town.swarm.holds(town.members[name], PieceIndex(piece))
        town.wait(name)
    first, second = town.members["e"].level, town.members["d"].level
    assert (first < second) is behind


@pytest.mark.parametrize("leads", [True, False])
def test_where_uplinks_differ_a_lead_counts_as_a_run_in_flight(leads: bool) -> None:
    town = Town(Rules(leads=leads)).knows_what_is_usual()
    town.swarm.speeds.is_mixed = True
    for name, has in (("d", 9), ("e", 3)):
        for piece in range(has):
            town.swarm.holds(town.members[name], PieceIndex(piece))
    town.start("e", town.parents[7])
    town.wait("d")
    town.wait("e")
    first, second = town.members["e"].level, town.members["d"].level
    assert (first < second) is leads
    town.swarm.check()


def test_in_files_of_many_pieces_a_long_lead_counts_as_many_runs() -> None:
    town = Town()
    speeds = town.swarm.speeds
    speeds.is_mixed = True
    for piece in range(PIECES - 1):
        town.swarm.holds(town.members["d"], PieceIndex(piece))
    leader, last = town.members["d"], town.members["e"]
    assert (town.swarm.leads(leader), town.swarm.leads(last)) == (1, 0)
    speeds.pieces = 200  # a fiftieth is 4 pieces, and on average they have not quite 10
    assert (town.swarm.leads(leader), town.swarm.leads(last)) == (8, 0)
    speeds.is_mixed = False
    assert town.swarm.leads(leader) == 0


def test_the_supernode_serves_first_those_who_pass_on() -> None:
    town = Town(parents=0)
    town.members["nat"] = town.join("nat", port=0)
    town.wait("nat")
    town.wait("d")
    found = town.scheduler.taker_from(None)
    assert found is not None
    assert found.member is town.members["d"]
    assert town.scheduler.work_for(town.members["nat"], 0.0) is None
    town.start("d", None)
    town.start("d", None)
    assert town.scheduler.work_for(town.members["nat"], 0.0) is not None


def test_nobody_fetches_more_than_it_takes_however_late_it_all_is() -> None:
    town = Town().knows_what_is_usual()
    member = town.wait("d")
    for _ in range(20):
        while (found := town.scheduler.work_for(member, town.now)) is not None:
            town.start("d", found.parent, found.piece)
        town.now += 7
        assert all(one is member for one in town.swarm.overdue(town.now))
        town.swarm.requeue(member)
        town.swarm.check()
    assert len(member.fetching) <= 8


def test_what_is_late_is_slower_than_it_looks() -> None:
    town = Town().knows_what_is_usual()
    parent = town.parents[5]
    town.start("c", parent)
    began = town.now
    while not town.members["c"].late:
        town.now += 0.5
        list(town.swarm.overdue(town.now))
    assert parent.up.rate_bytes_per_s == pytest.approx(500 / (town.now - began))


def test_a_run_takes_one_slot_and_is_measured_at_its_end() -> None:
    town = Town().knows_what_is_usual()
    parent, child = town.parents[5], town.members["d"]
    flight = town.swarm.start(child, parent, parent.peer, town.now)
    for piece in (1, 2, 3):
        offer = PieceOffer(PieceIndex(piece), parent.peer, "x", 1, "/", 1005)
        assert town.swarm.bring(flight, PieceIndex(piece), offer, town.now) is None
    assert (parent.up.active, child.down.active) == (1, 1)
    for piece in (1, 2, 3):
        assert not parent.up.samples
        town.now += 2.0
        town.land("d", PieceIndex(piece))
    assert parent.up.rate_bytes_per_s == pytest.approx(500.0)
    assert (parent.up.active, child.down.active) == (0, 0)


def test_a_short_last_piece_says_nothing_of_its_parent() -> None:
    town = Town().knows_what_is_usual()
    town.swarm.know_all(PieceLayout((PIECES - 1) * 1000 + 1, 1005))
    parent, last = town.parents[5], PIECES - 1
    town.start("d", parent, last)
    town.now += 1.0
    town.land("d", PieceIndex(last))
    assert not parent.up.samples
    town.start("d", parent, 1)
    town.now += 1.0
    town.land("d", PieceIndex(1))
    assert parent.up.rate_bytes_per_s == pytest.approx(USUAL)


def test_a_run_is_not_late_before_news_of_it_is_due() -> None:
    town = Town(pace_s=100.0).knows_what_is_usual()
    parent, child = town.parents[5], town.members["d"]
    flight = town.swarm.start(child, parent, parent.peer, town.now)
    for piece in (1, 2):
        offer = PieceOffer(PieceIndex(piece), parent.peer, "x", 1, "/", 1005)
        town.swarm.bring(flight, PieceIndex(piece), offer, town.now)
    town.now += 99.0
    assert not list(town.swarm.overdue(town.now))
    town.now += 99.0
    assert [member.peer for member in town.swarm.overdue(town.now)] == ["d"]
    assert not child.in_flight
    assert set(child.fetching) == {1, 2}


def test_who_would_take_any_number_of_runs_is_given_no_more_than_others() -> None:
    town = Town()
    member = town.members["d"]
    town.start("d", town.parents[0])
    town.swarm.welcomes(member, 3)
    assert member.most_down_slots == 4
    town.swarm.welcomes(member, 4000)
    assert member.most_down_slots == 8


@pytest.mark.parametrize(
    ("rules", "given", "expected"),
    [
        (Rules(), PIECES * 3 // 2 - 1, True),
        (Rules(), PIECES * 3 // 2, False),
        (Rules(thrift=False), PIECES * 3 // 2, True),
    ],
)
def test_a_supernode_gives_half_a_file_of_second_copies(
    rules: Rules, given: int, expected: bool
) -> None:
    town = Town(rules, parents=1)
    town.swarm.cdn_gave = given
    member = town.wait("d")
    parent = town.parents[0].index
    assert (town.scheduler.taker_from(None) is not None) is expected
    member.shunned = 1 << parent
    found = town.scheduler.work_for(member, town.now)
    assert found is not None, "what it can get nowhere else is given all the same"
    assert found.parent is None


def test_a_supernode_gives_no_second_copy_while_it_reads_the_file() -> None:
    town = Town(parents=1)
    town.swarm.cdn_holds = town.swarm.cdn_holds & ~1
    town.wait("d")
    assert town.scheduler.taker_from(None) is None
    town.swarm.cdn_got(PieceIndex(0))
    assert town.scheduler.taker_from(None) is not None


def test_what_came_of_the_supernode_is_counted_and_first_copies_are_always_given() -> None:
    town = Town(parents=0)
    for name in CHILDREN:
        for piece in range(PIECES // 2):
            town.land(name, town.start(name, None, piece))
    assert town.swarm.cdn_gave == 2 * PIECES
    town.wait("d")
    found = town.scheduler.taker_from(None)
    assert found is not None
    assert found.piece >= PIECES // 2


def test_a_run_in_a_file_of_unknown_length_is_not_measured_on_the_way() -> None:
    swarm = Swarm(Slots(up=2, down=2, cdn_up=20), Rules())
    parent, child = [
        Member(-1, PeerId(name), name, 1, "/", "sn", DigestForm.SHA256, 0.0) for name in "pc"
    ]
    for member in (parent, child):
        swarm.add(member)
    for number in range(2):
        swarm.cdn_got(PieceIndex(number))
        swarm.holds(parent, PieceIndex(number))
    flight = swarm.start(child, parent, parent.peer, 0.0)
    for number in range(2):
        offer = PieceOffer(PieceIndex(number), parent.peer, "p", 1, "/", 1005)
        swarm.bring(flight, PieceIndex(number), offer, 0.0)
    swarm.delivered(child, PieceIndex(0), 1.0, parent.peer)
    swarm.look_at(flight, 1.0)
    assert parent.up.samples == 0
    swarm.check()
