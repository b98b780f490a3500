"""Several downloads of one host under one total limit; the clock is trio's own, set by hand."""

from __future__ import annotations

from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING, Final

import pytest
import trio

from damselfly.engine.ids import ExchangeId
from damselfly.engine.peer_server import PeerServerEngine
from damselfly.engine.uploads import (
    CheckRequested,
    PeerServerEffect,
    PeerServerEvent,
    RequestDropped,
    Respond,
    ShareRequested,
    UploadPolicy,
)
from damselfly.net.host import Host
from damselfly.net.peer_launch import PeerServerRefused
from damselfly.net.share import ROUND_S, DownloadLimit

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from trio.testing import MockClock

TOTAL: Final = 4_000_000
BLOCK: Final = 64 << 10


class Server:
    """The peer server as dfgets see it, without the network between; notes who asked when."""

    def __init__(self) -> None:
        engine = PeerServerEngine(UploadPolicy(data_dir="/data", version="1", survey_s=1e6))
        self.host = Host[PeerServerEvent, PeerServerEffect](engine, self._perform, paranoid=True)
        self.asked: dict[str, list[float]] = {}
        self._exchanges = map(ExchangeId, count(1))
        self._waiting: dict[ExchangeId, trio.Event] = {}
        self._shares: dict[ExchangeId, int] = {}

    def share_of(self, name: str) -> Callable[[int, int], Awaitable[int]]:
        """Announce a download, and return how it asks."""
        self.host.post(CheckRequested(next(self._exchanges), name, "/data", str(TOTAL)))

        async def ask(wanted: int, taken: int) -> int:
            self.asked.setdefault(name, []).append(trio.current_time())
            exchange = next(self._exchanges)
            answered = self._waiting[exchange] = trio.Event()
            self.host.post(ShareRequested(exchange, name, str(wanted), str(taken)))
            try:
                await answered.wait()
            except trio.Cancelled:
                self.host.post(RequestDropped(exchange))
                raise
            return self._shares.pop(exchange)

        return ask

    def _perform(self, effect: PeerServerEffect) -> None:
        if isinstance(effect, Respond) and effect.exchange in self._waiting:
            assert effect.status == 200, effect
            self._shares[effect.exchange] = int(effect.text)
            self._waiting.pop(effect.exchange).set()


@asynccontextmanager
async def serving() -> AsyncGenerator[tuple[Server, trio.Nursery]]:
    """Give a server, and a nursery whose tasks are waited for."""
    server = Server()
    async with trio.open_nursery() as around:
        await around.start(server.host.run)
        async with trio.open_nursery() as nursery:
            yield server, nursery
        around.cancel_scope.cancel()


class Download:
    """Takes all that its limit allows, from ``begin_s`` until ``end_s``."""

    def __init__(self, server: Server, name: str, wanted: int = TOTAL) -> None:
        self.limit = DownloadLimit(wanted, server.share_of(name))
        self.came: list[tuple[float, int]] = []

    async def run(self, begin_s: float, end_s: float) -> None:
        """Leave as a dfget does whose pieces have all come."""
        await trio.sleep_until(begin_s)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.limit.run)
            await self._take(end_s)
            self.limit.leave()

    async def run_and_die(self, begin_s: float, end_s: float) -> None:
        await trio.sleep_until(begin_s)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.limit.run)
            await self._take(end_s)
            nursery.cancel_scope.cancel()

    async def _take(self, end_s: float) -> None:
        pace = self.limit.pace
        assert pace is not None
        with trio.move_on_at(end_s):
            while True:
                await pace(BLOCK)
                self.came.append((trio.current_time(), BLOCK))

    def bytes_between(self, begin_s: float, end_s: float) -> int:
        return sum(size for when, size in self.came if begin_s <= when < end_s)


def came_between(downloads: list[Download], begin_s: float, end_s: float) -> int:
    return sum(download.bytes_between(begin_s, end_s) for download in downloads)


@pytest.mark.parametrize("dies", [False, True])
async def test_two_downloads_take_the_total_and_no_more(
    dies: bool, autojump_clock: MockClock
) -> None:
    async with serving() as (server, nursery):
        first, second = Download(server, "first"), Download(server, "second")
        nursery.start_soon(first.run, 0.5, 40.0)
        nursery.start_soon(second.run_and_die if dies else second.run, 10.0, 31.3)
    for half in range(2, 78):  # also across 10 s and 31.3 s, when the second joins and leaves
        begin_s = half / 2
        came = came_between([first, second], begin_s, begin_s + 1)
        assert came == pytest.approx(TOTAL, rel=0.05), f"from {begin_s} s"
    assert came_between([first, second], 1, 39) == pytest.approx(38 * TOTAL, rel=0.005)
    assert second.bytes_between(10, 30) == pytest.approx(10 * TOTAL, rel=0.01)


