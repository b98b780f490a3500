"""Rates that are held: in virtual time to the percent, on real sockets at least never exceeded."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import trio

from damselfly.engine.errors import ConfigError
from damselfly.engine.outcomes import FailCode
from damselfly.net.http import HttpPool
from damselfly.net.pacing import Bandwidth, bucket, pace_of

from ..origin_server import OriginServer
from .swarm_support import get, request, running_supernode

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock

MB = 1_000_000


async def seconds_for(total: int, chunk: int, *rates: int, streams: int = 1) -> float:
    """Move ``total`` bytes, shared by ``streams``, each with a limit of its own and one for all."""
    shared, began = bucket(rates[0]), trio.current_time()

    async def stream() -> None:
        pace = pace_of(shared, *[bucket(rate) for rate in rates[1:]])
        assert pace is not None
        for _ in range(total // streams // chunk):
            await pace(chunk)

    async with trio.open_nursery() as nursery:
        for _ in range(streams):
            nursery.start_soon(stream)
    return trio.current_time() - began


@pytest.mark.parametrize(
    ("total", "chunk", "rates", "streams", "expected_s"),
    [
        (100 * MB, 65_536, (10 * MB,), 1, 10.0),
        (100 * MB, 262_144, (10 * MB,), 8, 10.0),
        (100 * MB, 65_536, (40 * MB, 5 * MB), 4, 5.0),
        (100 * MB, 65_536, (10 * MB, 20 * MB), 2, 10.0),
        (100 * MB, 65_536, (0, 25 * MB), 2, 2.0),
        (20 * MB, 1_000, (2 * MB,), 3, 10.0),
    ],
)
async def test_rates_are_kept_within_a_twentieth(
    total: int,
    chunk: int,
    rates: tuple[int, ...],
    streams: int,
    expected_s: float,
    autojump_clock: MockClock,
) -> None:
    assert autojump_clock.autojump_threshold == 0, "time is virtual here"
    found_s = await seconds_for(total, chunk, *rates, streams=streams)
    assert found_s == pytest.approx(expected_s, rel=0.05)


def test_no_limit_is_no_pace() -> None:
    assert pace_of(bucket(0), bucket(0)) is None
    assert Bandwidth().usable_bytes_per_s == 0


def test_what_is_reserved_is_not_used() -> None:
    assert Bandwidth(0, 200 * MB, 20 * MB).usable_bytes_per_s == 180 * MB
    assert Bandwidth(0, 0, 20 * MB).usable_bytes_per_s == 0
    with pytest.raises(ConfigError, match="nothing is left"):
        Bandwidth(0, 20 * MB, 20 * MB)
    with pytest.raises(ConfigError, match="link_bytes_per_s is -1"):
        Bandwidth(-1)


@pytest.mark.parametrize(
    "bandwidth", [Bandwidth(link_bytes_per_s=2 * MB), Bandwidth(0, 3 * MB, 1 * MB)]
)
async def test_a_read_of_an_origin_takes_its_time(tmp_path: Path, bandwidth: Bandwidth) -> None:
    data = random.Random(5).randbytes(2 * MB)
    with OriginServer() as origin:
        origin.put("/f", data)
        async with running_supernode(tmp_path / "sn", bandwidth=bandwidth) as node:
            began = trio.current_time()
            outcome = await get(request(tmp_path, origin.url("/f"), "a", node))
            took_s = trio.current_time() - began
    assert outcome.code is FailCode.SUCCESS
    assert len(data) / took_s < 1.05 * 2 * MB + 262_144 / took_s


async def test_uploads_together_keep_to_the_total(tmp_path: Path) -> None:
    data = random.Random(6).randbytes(2 * MB)
    bandwidth = Bandwidth(0, 5 * MB, 1 * MB)
    with OriginServer() as origin:
        origin.put("/f", data)
        async with running_supernode(tmp_path / "sn", bandwidth=bandwidth) as node:
            outcome = await get(request(tmp_path, origin.url("/f"), "a", node))
            target = f"/download/{outcome.task[:3]}/{outcome.task}"
            bodies: list[bytes] = []

            async def fetch(pool: HttpPool) -> None:
                _, _, body = await pool.call(
                    node.host, node.download_port, "GET", target, timeout_s=10, max_body=1 << 24
                )
                bodies.append(body)

            began = trio.current_time()
            async with HttpPool() as pool, trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(fetch, pool)
            took_s = trio.current_time() - began
    sent = sum(map(len, bodies))
    assert sent == 3 * (len(data) + 10)
    assert sent / took_s < 1.05 * 4 * MB + 262_144 / took_s
