from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import trio
import trio.testing

from damselfly.cli.bars import PlainBar, TerminalBar
from damselfly.cli.progress import LineReporter, Paced, ip_towards
from damselfly.engine.ids import NodeAddress
from damselfly.engine.outcomes import FailCode, Milestone
from damselfly.net.request import FetchRequest, Outcome, Progress

if TYPE_CHECKING:
    import pytest

NODE = NodeAddress("127.0.0.1", 9)
REQUEST = FetchRequest("http://h/d/f", Path("/out/f"), Path("/home"), "7-1.000", nodes=(NODE,))


@dataclass(slots=True)
class Notes:
    """A reporter that remembers when it was told what."""

    every_s: float = 1.0
    shown: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])
    pauses: int = 0

    def began(self) -> None: ...

    def told(self, milestone: Milestone, text: str) -> None: ...

    def progressed(self, progress: Progress) -> None:
        self.shown.append((trio.current_time(), progress.held_bytes))

    def paused(self) -> None:
        self.pauses += 1

    def ended(self, outcome: Outcome) -> None: ...


async def test_the_latest_progress_is_always_shown_but_not_all(
    autojump_clock: trio.testing.MockClock,
) -> None:
    del autojump_clock
    notes = Notes()
    paced = Paced(notes)
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(paced.run)
        for held in (1, 2, 3, 4):
            paced.progressed(Progress(held_bytes=held))
            await trio.sleep(0.4)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert notes.shown == [(start, 1), (start + 1, 3), (start + 2, 4)]
    assert notes.pauses == 1


def test_the_lines_of_a_download_that_has_bad_luck() -> None:
    out, err = io.StringIO(), io.StringIO()
    reporter = LineReporter(REQUEST, out, err, None)
    reporter.began()
    reporter.told(Milestone.RESUMED, "2 pieces, 10 bytes of an earlier run")
    reporter.told(Milestone.CONNECTED, "127.0.0.1:9")
    reporter.told(Milestone.PARENT_FAILED, "piece 3")
    reporter.told(Milestone.MIGRATED, "127.0.0.2:9")
    reporter.told(Milestone.BACK_TO_SOURCE, "no supernode left")
    reporter.told(Milestone.ORIGIN_RETRY, "GET failed")
    message = 'it said "no"'
    reporter.ended(Outcome(FailCode.DOWNLOAD_FAILED, 3, message, -1, 1.23456, Progress(), "t", "p"))
    lines = out.getvalue().splitlines()
    assert lines[2:] == [
        "workspace:/home",
        "sign:7-1.000",
        "client:127.0.0.1 connected to node:127.0.0.1:9",
        "start download by dragonfly...",
        "migrated to node:127.0.0.2:9",
        "failed to download by dragonfly: no supernode left, and start try to download from source",
        "start download f from the source station",
        "download FAIL(1104) cost:1.235s length:-1 reason:3"
        ' error:{"Code":1104,"Msg":"it said \\"no\\""}',
    ]
    assert json.loads(lines[-1].partition("error:")[2]) == {"Code": 1104, "Msg": message}
    assert err.getvalue().splitlines() == [
        "dfget: continuing with 2 pieces, 10 bytes of an earlier run",
        "dfget: trying again: GET failed",
    ]


def test_bars_tell_where_the_bytes_come_from() -> None:
    progress = Progress(
        length=4_000_000, held_bytes=3_000_000, from_supernode=1_000_000, from_peers=2_000_000
    )
    plain = io.StringIO()
    PlainBar(plain).show(progress)
    PlainBar(plain).show(Progress(held_bytes=100_000, from_origin=100_000))
    assert plain.getvalue().splitlines() == [
        "dfget: 3.0 MB (75%) supernode 1.0 MB, peers 2.0 MB",
        "dfget: 0.1 MB origin 0.1 MB",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_bar_is_wiped_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    bar = TerminalBar(terminal)
    for held in (1_000_000, 3_000_000):
        bar.show(Progress(length=4_000_000, held_bytes=held, from_peers=held))
    assert "3.0/4.0 MB" in terminal.getvalue()
    bar.hide()
    bar.hide()
    erase_line = "\x1b[2K"
    assert terminal.getvalue().endswith(erase_line)


def test_the_address_towards_a_host_nobody_knows_is_empty() -> None:
    assert ip_towards("127.0.0.1:8002") == "127.0.0.1"
    assert ip_towards("no such host:8002") == ""
