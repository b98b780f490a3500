"""Faults planted into engines and simulator are found, each by the checker that is there for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from damselfly.sim.draw import draw
from damselfly.sim.fuzz import (
    Objection,
    Trial,
    Twin,
    compared,
    examine,
    examine_seed,
    fuzz,
    smallest,
)

from . import plants

if TYPE_CHECKING:
    from .plants import Plant

MOST_SEEDS = 60
ROOT = Path(__file__).parent.parent.parent
PLANTED = """\
import sys
import pytest
from damselfly.sim.fuzz import examine_seed
from tests.sim import plants
plants.set_iteration(pytest.MonkeyPatch())
for seed in sys.argv[1:]:
    print(examine_seed(int(seed)).digest)
"""


@pytest.mark.parametrize(
    ("plant", "checker"),
    [
        (plants.lost_report, "Accounts"),
        (plants.unheard_report, "Accounts"),
        (plants.forgotten_orders, "Accounts"),
        (plants.one_slot_too_many, "Slots"),
        (plants.one_slot_too_many_at_peers, "Slots"),
        (plants.skipped_verification, "RightBytes"),
        (plants.forgotten_release, "AssertionError in "),
        (plants.banned_parent, "Parents"),
        (plants.uninvited, "Parents"),
        (plants.greedy_for_the_origin, "OriginBudget"),
        (plants.origin_read_twice, "OriginBudget"),
        (plants.word_after_the_end, "LastWord"),
        (plants.unanswered_pull, "Answers"),
        (plants.impatience, "Livelock"),
        (plants.early_end, "Whole"),
        (plants.no_end, "Endings"),
        (plants.unfounded_failure, "Endings"),
        (plants.free_bandwidth, "Rates"),
        (plants.stuck_clock, "Runaway in "),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_planted_fault_is_found(
    plant: Plant, checker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    found = (trial.objection.checker for trial in fuzz(range(MOST_SEEDS)) if trial.objection)
    assert any(name.startswith(checker) for name in found)


def test_an_order_that_depends_on_hashes_shows_in_another_process() -> None:
    seeds = range(12)
    digests = [
        subprocess.run(
            [sys.executable, "-c", PLANTED, *map(str, seeds)],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout.split()
        for hash_seed in ("0", "1")
    ]
    here, there = digests
    trials = [compared(Trial(seed, here[seed], None), lambda seed: there[seed]) for seed in seeds]
    found = [trial.objection.checker for trial in trials if trial.objection is not None]
    assert found
    assert {*found} == {"Determinism"}


def test_a_twin_agrees() -> None:
    trial = examine_seed(2)
    hash_seed = os.environ.get("PYTHONHASHSEED")
    with Twin() as twin:
        assert compared(trial, twin.digest) == trial
    assert os.environ.get("PYTHONHASHSEED") == hash_seed
    other = compared(trial, lambda _: "")
    assert other.objection is not None
    assert other.objection.message.endswith("in another process none")


def test_several_jobs_find_the_same() -> None:
    assert list(fuzz(range(6), jobs=2)) == list(fuzz(range(6)))


def test_what_is_found_is_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    plants.one_slot_too_many(monkeypatch)
    trial = next(trial for trial in fuzz(range(MOST_SEEDS)) if trial.objection)
    assert trial.objection is not None
    before = draw(trial.seed)
    found = smallest(trial.seed, trial.objection, runs=40)
    assert found.runs <= 40
    assert found.scenario.peers * found.scenario.layout.count < before.peers * before.layout.count
    again = examine(found.scenario).objection
    assert again is not None
    assert again.checker == "Slots"


def test_an_exception_is_named_by_its_kind_and_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("no luck")

    monkeypatch.setattr("damselfly.sim.transfers.Transfers.fetch", broken)
    found = next(trial.objection for trial in fuzz(range(MOST_SEEDS)) if trial.objection)
    assert isinstance(found, Objection)
    assert found.checker == "ZeroDivisionError in test_fuzz.py broken"
    assert found.message.startswith("no luck (line ")
