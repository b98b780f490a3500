"""Several downloads of one host under one total limit; the clock is trio's own, set by hand."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Final

import pytest
import trio

from damselfly.engine.ids import ExchangeId
from damselfly.engine.peer_server import PeerServerEngine
from damselfly.engine.uploads import CheckRequested, RateRequested, Respond, UploadPolicy
from damselfly.net.peer_launch import PeerServerRefused
from damselfly.net.share import ROUND_S, DownloadLimit

from ..driven import one

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

    from damselfly.engine.uploads import PeerServerEvent

TOTAL: Final = 4_000_000
BLOCK: Final = 64 << 10


class Server:
    """The peer server as dfgets see it, without the network between; notes who asked when."""

    def __init__(self, total: int = TOTAL) -> None:
        self._engine = PeerServerEngine(UploadPolicy(data_dir="/data", version="1"))
        self._total = total
        self._exchanges = map(ExchangeId, count(1))
        self.asked: dict[str, list[float]] = {}

    def _respond(self, event: PeerServerEvent) -> Respond:
        return one(Respond, self._engine.handle(event, trio.current_time()))

    def share_of(self, name: str) -> Callable[[int], Awaitable[int]]:
        """Announce a download, and return how it asks."""
        self._respond(CheckRequested(next(self._exchanges), name, "/data", str(self._total)))

        async def ask(wanted: int) -> int:
            await trio.lowlevel.checkpoint()
            self.asked.setdefault(name, []).append(trio.current_time())
            rate = RateRequested(next(self._exchanges), name, str(wanted))
            return int(self._respond(rate).text)

        return ask


class Download:
    """Takes all that its limit allows, from ``begin_s`` until ``end_s``."""

    def __init__(self, server: Server, name: str, wanted: int = TOTAL) -> None:
        self.limit = DownloadLimit(wanted, server.share_of(name), trio.current_time)
        self.came: list[tuple[float, int]] = []

    async def run(self, begin_s: float, end_s: float) -> None:
        await trio.sleep_until(begin_s)
        with trio.move_on_at(end_s):
            async with self.limit, trio.open_nursery() as nursery:
                nursery.start_soon(self.limit.run)
                pace = self.limit.pace
                assert pace is not None
                while True:
                    await pace(BLOCK)
                    self.came.append((trio.current_time(), BLOCK))

    def bytes_between(self, begin_s: float, end_s: float) -> int:
        return sum(size for when, size in self.came if begin_s <= when < end_s)


async def test_two_downloads_take_the_total_and_no_more(autojump_clock: MockClock) -> None:
    server = Server()
    first, second = Download(server, "first"), Download(server, "second")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.run, 0.5, 40.0)
        nursery.start_soon(second.run, 10.0, 30.0)
    for begin_s in range(1, 29):  # also across 10 s, when the second joins
        came = first.bytes_between(begin_s, begin_s + 2) + second.bytes_between(
            begin_s, begin_s + 2
        )
        assert came == pytest.approx(2 * TOTAL, rel=0.05), f"from {begin_s} s"
    assert second.bytes_between(15, 25) == pytest.approx(5 * TOTAL, rel=0.05)
    assert first.bytes_between(34, 39) == pytest.approx(5 * TOTAL, rel=0.05), "alone again"


async def test_many_join_within_one_round(autojump_clock: MockClock) -> None:
    server = Server()
    downloads = [Download(server, str(number)) for number in range(5)]
    async with trio.open_nursery() as nursery:
        for number, download in enumerate(downloads):
            nursery.start_soon(download.run, 0.1 + 0.5 * number, 20.0)
    for begin_s in range(1, 17):
        came = sum(download.bytes_between(begin_s, begin_s + 2) for download in downloads)
        assert came == pytest.approx(2 * TOTAL, rel=0.05), f"from {begin_s} s"
    for download in downloads:
        assert download.bytes_between(6, 16) == pytest.approx(2 * TOTAL, rel=0.05)


async def test_there_is_room_for_small_wishes_at_once(autojump_clock: MockClock) -> None:
    server = Server()
    small = Download(server, "small", TOTAL // 8)
    other = Download(server, "other", TOTAL // 2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other.run, 0.0, 9.0)
        nursery.start_soon(small.run, 1.0, 9.0)
    assert small.came[0][0] == 1.0, "nobody has to give way"
    assert small.bytes_between(2, 8) == pytest.approx(6 * TOTAL / 8, rel=0.05)
    assert other.bytes_between(2, 8) == pytest.approx(3 * TOTAL, rel=0.05)


async def test_the_server_is_asked_once_a_round(autojump_clock: MockClock) -> None:
    server = Server()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Download(server, "one").run, 0.5, 31.0)
    joined, *rounds, left = server.asked["one"]
    assert (joined, left) == (0.5, 31.0)
    assert rounds == pytest.approx([ROUND_S * number for number in range(1, 11)])


async def test_without_an_answer_all_that_is_wanted_is_taken(autojump_clock: MockClock) -> None:
    async def refuse(wanted: int) -> int:
        raise PeerServerRefused("no")

    async with DownloadLimit(7, refuse, trio.current_time) as limit, trio.open_nursery() as nursery:
        nursery.start_soon(limit.run)
        await trio.sleep(2 * ROUND_S)
        assert limit.rate_bytes_per_s == 7
        nursery.cancel_scope.cancel()


async def test_a_share_is_at_least_a_byte_and_at_most_what_was_wanted() -> None:
    async def ask(wanted: int) -> int:
        return answers.pop(0)

    answers = [1000, 0]
    async with DownloadLimit(7, ask, lambda: 2.9) as limit:
        assert limit.rate_bytes_per_s == 7


async def test_no_limit_asks_nobody() -> None:
    async def ask(wanted: int) -> int:
        raise AssertionError("nothing to share")

    async with DownloadLimit(0, ask) as limit:
        await limit.run()
        assert limit.pace is None
