from __future__ import annotations

from typing import TYPE_CHECKING

from damselfly.sim.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_calls_come_in_order_of_time_and_then_of_asking() -> None:
    world = World(0)
    seen: list[tuple[float, str]] = []

    def note(what: str) -> None:
        seen.append((world.now, what))

    world.at(2.0, note, "late")
    world.at(1.0, note, "first")
    world.at(1.0, note, "second")
    world.after(0.5, note, "early")
    assert not world.run(10.0)
    assert seen == [(0.5, "early"), (1.0, "first"), (1.0, "second"), (2.0, "late")]
    assert world.now == 10.0


def test_a_call_asked_for_while_another_runs_happens_in_its_turn() -> None:
    world = World(0)
    seen: list[tuple[float, int]] = []

    def chain(left: int) -> None:
        seen.append((world.now, left))
        if left:
            world.after(0.1 if left % 2 else 0.0, chain, left - 1)

    world.at(1.0, chain, 3)
    world.at(1.0, chain, 0)
    world.run(5.0)
    assert [left for _, left in seen] == [3, 0, 2, 1, 0]
    assert [when for when, _ in seen] == [1.0, 1.0, 1.1, 1.1, 1.1 + 0.1]


def test_time_never_runs_backwards_and_a_past_moment_means_now() -> None:
    world = World(0)
    seen: list[float] = []
    world.at(3.0, lambda _: world.at(1.0, lambda _: seen.append(world.now), None), None)
    world.run(5.0)
    assert seen == [3.0]


def test_every_call_happens_at_exactly_the_time_asked_for() -> None:
    # Delays that rounding would carry past or short of the moment they were computed from.
    world = World(0)
    wanted = [n / 7 + n * n * 1e-3 for n in range(1, 200)]
    seen: list[float] = []
    for when in wanted:
        world.at(when, lambda _: seen.append(world.now), None)
    world.run(1000.0)
    assert seen == sorted(wanted)


def test_stories_pause_between_their_acts_and_share_the_clock() -> None:
    world = World(0)
    acts: list[float] = []

    def story() -> Iterator[float]:
        for pause in (0.25, 0.5):
            acts.append(world.now)
            yield pause
        acts.append(world.now)
        world.after(0.25, lambda _: acts.append(world.now), None)

    world.play(story())
    world.run(5.0)
    assert acts == [0.0, 0.25, 0.75, 1.0]


def test_stop_ends_the_run_where_it_is() -> None:
    world = World(0)
    seen: list[float] = []
    world.at(1.0, World.stop, world)
    world.at(1.0, World.stop, world)
    world.at(2.0, seen.append, 2.0)
    assert world.run(5.0)
    assert world.now == 1.0
    assert not seen


def test_streams_are_named_and_leave_each_other_alone() -> None:
    one, two = World(7), World(7)
    two.rng("somebody else").random()
    assert [one.rng("a").random() for _ in range(2)] == [two.rng("a").random() for _ in range(2)]
    assert one.rng("a").random() != one.rng("b").random()
    assert World(8).rng("a").random() != one.rng("a").random()
