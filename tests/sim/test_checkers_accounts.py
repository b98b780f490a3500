"""What the supernode believes of uplinks, against what is under way."""

from __future__ import annotations

import pytest

from damselfly.engine.effects import Answer, ForgetTask
from damselfly.engine.events import Dropped, ExchangeFailed, PieceFailed, Requested
from damselfly.engine.events import FetchFailure as Failure
from damselfly.engine.ids import ExchangeId, FetchId
from damselfly.engine.messages import Code, Refused

from .checking import PIECES, SUPERNODE, TASK, Bench, pull, register, says

BELIEF = ("a", PIECES[0], "b")


def at(bench: Bench, now: float) -> None:
    """Let the checkers compare at this moment."""
    bench.now = now
    bench.does(SUPERNODE, None)


def fetching() -> Bench:
    """Return a bench on which a gets a piece from b, known to the supernode."""
    bench = Bench(message_loss=0.01)
    bench.joins("a", "b")
    bench.fetches("a", 1, "b")
    bench.beliefs = [BELIEF]
    at(bench, 0.1)
    return bench


def test_a_belief_may_last_until_messages_are_through() -> None:
    bench = fetching()
    bench.does("a", PieceFailed(FetchId(1), Failure.SHORT, ""))
    at(bench, 1.0)
    at(bench, 5.0)
    bench.beliefs = []
    at(bench, 6.0)
    bench.beliefs = [BELIEF]
    at(bench, 10.0)
    with bench.objects("Accounts", r"a fetches piece 0 from b, which it has not .* 10\.000 s"):
        at(bench, 16.9)


def test_where_no_message_is_lost_it_may_not_last_so_long() -> None:
    bench = Bench(control_latency_s=0.1)
    bench.joins("a", "b")
    bench.beliefs = [BELIEF]
    at(bench, 1.0)
    at(bench, 3.9)
    with bench.objects("Accounts", r"which it has not done since 1\.000 s"):
        at(bench, 4.1)


@pytest.mark.parametrize("dead", [True, False])
def test_peers_that_are_lost_are_believed_in_for_longer(dead: bool) -> None:
    bench = fetching()
    if dead:
        bench.checkers.crashed("a")
    else:
        bench.does("a", ExchangeFailed(ExchangeId(1), ""))
        bench.does("a", PieceFailed(FetchId(1), Failure.SHORT, ""))
    at(bench, 1.0)
    at(bench, 30.0)
    with bench.objects("Accounts", "which it has not done"):
        at(bench, 45.0)


def test_the_last_belief_is_none() -> None:
    bench = Bench()
    bench.beliefs = [BELIEF]
    with bench.objects("Accounts", "believes at the end that a fetches piece 0 from b"):
        bench.checkers.ended(1.0)
    bench.does("a", ExchangeFailed(ExchangeId(1), ""))
    bench.checkers.ended(1.0)


def forgotten() -> Bench:
    bench = fetching()
    bench.does("a", None, says(2, pull("a")))
    bench.beliefs = []
    return bench


def test_what_is_under_way_must_be_known() -> None:
    bench = forgotten()
    at(bench, 1.0)
    with bench.objects("Accounts", r"no supernode has known since 1\.000 s that a fetches piece 0"):
        at(bench, 7.9)


@pytest.mark.parametrize("how", ["dropped", "registered", "parent", "died", "forgot", "trouble"])
def test_what_is_lost_may_be_forgotten(how: str) -> None:
    bench = forgotten()
    match how:
        case "dropped":
            bench.does(SUPERNODE, Requested(ExchangeId(7), pull("a")))
            bench.does(SUPERNODE, Dropped(ExchangeId(7)))
        case "registered" | "parent":
            peer = "a" if how == "registered" else "b"
            no = Answer(ExchangeId(8), Refused(Code.SYSTEM_ERROR))
            bench.does(SUPERNODE, Requested(ExchangeId(8), register(peer)), no)
        case "died":
            bench.checkers.crashed(SUPERNODE)
        case "forgot":
            bench.does(SUPERNODE, None, ForgetTask(TASK))
        case _:
            bench.does("a", ExchangeFailed(ExchangeId(2), ""))
    at(bench, 1.0)
    at(bench, 8.0)


def test_who_is_silent_may_be_forgotten() -> None:
    bench = fetching()
    at(bench, 15.0)
    bench.beliefs = []
    at(bench, 16.0)
    at(bench, 30.0)
