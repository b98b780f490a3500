"""Scenarios that once showed a fault; each runs with every check on."""

from __future__ import annotations

import pytest

from damselfly.sim.scenario import Crash, Scenario
from damselfly.sim.swarm import Swarm


def test_an_answer_that_crosses_a_failure_report_starts_no_second_fetch() -> None:
    scenario = Scenario(
        peers=2, file_bytes=20_000_000, arrivals_s=(0.0, 0.9), crashes=(Crash(0, 0.85),)
    )
    report = Swarm(scenario, check=True, paranoid=True).run()
    assert report.unfinished == 0


@pytest.mark.parametrize("crash_s", [0.015, 0.02])
def test_a_piece_in_flight_to_dead_peers_alone_does_not_keep_others_waiting(crash_s: float) -> None:
    scenario = Scenario(
        peers=3,
        file_bytes=1_048_571,
        arrivals_s=(0.0, 0.0, 0.02),
        crashes=(Crash(0, crash_s), Crash(1, crash_s)),
    )
    report = Swarm(scenario, check=True, paranoid=True).run()
    assert report.unfinished == 0
    assert report.max_s is not None
    assert report.max_s < 3.0
