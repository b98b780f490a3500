from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from damselfly.sim.misfortunes import Churn
from damselfly.sim.recorder import Record, Recorder, gini
from damselfly.sim.scenario import Scenario
from damselfly.sim.swarm import Swarm

if TYPE_CHECKING:
    from damselfly.sim.report import Report

PIECE = (1 << 20) - 5
SMALL = Scenario(peers=12, file_bytes=20 * PIECE, seed=3)


def recorded(scenario: Scenario) -> tuple[Report, Record]:
    recorder = Recorder()
    report = Swarm(scenario, recorder=recorder).run()
    return report, recorder.record()


@pytest.mark.parametrize("check", [False, True])
def test_a_run_goes_the_same_way_with_and_without(check: bool) -> None:
    with_one = Swarm(SMALL, check=check, recorder=Recorder()).run()
    assert with_one.trace_digest == Swarm(SMALL, check=check).run().trace_digest


def test_samples_end_where_the_report_does_and_never_fall() -> None:
    report, record = recorded(SMALL)
    first, last = record.samples[0], record.samples[-1]
    assert (first.at_s, first.high, first.peer_bytes) == (0.0, 0.0, 0)
    assert (last.low, last.median, last.high, last.done) == (1.0, 1.0, 1.0, 1.0)
    assert last.at_s == report.simulated_s
    assert last.origin_bytes == report.origin_bytes
    assert last.supernode_bytes == report.supernode_bytes
    assert last.peer_bytes == report.peer_bytes
    for one, other in zip(record.samples, record.samples[1:], strict=False):
        assert one.at_s < other.at_s
        assert one.low <= one.median <= one.high
        assert one.median <= other.median
        assert one.peer_bytes <= other.peer_bytes
        assert one.done <= other.done


def test_a_long_run_has_no_more_samples_than_a_short_one() -> None:
    _, record = recorded(replace(SMALL, peers=3, arrivals_s=(0.0, 50.0, 200.0)))
    assert 200 <= len(record.samples) <= 402
    pauses = [b.at_s - a.at_s for a, b in zip(record.samples, record.samples[1:], strict=False)]
    assert max(pauses[:-1]) == pytest.approx(min(pauses[:-1]))


def test_uploads_add_up_to_what_peers_gave() -> None:
    report, record = recorded(SMALL)
    assert sum(record.uploaded_bytes) == report.peer_bytes > 0
    assert len(record.uploaded_bytes) == 12


def test_the_heat_map_has_every_piece_of_every_peer() -> None:
    report, record = recorded(SMALL)
    heat = record.heat
    assert (heat.rows, heat.columns) == (heat.peers, heat.pieces) == (12, 20)
    last_s = [
        max(heat.arrived_s[row * 20 : row * 20 + 20], key=lambda t: t or 0) for row in range(12)
    ]
    assert sorted(last_s, key=lambda t: t or 0) == pytest.approx(report.completions_s, abs=0.01)


def test_many_pieces_share_cells() -> None:
    _, record = recorded(Scenario(peers=2, file_bytes=260 * 1000, piece_size=1005))
    heat = record.heat
    assert (heat.rows, heat.columns, heat.pieces) == (2, 250, 260)
    assert None not in heat.arrived_s


def test_a_peer_that_comes_back_brings_what_it_had() -> None:
    churn = Churn(share=0.5, from_s=0.6, until_s=0.8, back_after_s=0.5)
    report, record = recorded(replace(SMALL, churn=(churn,)))
    last = record.samples[-1]
    assert last.own_bytes > 0
    assert last.own_bytes % PIECE == 0
    assert (last.low, last.done) == (1.0, 1.0)
    assert sum(record.uploaded_bytes) <= report.peer_bytes  # what broke off counts there alone


def test_several_files_lie_side_by_side() -> None:
    _, record = recorded(replace(SMALL, files=3, files_each=2))
    cells, heat = record.heat.arrived_s, record.heat
    assert heat.pieces == 60
    came = [sum(c is not None for c in cells[row * 60 : row * 60 + 60]) for row in range(12)]
    assert came == [40] * 12
    assert record.samples[-1].low == 1.0


def test_what_was_seen_so_far_can_be_had_at_any_time() -> None:
    recorder = Recorder()
    swarm = Swarm(SMALL, recorder=recorder)
    swarm.stage.world.play(recorder.story())
    for machine in swarm.machines:
        machine.start()
    swarm.stage.world.run(0.5)
    assert swarm.report().is_partial
    assert 0 < recorder.record().samples[-1].high < 1
    assert any(cell is None for cell in recorder.record().heat.arrived_s)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [([], 0.0), ([0, 0], 0.0), ([5, 5, 5], 0.0), ([0, 0, 0, 8], 0.75), ([1, 3], 0.25)],
)
def test_gini(values: list[int], wanted: float) -> None:
    assert gini(values) == pytest.approx(wanted)
