"""The collection of copies on the supernode's disk: what goes, in what order, and what never."""

from __future__ import annotations

import pytest

from damselfly.engine.config import SupernodeConfig
from damselfly.engine.effects import DeleteCopy, SupernodeEffect, SurveyDisk
from damselfly.engine.events import CopyDeleted, DiskSurveyed, FoundCopy
from damselfly.engine.gc import DiskCollector, Pressure, doomed, doomed_for, pressure
from damselfly.engine.ids import TaskId

GIB = 1 << 30
HOUR = 3600.0


def copy(name: str, idle_s: float = 100.0, interval_s: float = 0.0, **more: object) -> FoundCopy:
    values: dict[str, object] = {"size_bytes": 1, "idle_s": idle_s, "interval_s": interval_s}
    return FoundCopy(TaskId(name), **{**values, **more})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("free", "total", "expected"),
    [
        (25, 100, Pressure.NONE),
        (24, 100, Pressure.YOUNG),
        (6, 100, Pressure.YOUNG),
        (5, 100, Pressure.FULL),
        (0, 100, Pressure.FULL),
        (100 * GIB, 10_000 * GIB, Pressure.NONE),
        (99 * GIB, 10_000 * GIB, Pressure.YOUNG),
        (5 * GIB, 10_000 * GIB, Pressure.FULL),
        (0, 0, Pressure.NONE),
    ],
)
def test_the_marks_of_a_disk(free: int, total: int, expected: Pressure) -> None:
    assert pressure(SupernodeConfig(), free, total) is expected


def test_the_marks_can_be_set() -> None:
    config = SupernodeConfig(young_gc_bytes=50, full_gc_bytes=20)
    found = [pressure(config, free, 1000) for free in (50, 49, 21, 20)]
    assert found == [Pressure.NONE, Pressure.YOUNG, Pressure.YOUNG, Pressure.FULL]


def test_the_longest_unused_goes_first_and_the_regular_ones_last() -> None:
    copies = [
        copy("daily", 23 * HOUR, 24 * HOUR, size_bytes=5),
        copy("daily and big", 1.0, 24 * HOUR, size_bytes=9),
        copy("daily, but not lately", 27 * HOUR, 24 * HOUR),
        copy("old", 50 * HOUR),
        copy("fresh", 1.0),
        copy("a twin of fresh", 1.0),
    ]
    order = ["old", "daily, but not lately", "a twin of fresh", "fresh", "daily and big", "daily"]
    assert doomed(SupernodeConfig(), Pressure.FULL, copies, ()) == order
    shifted = SupernodeConfig(interval_threshold_s=3 * HOUR)
    assert doomed(shifted, Pressure.FULL, copies, ())[-1] == "daily, but not lately"


@pytest.mark.parametrize(
    ("count", "ratio", "share"), [(1, 1, 1), (10, 1, 1), (11, 1, 2), (10, 5, 5), (3, 10, 3)]
)
def test_little_room_takes_a_share_of_the_candidates(count: int, ratio: int, share: int) -> None:
    copies = [copy(f"{n:02}", idle_s=1000.0 - n) for n in range(count)]
    gone = doomed(SupernodeConfig(clean_ratio=ratio), Pressure.YOUNG, copies, ())
    assert gone == [f"{n:02}" for n in range(share)]


def test_what_is_used_or_in_memory_stays() -> None:
    copies = [copy("sent", in_use=True), copy("in memory"), copy("other")]
    assert doomed(SupernodeConfig(), Pressure.FULL, copies, ("in memory",)) == ["other"]
    assert doomed(SupernodeConfig(), Pressure.NONE, copies, ()) == []


def test_what_nobody_can_read_goes_when_it_is_old() -> None:
    copies = [
        copy("stray", 2 * HOUR, readable=False),
        copy("just being made", 60.0, readable=False),
        copy("good", 1.0),
    ]
    assert doomed(SupernodeConfig(), Pressure.YOUNG, copies, ()) == ["stray", "good"]


@pytest.mark.parametrize(
    ("needed", "free", "gone"),
    [
        (10, 0, ["oldest", "older"]),
        (10, 5, ["oldest"]),
        (10, 15, []),
        (26, 0, ["oldest", "older", "old"]),
        (31, 0, []),
        (0, 50, ["oldest", "older", "old"]),
    ],
)
def test_no_more_goes_than_a_write_needs(needed: int, free: int, gone: list[str]) -> None:
    copies = tuple(
        [
            copy(name, idle, size_bytes=10)
            for name, idle in (("old", 1), ("older", 2), ("oldest", 3))
        ]
    )
    found = DiskSurveyed(free, 100, copies)
    assert doomed_for(SupernodeConfig(full_gc_bytes=5), needed, found, ()) == gone


# --- the steps of a collection --------------------------------------------------------------------