async def test_many_join_and_leave_one_after_the_other(autojump_clock: MockClock) -> None:
    async with serving() as (server, nursery):
        downloads = [Download(server, str(number)) for number in range(5)]
        for number, download in enumerate(downloads):
            nursery.start_soon(download.run, 0.1 + 0.5 * number, 10.0 + 2.0 * number)
    for begin_s in range(1, 17):
        came = came_between(downloads, begin_s, begin_s + 1)
        assert came == pytest.approx(TOTAL, rel=0.05), f"from {begin_s} s"
    for download in downloads:
        assert download.bytes_between(3, 10) == pytest.approx(7 * TOTAL / 5, rel=0.05)


async def test_there_is_room_for_small_wishes_at_once(autojump_clock: MockClock) -> None:
    async with serving() as (server, nursery):
        small = Download(server, "small", TOTAL // 8)
        other = Download(server, "other", TOTAL // 2)
        nursery.start_soon(other.run, 0.0, 9.0)
        nursery.start_soon(small.run, 1.0, 9.0)
    assert small.came[0][0] == 1.0, "nobody has to give way"
    assert small.bytes_between(2, 8) == pytest.approx(6 * TOTAL / 8, rel=0.05)
    assert other.bytes_between(2, 8) == pytest.approx(3 * TOTAL, rel=0.05)


async def test_what_nobody_takes_yet_the_others_have(autojump_clock: MockClock) -> None:
    async with serving() as (server, nursery):
        first, idle = Download(server, "first"), Download(server, "idle")
        nursery.start_soon(first.run, 0.0, 10.0)
        nursery.start_soon(idle.limit.run)
        await trio.sleep(10.0)
        idle.limit.leave()
    assert first.bytes_between(0, 10) == pytest.approx(10 * TOTAL, rel=0.01)
    assert "idle" not in server.asked


async def test_a_server_that_holds_no_questions_is_asked_once_a_round(
    autojump_clock: MockClock,
) -> None:
    asked: list[tuple[float, int]] = []

    async def answer(wanted: int, taken: int) -> int:
        asked.append((trio.current_time(), taken))
        return 5 if trio.current_time() < 4.0 else 7

    limit = DownloadLimit(7, answer)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(limit.run)
        assert limit.pace is not None
        with trio.move_on_after(1.0):
            await limit.pace(1)
        await trio.sleep_until(3 * ROUND_S + 1.0)
        limit.leave()
    assert asked == [(0.0, 0), (0.0, 5), (3.0, 5), (6.0, 5), (6.0, 7), (9.0, 7)]


async def test_without_any_answer_all_that_is_wanted_is_taken(autojump_clock: MockClock) -> None:
    async def refuse(wanted: int, taken: int) -> int:
        raise PeerServerRefused("no")

    assert await rate_after(refuse, 2 * ROUND_S) == 7


async def test_without_a_further_answer_the_share_stays(autojump_clock: MockClock) -> None:
    async def refuse(wanted: int, taken: int) -> int:
        if taken:
            raise PeerServerRefused("no more")
        return 3

    assert await rate_after(refuse, 2 * ROUND_S) == 3


async def test_a_share_is_at_most_what_was_wanted(autojump_clock: MockClock) -> None:
    async def answer(wanted: int, taken: int) -> int:
        return 1000

    assert await rate_after(answer, ROUND_S) == 7


async def test_who_has_no_share_waits_for_one(autojump_clock: MockClock) -> None:
    async def answer(wanted: int, taken: int) -> int:
        return 0 if trio.current_time() < 4.0 else 7

    limit = DownloadLimit(7, answer)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(limit.run)
        assert limit.pace is not None
        await limit.pace(0)
        assert trio.current_time() == 2 * ROUND_S
        limit.leave()


async def rate_after(ask: Callable[[int, int], Awaitable[int]], seconds: float) -> int:
    limit = DownloadLimit(7, ask)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(limit.run)
        assert limit.pace is not None
        await limit.pace(0)
        await trio.sleep(seconds)
        limit.leave()
    return limit.rate_bytes_per_s


async def test_without_a_server_the_limit_is_what_is_wanted(autojump_clock: MockClock) -> None:
    limit = DownloadLimit(BLOCK, None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(limit.run)
        assert limit.pace is not None
        for _ in range(14):
            await limit.pace(BLOCK)
    assert trio.current_time() == 10.0, "after a burst of four blocks"


async def test_no_limit_asks_nobody() -> None:
    async def ask(wanted: int, taken: int) -> int:
        raise AssertionError("nothing to share")

    assert DownloadLimit(0, ask).pace is None
