"""Policies by name, and Dragonfly's, rule by rule."""

from __future__ import annotations

from random import Random

import pytest

from damselfly.engine.config import SupernodeConfig
from damselfly.engine.errors import ConfigError
from damselfly.engine.ids import ExchangeId, PeerId, PieceIndex, TaskId, cdn_peer_id
from damselfly.engine.members import Member
from damselfly.engine.messages import PieceOffer
from damselfly.engine.piece import DigestForm, PieceLayout
from damselfly.engine.policies import make_policy, most_slots
from damselfly.engine.rules import POLICY_NAMES, RULES, Slots

PIECES = 8


def join(policy_name: str = "dragonfly-v1", **holdings: str) -> Town:
    return Town(policy_name, holdings)


class Town:
    """A policy and its swarm; '#' is a piece held."""

    def __init__(self, policy: str, holdings: dict[str, str]) -> None:
        self.policy = make_policy(SupernodeConfig(policy=policy), Random(1))
        self.swarm = self.policy.swarm
        for piece in range(PIECES):
            self.swarm.cdn_got(PieceIndex(piece))
        self.swarm.know_all(PieceLayout(PIECES * 100, 105))
        self.members = {name: self._member(name, has) for name, has in holdings.items()}

    def work_for(self, name: str, now: float = 0.0) -> list[tuple[int, str | None]]:
        """Return all that one pull of this member brings."""
        member = self.members[name]
        member.exchange = ExchangeId(1)
        self.swarm.requeue(member)
        given: list[tuple[int, str | None]] = []
        while (found := self.policy.work_for(member, now)) is not None:
            offer = PieceOffer(found.piece, PeerId("x"), "x", 1, "/", 105)
            flight = self.swarm.start(member, found.parent, offer.parent, now)
            self.swarm.bring(flight, found.piece, offer, now)
            self.swarm.requeue(member)
            given.append((found.piece, found.parent.peer if found.parent else None))
        self.swarm.check()
        return given

    def got(self, name: str, piece: int, now: float = 0.0, *, from_cdn: bool = True) -> None:
        member = self.members[name]
        self.swarm.delivered(member, PieceIndex(piece), now)
        parent = cdn_peer_id("192.0.2.1", TaskId("t")) if from_cdn else PeerId("10.0.0.9-1-0.1")
        self.policy.reported(member, parent, now)

    def _member(self, name: str, has: str) -> Member:
        made = Member(-1, PeerId(name), name, 1, "/", "sn", DigestForm.SHA256, 0.0)
        self.swarm.add(made)
        for piece, mark in enumerate(has):
            if mark == "#":
                self.swarm.holds(made, PieceIndex(piece))
        return made


@pytest.mark.parametrize("name", ["", "fastest", "damselfly-no-luck", "dragonfly-v1-no-late"])
def test_an_unknown_policy_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(ConfigError, match=r"policy is '.*': expected .*(rarest|late)"):
        SupernodeConfig(policy=name)


@pytest.mark.parametrize("name", [*POLICY_NAMES, *[f"damselfly-no-{rule}" for rule in RULES]])
def test_every_policy_gives_work(name: str) -> None:
    town = join(name, a="########", b="")
    given = town.work_for("b")
    assert len(given) == (4 if name == "dragonfly-v1" else 2)
    assert len({piece for piece, _ in given}) == len(given)


def test_sequential_goes_from_the_front() -> None:
    assert join("sequential", a="########", b="##").work_for("b") == [(2, "a"), (3, "a")]


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("rarest", Slots(3, 2, 9)),
        ("dragonfly-v1", Slots(5, 4, 4)),
        ("damselfly-no-late", Slots(30, 8, 9)),
    ],
)
def test_most_slots(name: str, most: Slots) -> None:
    assert most_slots(name, Slots(3, 2, 9)) == most


# --- Dragonfly 1.0.6 ------------------------------------------------------------------------------


def test_dragonfly_gives_four_pieces_a_pull_of_which_fewest_peers_have() -> None:
    town = join(a="######..", b="####....", c="##......", d="")
    given = town.work_for("d")
    assert {piece for piece, _ in given[:2]} == {6, 7}
    assert {piece for piece, _ in given[2:]} == {4, 5}
    assert [parent for _, parent in given] == [None, None, "a", "a"]
    assert town.work_for("d") == []


def test_dragonfly_prefers_pieces_next_to_what_is_running() -> None:
    town = join(a="")
    pieces = [piece for piece, _ in town.work_for("a")]
    first = pieces[0]
    assert all(abs(piece - first) <= 4 for piece in pieces)
    assert abs(pieces[1] - first) == 1


def test_dragonflys_supernode_sends_four_pieces_over_all_clients() -> None:
    town = join(a="", b="")
    assert len(town.work_for("a")) == 4
    assert town.work_for("b") == []


def test_dragonflys_supernode_counts_only_reports_until_its_load_stands_still() -> None:
    town = join(a="", b="", c="")
    given = town.work_for("a")
    town.got("a", given[0][0], 1.0)
    assert len(town.work_for("b", 1.0)) == 2  # what "a" has, and one of the supernode
    member = town.members["a"]
    town.swarm.give_up(member, PieceIndex(given[1][0]), 2.0)
    town.policy.failed(member)
    assert [parent for _, parent in town.work_for("c", 3.0)] == ["a"]
    assert None in [parent for _, parent in town.work_for("c", 31.0)]


def test_dragonflys_peer_sends_five_pieces_at_once() -> None:
    town = join(a="########", b="", c="")
    assert [parent for _, parent in town.work_for("b")] == ["a"] * 4
    assert [parent for _, parent in town.work_for("c")].count("a") == 1


def test_dragonfly_sends_who_failed_too_often_to_the_supernode_only() -> None:
    town = join(a="########", b="")
    member = town.members["b"]
    for _ in range(6):
        town.policy.failed(member)
    assert [parent for _, parent in town.work_for("b")] == [None] * 4
    town.got("b", next(iter(member.fetching)))
    assert [parent for _, parent in town.work_for("b")] == ["a"]


def test_dragonfly_serves_nobody_unasked() -> None:
    town = join(a="########", b="")
    town.members["b"].exchange = ExchangeId(1)
    town.swarm.requeue(town.members["b"])
    assert town.policy.taker_from(town.members["a"]) is None
    assert town.policy.last_resort(town.members["b"]) is None