class Collector:
    """A collector and what it wants done."""

    def __init__(self, **config: object) -> None:
        made = SupernodeConfig(**config)  # pyright: ignore[reportArgumentType]
        self.disk = DiskCollector(made)
        self.disk.tick(0.0, [])

    def tick(self, now: float) -> list[SupernodeEffect]:
        out: list[SupernodeEffect] = []
        self.disk.tick(now, out)
        self.disk.check()
        return out

    def survey(
        self, now: float, free: int, *copies: str, listed: bool = True, needed: int = 0
    ) -> tuple[list[SupernodeEffect], bool | None]:
        out: list[SupernodeEffect] = []
        found = tuple([copy(name, idle_s=10.0) for name in copies]) if listed else None
        ended = self.disk.surveyed(DiskSurveyed(free, 100, found), (), needed, now, out)
        self.disk.check()
        return out, ended

    def deleted(
        self, now: float, name: str, *, gone: bool = True
    ) -> tuple[list[SupernodeEffect], bool | None]:
        out: list[SupernodeEffect] = []
        ended = self.disk.deleted(CopyDeleted(TaskId(name), gone), now, out)
        self.disk.check()
        return out, ended

    def urge(self) -> tuple[list[SupernodeEffect], bool]:
        out: list[SupernodeEffect] = []
        going = self.disk.urge(out)
        self.disk.check()
        return out, going


def test_a_disk_with_room_is_only_measured() -> None:
    collector = Collector(gc_initial_delay_s=6.0, gc_disk_interval_s=15.0)
    assert collector.disk.deadline() == 6.0
    assert collector.tick(5.9) == []
    assert collector.tick(6.0) == [SurveyDisk(lists_copies=False)]
    assert collector.disk.deadline() == float("inf"), "one survey at a time"
    assert collector.tick(7.0) == []
    assert collector.survey(7.0, 50, listed=False) == ([], None)
    assert collector.disk.deadline() == 22.0


def test_a_full_disk_is_emptied() -> None:
    collector = Collector()
    collector.tick(6.0)
    assert collector.survey(6.0, 3, listed=False) == ([SurveyDisk(lists_copies=True)], None)
    effects, ended = collector.survey(6.1, 3, "a", "b")
    assert effects == [DeleteCopy(TaskId("a")), DeleteCopy(TaskId("b"))]
    assert ended is None
    assert collector.deleted(7.0, "a") == ([], None)
    assert collector.disk.deadline() == float("inf")
    assert collector.deleted(7.0, "a") == ([], None), "told twice"
    assert collector.deleted(8.0, "b") == ([], None), "nobody waits for it"
    assert collector.disk.deadline() == 23.0


def test_a_failed_write_has_all_removed_at_once() -> None:
    collector = Collector()
    assert collector.urge() == ([SurveyDisk(lists_copies=True)], True)
    assert collector.urge() == ([], True), "it is under way"
    collector.survey(1.0, 90, "a", "b")
    collector.deleted(1.0, "a")
    assert collector.deleted(1.5, "b") == ([], True)


def test_nothing_to_remove_is_an_answer() -> None:
    collector = Collector()
    collector.urge()
    assert collector.survey(1.0, 0) == ([], False)


def test_a_write_that_fails_during_a_small_collection_has_a_large_one_follow() -> None:
    collector = Collector()
    collector.tick(6.0)
    collector.survey(6.0, 20, listed=False)
    effects, _ = collector.survey(6.0, 20, "a", "b")
    assert effects == [DeleteCopy(TaskId("a"))]
    assert collector.urge() == ([], True)
    assert collector.deleted(6.5, "a") == ([SurveyDisk(lists_copies=True)], None)
    effects, _ = collector.survey(6.6, 20, "b")
    assert effects == [DeleteCopy(TaskId("b"))]
    assert collector.deleted(6.7, "b") == ([], True)


def test_a_measure_that_comes_late_is_ignored() -> None:
    collector = Collector()
    collector.tick(6.0)
    collector.urge()
    assert collector.survey(6.5, 99, listed=False) == ([], None)
    assert collector.survey(6.6, 0) == ([], False)


def test_a_copy_that_cannot_be_removed_makes_no_room() -> None:
    collector = Collector()
    collector.urge()
    collector.survey(1.0, 0, "a")
    assert collector.deleted(1.5, "a", gone=False) == ([], False)


def test_room_that_is_there_already_is_room() -> None:
    collector = Collector()
    collector.urge()
    assert collector.survey(1.0, 40, "a", needed=30) == ([], True)


def test_no_collection_where_none_is_wanted() -> None:
    collector = Collector(gc_disk_interval_s=0.0)
    assert collector.disk.deadline() == float("inf")
    assert collector.tick(1e9) == []
    assert collector.urge() == ([], False)
