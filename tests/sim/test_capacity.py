"""Links' speeds from the times that pieces took."""

from __future__ import annotations

import pytest

from damselfly.sim.capacity import Crossing, capacity_bytes_per_s


def test_nothing_tells_nothing() -> None:
    assert capacity_bytes_per_s([]) is None
    assert capacity_bytes_per_s([Crossing(0, 1, 0)]) is None


def test_one_piece_after_the_other() -> None:
    pieces = [Crossing(n, n + 1, 100) for n in range(8)]
    assert capacity_bytes_per_s(pieces) == pytest.approx(100)


def test_pieces_that_share_the_link_count_together() -> None:
    pieces = [Crossing(n / 2, n / 2 + 1, 50) for n in range(20)]
    assert capacity_bytes_per_s(pieces) == pytest.approx(100)


def test_idle_time_does_not_count() -> None:
    pieces = [Crossing(10 * n, 10 * n + 1, 100) for n in range(8)]
    assert capacity_bytes_per_s(pieces) == pytest.approx(100)


def test_the_best_time_counts() -> None:
    slow = [Crossing(n, n + 1, 10) for n in range(10)]
    fast = [Crossing(10 + n, 11 + n, 100) for n in range(10)]
    assert capacity_bytes_per_s([*slow, *fast]) == pytest.approx(100)
    assert capacity_bytes_per_s([*fast, *slow]) == pytest.approx(100)


def test_a_single_piece_and_one_that_took_no_time() -> None:
    assert capacity_bytes_per_s([Crossing(3, 5, 100)]) == pytest.approx(50)
    assert capacity_bytes_per_s([Crossing(3, 3, 1)]) == pytest.approx(1e6)
