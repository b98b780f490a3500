from __future__ import annotations

import json
from dataclasses import replace

import pytest

from damselfly.sim.report import Report, percentile, spread
from damselfly.sim.scenario import Scenario

REPORT = Report(
    scenario=Scenario(peers=4, file_bytes=50_000_000, seed=9),
    completions_s=(2.0, 2.0, 3.0, 5.0),
    spreads=(1.0, 1.0, 1.5, 2.5),
    unfinished=0,
    crashed=0,
    without_room=0,
    origin_bytes=50_000_000,
    supernode_bytes=75_000_000,
    peer_bytes=125_000_000,
    transfers=400,
    engine_calls=2000,
    simulated_s=6.0,
    wall_s=0.5,
    trace_digest="ab12",
)


@pytest.mark.parametrize(
    ("percent", "value"), [(0, 1.0), (25, 1.0), (50, 2.0), (51, 3.0), (99, 4.0), (100, 4.0)]
)
def test_percentiles_are_values_that_occurred(percent: float, value: float) -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], percent) == value


def test_there_is_no_percentile_of_nothing() -> None:
    assert percentile([], 50) is None


def test_json_has_the_figures_under_their_names() -> None:
    bound_mean_s, bound_max_s = REPORT.scenario.bounds
    assert json.loads(REPORT.json()) == {
        "peers": 4,
        "file_bytes": 50_000_000,
        "mean_s": 3.0,
        "p50_s": 2.0,
        "p99_s": 5.0,
        "max_s": 5.0,
        "bound_mean_s": bound_mean_s,
        "bound_max_s": bound_max_s,
        "ratio_mean": 3.0 / bound_mean_s,
        "ratio_max": 5.0 / bound_max_s,
        "spread_mean": 1.5,
        "spread_max": 2.5,
        "origin_bytes": 50_000_000,
        "supernode_bytes": 75_000_000,
        "peer_bytes": 125_000_000,
        "wall_s": 0.5,
        "transfers_per_s": 800.0,
        "trace_digest": "ab12",
        "seed": 9,
        "partial": False,
    }


def test_the_text_tells_a_person_the_same() -> None:
    text = REPORT.text()
    assert "4 of 4 peers have the file; 48 pieces of 1048576 bytes" in text
    assert "mean 3.000 s  p50 2.000 s  p99 5.000 s  max 5.000 s" in text
    assert "75.0 MB  1.50 files" in text
    assert "800 transfers/s, 4,000 engine calls/s" in text
    assert text.endswith("\ntrace        ab12")
    assert "trace" not in replace(REPORT, trace_digest="").text()


def test_how_alike_the_files_of_one_machine_fare_is_told_where_there_are_several() -> None:
    assert "last/first" not in REPORT.text()
    several = replace(REPORT, scenario=replace(REPORT.scenario, files=2))
    assert "last/first   mean 1.500  max 2.500" in several.text()
    nobody = replace(several, completions_s=(), spreads=())
    assert "last/first" not in nobody.text()
    assert json.loads(nobody.json())["spread_max"] is None


@pytest.mark.parametrize(
    ("seconds", "ratio"), [((2.0, 3.0, 4.0), 2.0), ((2.0,), 1.0), ((0.0, 0.0), 1.0), ((), 1.0)]
)
def test_a_spread_is_the_longest_over_the_shortest(
    seconds: tuple[float, ...], ratio: float
) -> None:
    assert spread(seconds) == ratio


def test_peers_without_the_file_are_named_loudly() -> None:
    text = replace(REPORT, completions_s=(2.0,), unfinished=2, crashed=1).text()
    assert text.startswith("1 of 4 peers have the file, 1 crashed, 2 DO NOT;")


def test_a_report_before_the_end_says_so() -> None:
    report = replace(REPORT, is_partial=True)
    assert report.text().startswith("PARTIAL, up to 6.000 s: 4 of 4 peers have the file;")
    assert json.loads(report.json())["partial"] is True


def test_a_run_in_which_nobody_finished_has_no_times() -> None:
    report = replace(REPORT, completions_s=(), unfinished=4)
    figures = json.loads(report.json())
    assert figures["mean_s"] is figures["max_s"] is figures["ratio_max"] is None
    assert "mean -  p50 -  p99 -  max -" in report.text()
