"""The disk of the copies, for real: sizes, times of use, strays and strangers."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from damselfly.engine.ids import PieceIndex, TaskId
from damselfly.engine.piece import Digest
from damselfly.net.disk import copy_path, delete_copy, free_bytes, mark_used, survey, when_used
from damselfly.net.sidecar import sidecar_path
from damselfly.net.store import PieceStore

from .small_disk import DISK_BYTES, fill, small_disk

if TYPE_CHECKING:
    from pathlib import Path

    from damselfly.engine.events import FoundCopy

A, B = TaskId("a" * 64), TaskId("b" * 64)


def make(folder: Path, task: TaskId, size: int = 5000) -> Path:
    path = copy_path(folder, task)
    with PieceStore.create(path, str(task)) as store:
        store.lay_out(size, 1 << 20, '"v"', keep=False)
        store.write(0, memoryview(bytes(range(250)) * (size // 250)))
        store.keep(PieceIndex(0), size, Digest("sha256:" + "0" * 64))
    return path


def found(folder: Path, *in_use: TaskId) -> dict[str, FoundCopy]:
    surveyed = survey(folder, in_use, lists_copies=True)
    assert surveyed.copies is not None
    return {str(one.task): one for one in surveyed.copies}


def test_a_survey_measures_and_lists(tmp_path: Path) -> None:
    make(tmp_path, A)
    make(tmp_path, B)
    mark_used(copy_path(tmp_path, B), time.time() - 1000, time.time() - 5000)
    copies = found(tmp_path, A)
    assert set(copies) == {A, B}
    assert copies[A].in_use
    assert copies[A].readable
    assert not copies[B].in_use
    assert copies[A].size_bytes >= 4096
    assert copies[A].interval_s == 0
    assert copies[A].idle_s < 500
    assert 990 <= copies[B].idle_s < 1500
    assert copies[B].interval_s == pytest.approx(4000, abs=1)


def test_measuring_alone_lists_nothing(tmp_path: Path) -> None:
    make(tmp_path, A)
    surveyed = survey(tmp_path, (), lists_copies=False)
    assert surveyed.copies is None
    assert 0 < surveyed.free_bytes <= surveyed.total_bytes


def test_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    surveyed = survey(tmp_path / "none", (), lists_copies=True)
    assert (surveyed.free_bytes, surveyed.total_bytes, surveyed.copies) == (0, 0, ())


def test_uses_close_to_each_other_are_one(tmp_path: Path) -> None:
    path = make(tmp_path, A)
    now = time.time()
    mark_used(path, now, now - 30)
    assert when_used(path).interval_s == 0
    mark_used(path, now, now - 90)
    assert when_used(path).interval_s == pytest.approx(90, abs=1)
    mark_used(path, now, None)
    assert when_used(path).interval_s == 0
    mark_used(tmp_path / "gone", now, now)


def test_strays_are_seen_as_such(tmp_path: Path) -> None:
    folder = tmp_path / "aaa"
    path = make(tmp_path, A)
    sidecar_path(path).unlink()
    assert not found(tmp_path)[A].readable
    sidecar_path(path).write_bytes(b"garbage")
    assert not found(tmp_path)[A].readable
    path.unlink()
    (stray,) = found(tmp_path).values()
    assert (stray.readable, stray.size_bytes) == (False, 0)
    assert [entry.name for entry in folder.iterdir()] == [f"{A}.pieces"]


def test_what_is_not_ours_is_not_seen_and_not_touched(tmp_path: Path) -> None:
    strangers = [
        tmp_path / "aaa" / "notes.txt",
        tmp_path / "aaa" / B,
        tmp_path / "aaa" / f"{A}.meta",
        tmp_path / "xyz" / A,
        tmp_path / A,
    ]
    for stranger in strangers:
        stranger.parent.mkdir(exist_ok=True)
        stranger.write_text("mine")
    assert found(tmp_path) == {}
    assert not delete_copy(tmp_path, TaskId("../aaa/notes.txt"))
    delete_copy(tmp_path, A)
    assert [stranger.read_text() for stranger in strangers] == ["mine"] * 5


def test_a_copy_is_deleted_unless_somebody_writes_it(tmp_path: Path) -> None:
    path = make(tmp_path, A)
    with PieceStore.open(path):
        assert not delete_copy(tmp_path, A)
        assert path.exists()
    assert delete_copy(tmp_path, A)
    assert list(path.parent.iterdir()) == []
    delete_copy(tmp_path, A)


def test_a_link_is_a_stray(tmp_path: Path) -> None:
    (tmp_path / "aaa").mkdir()
    target = tmp_path / "precious"
    target.write_text("mine")
    os.symlink(target, tmp_path / "aaa" / A)
    assert not found(tmp_path)[A].readable
    delete_copy(tmp_path, A)
    assert target.read_text() == "mine"


def test_a_full_disk_has_nothing_free(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        assert free_bytes(disk) > 0
        fill(disk)
        assert free_bytes(disk) == 0
        surveyed = survey(disk, (), lists_copies=False)
        assert (surveyed.free_bytes, surveyed.total_bytes) == (0, DISK_BYTES)
