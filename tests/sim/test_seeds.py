"""Storms under every check: all that ever failed, some that are new, and the same in two worlds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from damselfly.sim.fuzz import examine_seed, fuzz

SEEDS = Path(__file__).parent.parent / "seeds.txt"
FRESH = range(1_000_000, 1_000_030)
STORMY = (15, 1469, 3399)
DIGESTS = """\
import sys
from damselfly.sim.fuzz import examine_seed
for seed in sys.argv[1:]:
    print(examine_seed(int(seed)).digest)
"""


def failed_once() -> list[tuple[int, str]]:
    lines = [line for line in SEEDS.read_text().splitlines() if not line.startswith("#")]
    return [(int(seed), why.strip()) for seed, _, why in (line.partition(" ") for line in lines)]


def test_each_seed_is_listed_once_and_in_order_and_says_why() -> None:
    seeds = failed_once()
    assert [seed for seed, _ in seeds] == sorted(dict(seeds))
    assert all(why for _, why in seeds)


@pytest.mark.parametrize("seed", [seed for seed, _ in failed_once()])
def test_what_once_failed_does_so_no_more(seed: int) -> None:
    assert examine_seed(seed).objection is None


def test_fresh_seeds_do_not_fail() -> None:
    assert [trial for trial in fuzz(FRESH) if trial.objection is not None] == []


def test_storms_go_the_same_way_whatever_strings_hash_to() -> None:
    here, there = (
        subprocess.run(
            [sys.executable, "-c", DIGESTS, *map(str, STORMY)],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout.split()
        for hash_seed in ("0", "1")
    )
    assert here == there
    assert len({*here}) == len(STORMY)
    assert all(len(digest) == 32 for digest in here)
