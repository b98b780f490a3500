"""Peers that end or hang up: what they fetched is free for others, and nothing goes to them."""

from __future__ import annotations

import pytest

from damselfly.engine.events import Dropped
from damselfly.engine.ids import ExchangeId, PeerId
from damselfly.engine.messages import Acknowledged, Code, Refused, ReportMetrics

from .test_supernode import TASK, Supernode


def metrics(peer: str, *, success: bool) -> ReportMetrics:
    return ReportMetrics(TASK, PeerId(peer), "10.0.0.1", 20000, success, 1.0, -1)


def children(node: Supernode) -> set[str]:
    return {flight.child for flight in node.supernode.in_flight()}


@pytest.mark.parametrize("success", [True, False])
def test_a_download_that_is_over_fetches_nothing(success: bool) -> None:
    node = Supernode(cdn_up_slots=2)
    node.warm(2, "a", "b")
    node.pull(0.1, "a")
    held = node.pull(0.2, "a")
    assert children(node) == {"a"}
    waiting = node.pull(0.3, "b")
    assert node.asked(0.4, metrics("a", success=success)) == Acknowledged()
    assert children(node) == {"b"}
    assert node.offers(waiting)
    reply = node.answers[held]
    assert isinstance(reply, Refused)
    assert reply.code is Code.PEER_WAIT


def test_who_hangs_up_does_not_get_what_it_gives_up() -> None:
    node = Supernode(cdn_up_slots=1)
    node.warm(4, "a")
    node.pull(0.1, "a")
    held = node.pull(0.2, "a")
    assert children(node) == {"a"}
    node.at(0.3, Dropped(ExchangeId(held)))
    assert children(node) == set()


def test_word_of_the_end_of_an_unknown_download_is_taken() -> None:
    node = Supernode()
    assert node.asked(0.0, metrics("a", success=True)) == Acknowledged()
    node.warm(1, "b")
    assert node.asked(0.1, metrics("a", success=True)) == Acknowledged()


def test_a_pull_that_the_end_has_overtaken_gets_nothing() -> None:
    node = Supernode()
    node.warm(2, "a")
    node.asked(0.1, metrics("a", success=False))
    reply = node.answers[node.pull(0.2, "a")]
    assert isinstance(reply, Refused)
    assert reply.code is Code.PEER_WAIT
    node.join(0.3, "a")
    assert node.offers(node.pull(0.4, "a"))
