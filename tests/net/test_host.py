"""The task that owns an engine."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import pytest
import trio

from damselfly.net.host import Host

if TYPE_CHECKING:
    from trio.testing import MockClock


class Echo:
    """Repeats each event, and says "tick" every ten seconds while ``ticks`` last."""

    def __init__(self, ticks: int = 0) -> None:
        self.ticks, self.due = ticks, 10.0
        self.checks = 0

    def handle(self, event: str, now: float) -> list[str]:
        return [event, *self.tick(now)]

    def tick(self, now: float) -> list[str]:
        if self.ticks and self.due <= now:
            self.ticks, self.due = self.ticks - 1, now + 10.0
            return ["tick"]
        return []

    def deadline(self) -> float:
        return self.due if self.ticks else inf

    def check(self) -> None:
        self.checks += 1


async def test_events_are_handled_in_order() -> None:
    heard: list[str] = []
    host: Host[str, str] = Host(Echo(), heard.append)
    async with trio.open_nursery() as nursery:
        host.post("before")
        await nursery.start(host.run)
        for number in range(200):
            host.post(str(number))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert heard == ["before", *map(str, range(200))]


async def test_an_effect_may_post_the_next_event() -> None:
    heard: list[str] = []

    def perform(effect: str) -> None:
        heard.append(effect)
        if len(effect) < 4:
            host.post(f"{effect}x")

    host: Host[str, str] = Host(Echo(), perform)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(host.run)
        host.post("x")
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert heard == ["x", "xx", "xxx", "xxxx"]


async def test_what_is_told_while_the_owner_sleeps_is_handled_at_once() -> None:
    heard: list[str] = []
    host: Host[str, str] = Host(Echo(), heard.append)
    async with trio.open_nursery() as nursery:
        host.tell("early")
        assert heard == []
        await nursery.start(host.run)
        host.tell("before its first sleep")
        await trio.testing.wait_all_tasks_blocked()
        assert heard == ["early", "before its first sleep"]
        host.tell("now")
        assert heard[2:] == ["now"]
        host.post("later")
        host.tell("behind it")
        assert heard[3:] == []
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert heard[3:] == ["later", "behind it"]


async def test_a_deadline_that_comes_nearer_by_what_is_told_is_kept(
    autojump_clock: MockClock,
) -> None:
    class Hurried(Echo):
        def handle(self, event: str, now: float) -> list[str]:
            self.ticks, self.due = 1, now + float(event)
            return []

    heard: list[float] = []
    host: Host[str, str] = Host(Hurried(), lambda _tick: heard.append(trio.current_time()))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(host.run)
        await trio.sleep(1)
        host.tell("9")
        host.tell("3")
        await trio.sleep(50)
        nursery.cancel_scope.cancel()
    assert heard == [4.0]


async def test_it_ticks_at_the_engines_deadline(autojump_clock: MockClock) -> None:
    heard: list[tuple[float, str]] = []
    host: Host[str, str] = Host(
        Echo(ticks=3), lambda effect: heard.append((trio.current_time(), effect))
    )
    with trio.move_on_after(100):
        await host.run()
    assert heard == [(10.0, "tick"), (20.0, "tick"), (30.0, "tick")]


async def test_every_call_is_recorded_and_checked() -> None:
    records: list[tuple[str | None, list[object]]] = []
    engine = Echo()
    host: Host[str, str] = Host(
        engine,
        lambda _effect: None,
        record=lambda _now, event, effects: records.append((event, list(effects))),
        paranoid=True,
    )
    with trio.move_on_after(0.05):
        host.post("a")
        await host.run()
    assert records == [(None, []), ("a", ["a"])]
    assert engine.checks == 2


async def test_a_bug_in_an_engine_ends_the_host() -> None:
    class Broken(Echo):
        def check(self) -> None:
            raise AssertionError("an invariant")

    with pytest.raises(AssertionError, match="an invariant"):
        await Host(Broken(), lambda _effect: None, paranoid=True).run()


async def test_a_bug_that_shows_in_what_is_told_ends_the_host_and_not_the_teller() -> None:
    class Fragile(Echo):
        def handle(self, event: str, now: float) -> list[str]:
            raise AssertionError(f"cannot take {event}")

    host: Host[str, str] = Host(Fragile(), lambda _effect: None)

    async def tell() -> None:
        await trio.testing.wait_all_tasks_blocked()
        host.tell("this")
        host.tell("that")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell)
        with pytest.raises(AssertionError, match="cannot take this"):
            await host.run()
