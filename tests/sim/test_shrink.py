from __future__ import annotations

from damselfly.sim.misfortunes import Corruption, Crash, Slowdown
from damselfly.sim.scenario import Scenario
from damselfly.sim.shrink import shrink

LARGE = Scenario(
    peers=40,
    file_bytes=100 * 995,
    piece_size=1000,
    peer_up_bytes_per_s=tuple(1e6 + n for n in range(40)),
    arrivals_s=tuple(0.1 * n for n in range(40)),
    latency_s=0.02,
    crashes=tuple(Crash(n, 1.0, 5.0) for n in range(0, 40, 3)),
    corruptions=(Corruption(3, 90), Corruption(39)),
    slowdowns=(Slowdown(0.5, 1.0, 2.0, 0.0, 0.3),),
    seed=9,
)


def test_everything_that_does_not_matter_goes() -> None:
    found = shrink(LARGE, lambda _: True)
    assert found.scenario == Scenario(peers=1, file_bytes=995, seed=9, piece_size=1000) or (
        found.scenario.peers == 1 and found.scenario.layout.count == 1
    )
    assert found.scenario.crashes == found.scenario.slowdowns == found.scenario.corruptions == ()
    assert found.scenario.latency_s == Scenario().latency_s
    assert found.scenario.seed == 9


def test_what_matters_stays() -> None:
    def fails(scenario: Scenario) -> bool:
        crashed = [crash.peer for crash in scenario.crashes]
        return scenario.peers >= 7 and scenario.layout.count >= 3 and 6 in crashed

    found = shrink(LARGE, fails).scenario
    assert (found.peers, found.layout.count) == (7, 3)
    assert found.crashes == (Crash(6, 1.0),)
    assert found.peer_up_bytes_per_s == Scenario().peer_up_bytes_per_s
    assert found.arrivals_s == ()


def test_it_gives_up_after_so_many_runs_and_what_it_has_still_fails() -> None:
    runs: list[Scenario] = []

    def fails(scenario: Scenario) -> bool:
        runs.append(scenario)
        return scenario.peers >= 2

    found = shrink(LARGE, fails, runs=10)
    assert found.runs == len(runs) == 10
    assert found.scenario.peers >= 2


def test_what_cannot_be_made_smaller_is_left_as_it_is() -> None:
    assert shrink(LARGE, lambda _: False).scenario == LARGE
