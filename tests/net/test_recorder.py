"""A recording that rotates, and that never stands in the way of what it records."""

from __future__ import annotations

import os
import threading
from contextlib import asynccontextmanager
from math import inf
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from damselfly.engine.config import SupernodeConfig
from damselfly.engine.effects import ForgetTask
from damselfly.engine.errors import ConfigError
from damselfly.engine.events import Dropped, PieceHashed
from damselfly.engine.ids import ExchangeId, PieceIndex, TaskId
from damselfly.engine.outcomes import FailCode
from damselfly.net import recorder as module
from damselfly.net.recorder import (
    _MUCH_BYTES,  # pyright: ignore[reportPrivateUsage]
    Recorder,
    TraceLimits,
    _Files,  # pyright: ignore[reportPrivateUsage]
)
from damselfly.sim.traces import find

from ..origin_server import OriginServer
from .small_disk import fill, small_disk
from .swarm_support import get, request, running_supernode

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

DATA = bytes(range(256)) * 12_000
TASK = TaskId("0" * 64)


@asynccontextmanager
async def recording(folder: Path, **limits: int) -> AsyncGenerator[Recorder]:
    header = {"config": SupernodeConfig(), "seed": 7}
    recorder = Recorder(folder, TraceLimits(**limits), "supernode", header)
    async with trio.open_nursery() as nursery:
        await nursery.start(recorder.run)
        yield recorder
        nursery.cancel_scope.cancel()


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> trio.MemoryReceiveChannel[None]:
    """A channel that gets a message whenever something was written."""
    send, receive = trio.open_memory_channel[None](inf)
    write = _Files.write

    def told(self: _Files, pile: Any) -> None:
        write(self, pile)
        trio.from_thread.run_sync(send.send_nowait, None)

    monkeypatch.setattr(_Files, "write", told)
    return receive


def say(recorder: Recorder, number: int) -> None:
    recorder.record(float(number), Dropped(ExchangeId(number)), [ForgetTask(TASK)])


async def test_files_are_full_in_turn_and_follow_each_other(tmp_path: Path) -> None:
    async with recording(tmp_path / "rec", file_bytes=2000, files=100) as recorder:
        for number in range(200):
            say(recorder, number)
            if number % 50 == 0:
                await trio.testing.wait_all_tasks_blocked()
    files = sorted((tmp_path / "rec").iterdir())
    assert len(files) > 5
    assert all(2000 <= file.stat().st_size < 2400 for file in files[:-1])
    ((whole,), unreadable) = find([tmp_path / "rec"])
    assert not unreadable
    assert [part.path for part in whole.parts] == files
    assert [record.now for record in whole.records()] == list(map(float, range(200)))
    assert (whole.missing, whole.seed, whole.config) == (0, 7, SupernodeConfig())


async def test_the_oldest_files_go_also_those_of_earlier_recordings(tmp_path: Path) -> None:
    old = [f"supernode-20010101-000000-1-{part:06d}.trace" for part in range(5)]
    for name in (*old, "mine.txt"):
        (tmp_path / name).write_bytes(b"x")
    async with recording(tmp_path, file_bytes=2000, files=3) as recorder:
        for number in range(30):
            say(recorder, number)
        await trio.testing.wait_all_tasks_blocked()
        for number in range(30, 200):
            say(recorder, number)
    assert (tmp_path / "mine.txt").exists()
    ((rest,), unreadable) = find([tmp_path])
    assert not unreadable
    assert len(rest.parts) == 3
    numbers = [record.now for record in rest.records()]
    assert numbers == list(map(float, range(rest.missing, 200)))
    assert rest.missing > 0


async def test_a_recording_can_be_read_while_it_is_made(
    tmp_path: Path, written: trio.MemoryReceiveChannel[None]
) -> None:
    async with recording(tmp_path) as recorder:
        say(recorder, 1)
        with trio.fail_after(60):
            await written.receive()
        ((whole,), _) = find([tmp_path])
        assert [record.now for record in whole.records()] == [1.0]


async def test_much_is_written_at_once(
    tmp_path: Path, written: trio.MemoryReceiveChannel[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_EVERY_S", 1e6)
    async with recording(tmp_path) as recorder:
        recorder.record(1.0, PieceHashed(TASK, PieceIndex(0), "f" * _MUCH_BYTES), [])
        with trio.fail_after(60):
            await written.receive()
        ((whole,), _) = find([tmp_path])
        assert len(list(whole.records())) == 1


@pytest.mark.parametrize("limits", [{"file_bytes": 0}, {"files": 1}])
def test_limits_too_small_for_anything(limits: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="expected at least"):
        TraceLimits(**limits)


# --- what goes wrong ------------------------------------------------------------------------------


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    logger = "damselfly.net.recorder"
    return [record.getMessage() for record in caplog.records if record.name == logger]


async def test_a_full_disk_ends_the_recording_and_not_the_supernode(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with small_disk(tmp_path / "disk") as disk, OriginServer() as origin:
        origin.put("/f", DATA)
        (disk / "rec").mkdir()
        filler = fill(disk)
        with filler.open("r+b") as file:
            file.truncate(filler.stat().st_size - 8192)
        async with running_supernode(tmp_path / "sn", disk / "rec") as node:
            for name in ("a", "b", "c", "d"):
                outcome = await get(request(tmp_path, origin.url("/f"), name, node))
                assert outcome.code is FailCode.SUCCESS
        assert len(warnings_in(caplog)) == 1
        assert "No space left on device" in warnings_in(caplog)[0]
        (trace,) = (disk / "rec").iterdir()
        assert trace.stat().st_size <= 8192


async def test_a_folder_that_cannot_be_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    async with recording(tmp_path / "file" / "rec") as recorder:
        say(recorder, 1)
    (said,) = warnings_in(caplog)
    assert said == f"recording to {tmp_path}/file/rec is off: Not a directory; all else goes on"


async def test_a_folder_with_an_impossible_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with recording(tmp_path / "\0") as recorder:
        say(recorder, 1)
    (said,) = warnings_in(caplog)
    assert "null" in said


async def test_a_file_that_was_taken_away_ends_the_recording(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    written: trio.MemoryReceiveChannel[None],
) -> None:
    async with recording(tmp_path) as recorder:
        with trio.fail_after(60):
            await written.receive()
        (part,) = find([tmp_path])[0][0].parts
        os.unlink(part.path)
        say(recorder, 1)
    (said,) = warnings_in(caplog)
    assert "No such file" in said
    assert os.listdir(tmp_path) == []


async def test_a_value_that_no_trace_can_hold(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with recording(tmp_path) as recorder:
        say(recorder, 1)
        await trio.testing.wait_all_tasks_blocked()
        recorder.record(2.0, Dropped(ExchangeId(1 << 70)), [])
        say(recorder, 3)
    (said,) = warnings_in(caplog)
    assert "record 2 cannot be written: int" in said


async def test_a_disk_that_hangs(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    autojump_clock: trio.abc.Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    released = threading.Event()

    def hang(*_: object) -> None:
        released.wait()

    monkeypatch.setattr(_Files, "write", hang)
    async with recording(tmp_path) as recorder:
        say(recorder, 1)
        await trio.sleep(60)
        say(recorder, 2)
    released.set()
    (said,) = warnings_in(caplog)
    assert "the disk took more than 10 s to write 2 records" in said


async def test_a_disk_that_is_too_slow(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 1000)
    async with recording(tmp_path) as recorder:
        for number in range(100):
            say(recorder, number)
    (said,) = warnings_in(caplog)
    assert "the disk is slower than the engine" in said
