"""Recordings on disk: put together, torn, foreign."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from damselfly.engine.config import SupernodeConfig
from damselfly.engine.errors import ConfigError, RemoteProtocolError
from damselfly.engine.trace import TraceWriter, replay
from damselfly.sim.scenario import Scenario
from damselfly.sim.traces import find

from .recorded import record

if TYPE_CHECKING:
    from pathlib import Path

SMALL = Scenario(peers=4, file_bytes=5_000_000)


def test_a_recording_in_parts_replays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(SMALL, tmp_path / "rec", monkeypatch, records_per_file=20)
    files = sorted((tmp_path / "rec").iterdir())
    assert len(files) > 2
    ((whole,), unreadable) = find([*reversed(files), tmp_path / "rec"])
    assert not unreadable
    assert [part.path for part in whole.parts] == files
    assert whole.missing == 0
    assert replay(whole.engine(), whole.records()) > 20 * (len(files) - 1)


def test_recordings_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(SMALL, tmp_path / "a", monkeypatch, recording="a", version="0.0.1")
    record(SMALL, tmp_path / "b", monkeypatch, recording="b", records_per_file=50)
    recordings, _ = find([tmp_path / "b", tmp_path / "a"])
    assert [(one.name, one.version) for one in recordings] == [("a", "0.0.1"), ("b", "")]


@pytest.mark.parametrize(
    ("gone", "missing", "says"),
    [
        ([0], 20, ""),
        ([1], 0, r"sim-000003.trace begins with record 41, expected 21: a file is missing"),
    ],
)
def test_a_part_that_is_gone(
    gone: list[int], missing: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(SMALL, tmp_path / "rec", monkeypatch, records_per_file=20)
    files = sorted((tmp_path / "rec").iterdir())
    for number in gone:
        files[number].unlink()
    ((rest,), _) = find([tmp_path / "rec"])
    assert rest.missing == missing
    if not says:
        assert len(list(rest.records())) > 20
        return
    read = rest.records()
    assert len([next(read) for _ in range(20)]) == 20
    with pytest.raises(RemoteProtocolError, match=says):
        next(read)


def test_a_torn_tail_comes_after_all_whole_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(SMALL, tmp_path / "rec", monkeypatch)
    (file,) = (tmp_path / "rec").iterdir()
    ((whole,), _) = find([file])
    count = len(list(whole.records()))
    with file.open("r+b") as torn:
        torn.truncate(file.stat().st_size - 1)
    read = whole.records()
    assert len([next(read) for _ in range(count - 1)]) == count - 1
    with pytest.raises(RemoteProtocolError, match=r"sim-000001\.trace: trace: cut off after"):
        next(read)


def written(path: Path, header: dict[str, object]) -> Path:
    with path.open("wb") as file:
        TraceWriter(file.write, header)
    return path


def test_what_is_no_trace_of_a_supernode(tmp_path: Path) -> None:
    good = {"engine": "supernode", "config": SupernodeConfig(), "seed": 1}
    files = [
        written(tmp_path / "peer.trace", {**good, "engine": "download"}),
        written(tmp_path / "seedless.trace", {**good, "seed": "x"}),
        written(tmp_path / "part.trace", {**good, "part": "x"}),
        tmp_path / "noise.trace",
        tmp_path / "empty.trace",
    ]
    files[3].write_bytes(b"\x93\x01")
    files[4].touch()
    recordings, unreadable = find(files)
    assert recordings == []
    assert [one.path for one in unreadable] == files
    for one, says in zip(
        unreadable,
        ("how to build", "how to build", "which part", "cut off", "not a trace"),
        strict=True,
    ):
        assert says in one.why


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file; expected a trace or a directory"):
        find([tmp_path / "nothing"])
    with pytest.raises(ConfigError, match=r"there are no files \*\.trace in this directory"):
        find([tmp_path])
