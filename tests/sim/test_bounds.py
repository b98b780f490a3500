from __future__ import annotations

from itertools import product
from math import inf

import pytest

from damselfly.sim import bounds

MIB = 1 << 20


def equal(peers: int, pieces: int, *, latency_s: float = 0.0) -> bounds.Swarm:
    ones = [1.0] * peers
    return bounds.Swarm(pieces, 1, [1.0], ones, ones, latency_s)


def readme(peers: int, piece_bytes: float, seeds: int = 2) -> bounds.Swarm:
    rates = [25e6] * peers
    return bounds.Swarm(200e6, piece_bytes, [250e6] * seeds, rates, rates, 0.0005)


def test_the_closed_form_for_equal_peers() -> None:
    assert bounds.mww(200e6, 4e6, 25e6, 1000) == pytest.approx(9.44)
    assert bounds.mww(10, 1, 1, 1) == 10


@pytest.mark.parametrize("pieces", [1, 2, 3, 7, 50])
def test_lb_max_is_the_closed_form_for_equal_peers(pieces: int) -> None:
    for peers in range(1, 40):
        assert bounds.lb_max(equal(peers, pieces)) == pytest.approx(bounds.mww(pieces, 1, 1, peers))


def fewest_rounds(peers: int, pieces: int) -> int:
    """Try every schedule: each round, each holder sends one piece and each peer gets one."""
    full = (1 << pieces) - 1
    states, rounds = {(0,) * peers}, 0
    while (full,) * peers not in states:
        rounds += 1
        states = {after for state in states for after in _successors(state, full)}
    return rounds


def _successors(state: tuple[int, ...], full: int) -> set[tuple[int, ...]]:
    """Return what one round can lead to, whoever sends what to whom."""
    found: set[tuple[int, ...]] = set()
    holders = (*state, full)
    for choice in product(*(_options(own, holders) for own in state)):
        sources = [source for source, _ in choice if source >= 0]
        if len(set(sources)) == len(sources):
            after = (own | piece for own, (_, piece) in zip(state, choice, strict=True))
            found.add(tuple(sorted(after)))
    return found


def _options(own: int, holders: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return what one peer can get: source -1 is nothing, else one piece that it lacks."""
    found = [(-1, 0)]
    for source, has in enumerate(holders):
        found += [(source, 1 << bit) for bit in _bits(has & ~own)]
    return found


def _bits(mask: int) -> list[int]:
    return [bit for bit in range(mask.bit_length()) if mask >> bit & 1]


@pytest.mark.parametrize(
    ("peers", "pieces"), [(1, 3), (2, 1), (2, 2), (2, 3), (3, 1), (3, 2), (3, 3), (4, 1), (4, 2)]
)
def test_no_schedule_at_all_is_faster_than_lb_max(peers: int, pieces: int) -> None:
    assert bounds.lb_max(equal(peers, pieces)) == pytest.approx(fewest_rounds(peers, pieces))


@pytest.mark.parametrize(
    ("peers", "last", "mean"),
    [
        (200, 8.00, 8.00),
        (600, 8.54, 8.02),
        (1000, 8.73, 8.04),
        (1200, 8.79, 8.04),
        (2000, 8.98, 8.06),
        (7000, 9.33, 8.11),
    ],
)
def test_the_set_up_of_dragonflys_readme(peers: int, last: float, mean: float) -> None:
    swarm = readme(peers, 4 * MIB)
    assert bounds.lb_max(swarm) == pytest.approx(last, abs=0.005)
    assert bounds.lb_mean(swarm) == pytest.approx(mean, abs=0.006)


def test_small_pieces_bring_the_bound_down_to_the_fluid_one() -> None:
    rates = [25e6] * 1000
    fluid = bounds.fluid_max(200e6, 500e6, rates, rates)
    assert fluid == 8.0
    coarse, fine = (bounds.lb_max(readme(1000, piece)) for piece in (4e6, 0.1e6))
    assert fluid < fine < fluid * 1.02 < coarse


def test_a_weak_seed_or_a_slow_peer_bounds_everybody() -> None:
    assert bounds.fluid_max(100, 1, [10, 10], [10, 10]) == 100
    assert bounds.fluid_max(100, 50, [10, 10], [10, 2]) == 50
    swarm = bounds.Swarm(100, 10, [1.0], [10.0, 10.0], [10.0, 10.0])
    assert bounds.lb_max(swarm) >= 100
    slow = bounds.Swarm(100, 10, [100.0], [10.0, 10.0], [10.0, 0.5], 0.25)
    assert bounds.lb_max(slow) == 200.25


def test_peers_that_upload_nothing_leave_all_to_the_seed() -> None:
    swarm = bounds.Swarm(10, 1, [2.0], [0.0, 0.0, 0.0], [100.0] * 3)
    assert bounds.lb_max(swarm) == pytest.approx(15)


def test_the_mean_is_never_above_the_last_nor_below_the_fluid_mean() -> None:
    for peers, pieces in product((1, 2, 5, 17, 100), (1, 4, 30)):
        swarm = equal(peers, pieces, latency_s=0.125)
        mean = bounds.lb_mean(swarm)
        assert mean <= bounds.lb_max(swarm) * (1 + 1e-9)
        assert mean >= bounds.fluid_mean(pieces, 1, swarm.ups, swarm.downs) * (1 - 1e-9)


def test_receipts_and_their_count_agree() -> None:
    ups = [1.0, 3.0, 0.5, 2.0, 1.0]
    ramp = bounds.Ramp(1.0, [2.0, 1.0], ups, 0.1, inf)
    receipts = ramp.receipts(60)
    assert receipts == sorted(receipts)
    assert len(receipts) == 60
    for nth in (1, 2, 7, 30, 60):
        assert ramp.time_of(nth) == pytest.approx(receipts[nth - 1])
        assert ramp.received(receipts[nth - 1]) >= nth
