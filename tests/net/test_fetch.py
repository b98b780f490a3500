"""What ``fetch`` itself decides; what engine and performer do for it is tested with them."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from damselfly.engine.config import DownloadConfig
from damselfly.engine.outcomes import BackSourceReason, FailCode
from damselfly.net.http import HttpRequest, HttpResponse
from damselfly.net.request import Pattern

from .http_support import serving
from .swarm_support import get, request

if TYPE_CHECKING:
    from pathlib import Path

PIECE = (64 << 10) - 5
DATA = random.Random(8).randbytes(12 * PIECE)


class CountingOrigin:
    """An origin that holds answers back until so many are asked for at once."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._full = trio.Event()
        self._open = 0
        self.asked = 0
        self.most_open = 0

    async def handle(self, request: HttpRequest) -> HttpResponse:
        first, last = map(int, (request.header("range") or "").removeprefix("bytes=").split("-"))
        self.asked += 1
        self._open += 1
        self.most_open = max(self.most_open, self._open)
        if self._open == self._at_once:
            self._full.set()
        if self.asked > 1:  # before it is answered once, nobody asks twice
            await self._full.wait()
            await trio.sleep(0.05)
        self._open -= 1
        content_range = f"bytes {first}-{last}/{len(DATA)}"
        headers = (("Content-Range", content_range), ("ETag", '"1"'))
        return HttpResponse(206, (DATA[first : last + 1],), headers=headers)


@pytest.mark.parametrize("at_once", [1, 2])
async def test_no_more_is_received_at_a_time_than_was_said(
    at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = partial(DownloadConfig, origin_piece_size=PIECE + 5, origin_span_bytes=PIECE)
    monkeypatch.setattr("damselfly.net.fetch.DownloadConfig", small)
    origin = CountingOrigin(at_once)
    async with serving(origin.handle) as port:
        wanted = request(tmp_path, f"http://127.0.0.1:{port}/f", "f", pieces_at_once=at_once)
        with trio.fail_after(60):
            outcome = await get(wanted)
    assert outcome.code is FailCode.SUCCESS
    assert wanted.target.read_bytes() == DATA
    assert origin.asked == 12
    assert origin.most_open == at_once


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pattern": Pattern.SOURCE, "back_to_source": False}, 1100),
        ({"back_to_source": False}, 1001),
        ({"md5": "abc"}, BackSourceReason.MD5_NOT_MATCH),
    ],
)
async def test_what_cannot_succeed_is_not_begun(
    changes: dict[str, object], reason: int, tmp_path: Path
) -> None:
    wanted = request(tmp_path, "http://127.0.0.1:1/f", "f", **changes)
    outcome = await get(wanted)
    assert (outcome.code, outcome.reason) == (FailCode.DOWNLOAD_FAILED, reason)
    assert outcome.message
    assert list((wanted.home / "data").iterdir()) == []
