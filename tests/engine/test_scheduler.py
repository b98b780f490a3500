"""The default policy, asked about small swarms."""

from __future__ import annotations

from random import Random

import pytest

from damselfly.engine.ids import ExchangeId, PeerId, PieceIndex
from damselfly.engine.members import Member
from damselfly.engine.messages import PieceOffer
from damselfly.engine.orders import RarestFirst
from damselfly.engine.piece import DigestForm, PieceLayout
from damselfly.engine.rules import Slots
from damselfly.engine.scheduler import Scheduler
from damselfly.engine.swarm import Swarm

A, B, C = "abc"
PIECE = 1000


class Town:
    """A swarm drawn as pictures: which pieces each member holds, '#' held, '.' missing."""

    def __init__(self, cdn: str, *, rare: int = 1, cdn_slots: int = 20, **holdings: str) -> None:
        self.swarm = Swarm(Slots(up=2, down=2, cdn_up=cdn_slots))
        for piece, mark in enumerate(cdn):
            if mark == "#":
                self.swarm.cdn_got(PieceIndex(piece))
        self.swarm.know_all(PieceLayout(len(cdn) * PIECE, PIECE + 5))
        self.members = {name: self.join(name, has) for name, has in holdings.items()}
        rng = Random(7)
        order = RarestFirst(self.swarm.picker, rng)
        self.scheduler = Scheduler(self.swarm, order, rare, rng)

    def with_crowd(self, count: int, has: str) -> Town:
        for number in range(count):
            self.members[f"p{number}"] = self.join(f"p{number}", has)
        return self

    def join(self, name: str, has: str, port: int = 20000) -> Member:
        member = Member(
            index=-1,
            peer=PeerId(name),
            host=name,
            port=port,
            path="/",
            node_host="sn",
            digest_form=DigestForm.SHA256,
            seen_at=0.0,
        )
        self.swarm.add(member)
        for piece, mark in enumerate(has):
            if mark == "#":
                self.swarm.holds(member, PieceIndex(piece))
        return member

    def wait(self, name: str) -> Member:
        member = self.members[name]
        member.exchange = ExchangeId(member.index)
        self.swarm.requeue(member)
        return member

    def start(self, name: str, piece: int, parent: str | None) -> None:
        member = self.members[name]
        source = self.members[parent] if parent else None
        index = PieceIndex(piece)
        offer = PieceOffer(index, PeerId(parent or "cdn"), "x", 1, "/", 1 << 20)
        flight = self.swarm.start(member, source, offer.parent, 0.0)
        self.swarm.bring(flight, index, offer, 0.0)
        self.swarm.requeue(member)

    def work_for(self, name: str) -> tuple[int, str | None] | None:
        found = self.scheduler.work_for(self.wait(name), 0.0)
        self.swarm.check()
        if found is None:
            return None
        assert found.member.peer == name
        return found.piece, found.parent.peer if found.parent else None

    def taker_from(self, name: str | None) -> tuple[str, int] | None:
        parent = self.members[name] if name else None
        found = self.scheduler.taker_from(parent)
        self.swarm.check()
        if found is None:
            return None
        assert found.parent is parent
        return found.member.peer, found.piece


def test_a_peer_is_preferred_to_the_supernode() -> None:
    town = Town("#", a="#", b=".")
    assert town.work_for(B) == (0, A)


def test_the_supernode_gives_what_nobody_else_has() -> None:
    town = Town("##", a="..", b="..")
    town.start(A, 0, None)
    assert town.work_for(B) == (1, None)


def test_the_supernode_gives_no_common_piece() -> None:
    town = Town("#", a="#", b="#", c=".", d=".", e=".", f=".", g=".")
    for taker, parent in (("d", A), ("e", A), ("f", B), ("g", B)):
        town.start(taker, 0, parent)
    assert town.work_for(C) is None


def test_rarest_first() -> None:
    town = Town("###", a="###", b="##.", c="...")
    assert town.work_for(C) == (2, A)


def test_the_least_loaded_parent() -> None:
    town = Town("##", a="##", b="##", c="..", d="..")
    town.start("d", 1, A)
    assert town.work_for(C) in ((0, B), (1, B))


def test_nobody_takes_from_itself_or_from_whom_it_shuns() -> None:
    town = Town("..", a="#.", b=".#")
    assert town.work_for(A) == (1, B)
    town.members[A].shunned = 1 << town.members[B].index
    assert town.work_for(A) is None


def test_a_piece_held_only_by_the_shunned_comes_from_the_supernode() -> None:
    town = Town("#", rare=0, a="#", b=".")
    town.members[B].shunned = 1 << town.members[A].index
    assert town.work_for(B) == (0, None)


