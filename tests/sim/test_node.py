from __future__ import annotations

from math import inf

import pytest

from damselfly.sim.node import Node
from damselfly.sim.world import World


class Alarm:
    """An engine with one deadline, which events move; each tick at it is an effect."""

    def __init__(self) -> None:
        self.due = inf
        self.checks = 0

    def handle(self, event: float, now: float) -> list[str]:
        self.due = event
        return [f"set {event:g} at {now:g}", *self.tick(now)]

    def tick(self, now: float) -> list[str]:
        if now < self.due:
            return []
        self.due = inf
        return [f"rang at {now:g}"]

    def deadline(self) -> float:
        return self.due

    def check(self) -> None:
        self.checks += 1


class Stuck(Alarm):
    def tick(self, now: float) -> list[str]:
        return []


def build(engine: Alarm, *, paranoid: bool = False) -> tuple[World, Node[float, str], list[str]]:
    world, done = World(0), list[str]()
    watched: list[tuple[float, str, object, object]] = []

    def watch(now: float, name: str, event: object, effects: object) -> None:
        watched.append((now, name, event, effects))

    node = Node(world, "a", engine, done.append, watch, paranoid=paranoid)
    return world, node, done


def test_the_engine_is_ticked_at_its_deadline() -> None:
    world, node, done = build(Alarm())
    world.at(1.0, node.handle, 1.5)
    world.run(10)
    assert done == ["set 1.5 at 1", "rang at 1.5"]


def test_a_deadline_that_moves_out_is_met_once_and_late() -> None:
    world, node, done = build(Alarm())
    for when in (0.0, 1.0, 2.0):
        world.at(when, node.handle, when + 3)
    world.run(10)
    assert done == ["set 3 at 0", "set 4 at 1", "set 5 at 2", "rang at 5"]


def test_a_deadline_that_moves_in_is_met_early_and_once() -> None:
    world, node, done = build(Alarm())
    world.at(0.0, node.handle, 5.0)
    world.at(1.0, node.handle, 2.0)
    world.run(10)
    assert done == ["set 5 at 0", "set 2 at 1", "rang at 2"]


def test_a_deadline_taken_back_never_rings() -> None:
    world, node, done = build(Alarm())
    world.at(0.0, node.handle, 5.0)
    world.at(1.0, node.handle, inf)
    world.run(10)
    assert done == ["set 5 at 0", "set inf at 1"]


def test_a_crashed_node_hears_and_does_nothing() -> None:
    world, node, done = build(Alarm())
    world.at(0.0, node.handle, 5.0)
    world.at(1.0, lambda _: node.crash(), None)
    world.at(2.0, node.handle, 3.0)
    world.run(10)
    assert done == ["set 5 at 0"]


def test_a_paranoid_node_checks_after_every_call() -> None:
    engine = Alarm()
    world, node, _ = build(engine, paranoid=True)
    world.at(0.0, node.handle, 1.0)
    world.run(10)
    assert engine.checks == 2


def test_an_engine_that_breaks_the_law_of_progress_is_caught() -> None:
    world, node, _ = build(Stuck())
    world.at(1.0, node.handle, 2.0)
    with pytest.raises(AssertionError, match=r"a: deadline 2\.0 is not after 2\.0"):
        world.run(10)
