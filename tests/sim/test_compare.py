"""Comparing policies: the arithmetic, and a small comparison for real."""

from __future__ import annotations

import json
from math import inf

import pytest

from damselfly.sim.compare import (
    Interval,
    Outcome,
    interval,
    jobs_for,
    play,
    play_one,
    student,
    tabulate,
)
from damselfly.sim.scenario import Scenario

SMALL = Scenario(peers=12, file_bytes=6_000_000)


def outcome(policy: str, seed: int, seconds: float, **changes: object) -> Outcome:
    values: dict[str, object] = {
        "scenario": "s",
        "policy": policy,
        "seed": seed,
        "mean_s": seconds,
        "p50_s": seconds,
        "p99_s": seconds,
        "max_s": 2 * seconds,
        "bound_mean_s": 4.0,
        "bound_max_s": 5.0,
        "supernode_files": 1.5,
        "origin_files": 1.0,
        "unfinished": 0,
    }
    return Outcome(**{**values, **changes})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (9, 2.2622), (19, 2.0930), (120, 1.9799)],
)
def test_students_quantile_is_that_of_the_tables(freedom: int, quantile: float) -> None:
    assert student(freedom) == pytest.approx(quantile, abs=5e-5)


def test_intervals() -> None:
    assert interval([3.0]) == Interval(3.0, inf)
    mean, half = interval([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert half == pytest.approx(4.3027 / 3**0.5, abs=1e-4)
    assert interval([5.0, 5.0]) == Interval(5.0, 0.0)
    assert interval([1.0, inf]) == Interval(inf, inf)
    assert Interval(0.2, 0.1).is_clear
    assert Interval(-0.2, 0.1).is_clear
    assert not Interval(0.2, 0.3).is_clear
    assert not Interval(0.2, inf).is_clear


def test_differences_are_taken_seed_by_seed() -> None:
    ours = [outcome("ours", seed, 10.0 * seed) for seed in (1, 2, 3)]
    theirs = [outcome("theirs", seed, 11.0 * seed) for seed in (3, 1, 2)]
    first, second = tabulate([*theirs, *ours], ["ours", "theirs"])
    assert (first.policy, second.policy) == ("ours", "theirs")
    assert first.against["mean"] == Interval(0.0, 0.0)
    assert second.against["max"].mean == pytest.approx(0.1)
    assert second.against["max"].is_clear
    assert not interval([one.mean_s for one in ours]).half < 10  # the figures themselves say little
    assert (first.ratio_mean, first.ratio_max) == (5.0, 8.0)


def test_what_an_interrupt_left_is_compared_as_far_as_it_goes() -> None:
    rows = tabulate(
        [outcome("ours", 0, 1.0), outcome("ours", 1, 1.0), outcome("theirs", 0, 2.0)],
        ["ours", "theirs"],
    )
    assert [row.runs for row in rows] == [2, 1]
    assert rows[1].against["mean"] == Interval(1.0, inf)
    alone = tabulate([outcome("theirs", 0, 2.0)], ["ours", "theirs"])
    assert alone[0].against == {}


def test_a_beginning_of_the_jobs_has_all_policies() -> None:
    jobs = jobs_for({"a": SMALL, "b": SMALL}, ["rarest", "random"], range(2))
    assert [(job.name, job.scenario.policy, job.scenario.seed) for job in jobs[:4]] == [
        ("a", "rarest", 0),
        ("a", "random", 0),
        ("b", "rarest", 0),
        ("b", "random", 0),
    ]
    assert len(jobs) == 8


def test_processes_change_nothing_but_the_order() -> None:
    jobs = jobs_for({"s": SMALL}, ["damselfly", "dragonfly-v1"], range(2))
    alone = list(play(jobs))
    assert alone == [play_one(job) for job in jobs]
    assert sorted(map(str, play(jobs, processes=2))) == sorted(map(str, alone))
    (ours, v1) = tabulate(alone, ["damselfly", "dragonfly-v1"])
    assert v1.against["max"].mean > 0
    assert ours.origin_files == v1.origin_files == 1.0


def test_nobody_with_the_file_is_no_time_at_all() -> None:
    (job,) = jobs_for({"s": Scenario(peers=3, until_s=0.1)}, ["rarest"], [0])
    result = play_one(job)
    assert (result.mean_s, result.max_s, result.unfinished) == (inf, inf, 3)
    (row,) = tabulate([result], ["rarest"])
    assert json.loads(json.dumps(row.as_dict()))["unfinished"] == 3