@pytest.mark.parametrize(("most", "run"), [(1, [0]), (2, [0, 1]), (9, [*range(9)])])
def test_a_run_for_who_reads_in_order_begins_there(most: int, run: list[int]) -> None:
    town = Town("#" * 12, a="#" * 12, c="." * 12)
    town.members[C].wanted = PieceIndex(0)
    found = [*town.scheduler.continue_run(town.members[C], town.members[A], most)]
    assert len(found) == most
    assert found[:8] == run[:8]


def test_who_reads_in_order_gets_its_next_piece_and_then_the_rarest() -> None:
    town = Town("######", a="######", b="#####.", c="#.....")
    town.members[C].wanted = PieceIndex(2)
    assert town.work_for(C) in ((2, A), (2, B))
    town.start(C, 2, A)
    assert town.work_for(C) == (5, A)
    assert town.taker_from(A) == (C, 5)


@pytest.mark.parametrize("parent", [B, None])
def test_who_reads_in_order_while_nobody_else_fetches_gets_all_in_order(parent: str | None) -> None:
    town = Town("######", a="#.....", b="######") if parent else Town("######", a="#.....")
    town.members[A].wanted = PieceIndex(0)
    for piece in (1, 2):
        assert town.work_for(A) == (piece, parent)
        town.start(A, piece, parent)


def test_who_reads_in_order_in_a_crowd() -> None:
    town = Town("####", a="....").with_crowd(20, "####")
    town.members[A].wanted = PieceIndex(1)
    found = town.work_for(A)
    assert found is not None
    assert found[0] == 1


@pytest.mark.parametrize("wanted", [6, 7, 10**17])
def test_who_reads_beyond_the_end_is_served_like_others(wanted: int) -> None:
    town = Town("######", a="######", b="#####.")
    town.members[B].wanted = PieceIndex(wanted)
    assert town.work_for(B) == (5, A)


def test_what_is_not_soon_is_not_urgent() -> None:
    town = Town("." * 9 + "##", a="." * 10 + "#", b="." * 11)
    town.members[B].wanted = PieceIndex(0)
    assert town.work_for(B) == (9, None), "the rarest, since nothing of the next eight is there"


def test_the_freed_uplink_serves_the_most_deprived() -> None:
    town = Town("....", a="####", b="#...", c="....")
    town.wait(B)
    town.wait(C)
    found = town.taker_from(A)
    assert found is not None
    assert found[0] == C
    town.start(C, 0, A)
    town.start(C, 1, None)
    found = town.taker_from(A)
    assert found is not None
    assert found[0] == B


def test_no_taker_without_waiting_members_or_free_slots() -> None:
    town = Town("##", a="##", b="..", c="..")
    assert town.taker_from(A) is None
    town.start(B, 0, A)
    town.start(C, 0, A)
    town.wait(B)
    assert town.taker_from(A) is None
    assert town.taker_from(C) is None


def test_the_supernode_has_slots_too() -> None:
    town = Town("##", cdn_slots=1, a="..", b="..")
    town.start(A, 0, None)
    town.wait(B)
    assert town.taker_from(None) is None
    assert town.work_for(B) is None


def test_the_supernode_offers_rare_pieces_to_who_waits() -> None:
    town = Town("##", a="..", b="..")
    town.wait(B)
    found = town.taker_from(None)
    assert found is not None
    assert found[0] == B


def test_full_download_slots_are_not_filled_again() -> None:
    town = Town("###", a="###", b="...")
    town.start(B, 0, A)
    town.start(B, 1, A)
    assert town.work_for(B) is None


def test_port_zero_is_never_a_parent() -> None:
    town = Town("#", b=".")
    town.members["z"] = town.join("z", "#", port=0)
    assert town.work_for(B) == (0, None)


@pytest.mark.parametrize("uplinks", [3, 30])
def test_many_uplinks_and_few_are_asked_alike(uplinks: int) -> None:
    town = Town("####", rare=0, z="...#").with_crowd(uplinks, "####")
    found = town.work_for("z")
    assert found is not None
    assert found[0] in (0, 1, 2)
    assert found[1] is not None


def test_with_many_uplinks_the_supernode_still_gives_what_is_rare() -> None:
    town = Town("##", z="#.").with_crowd(30, "#.")
    assert town.work_for("z") == (1, None)
    town = Town("#.", z="#.").with_crowd(30, "#.")
    assert town.work_for("z") is None


def test_a_long_search_ends() -> None:
    common = "#" + "." * 99
    town = Town("." * 100, z=common).with_crowd(30, common)
    assert town.work_for("z") is None
