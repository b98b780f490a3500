from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from damselfly.engine.errors import ConfigError, DamselflyError
from damselfly.sim import sweep as sweeps
from damselfly.sim.cluster import each_on
from damselfly.sim.pool import each
from damselfly.sim.results import add_result, ranked, read_results
from damselfly.sim.sweep import RunFailed, play
from damselfly.sim.sweep_file import load_sweep
from damselfly.sim.world import World

if TYPE_CHECKING:
    from pathlib import Path

    from damselfly.sim.sweep import Point

GRID = """\
scenario: flash-crowd
set: {peers: 4, file_bytes: 3MB}
grid:
  policy: [damselfly, random]
  supernode_config.rare_copies: [1, 2]
seeds: 2
"""
RANDOM = """\
set:
  peers: 4
random:
  draws: 30
  seed: 5
  over:
    up_slots: {from: 1, to: 4}
    latency_s: {from: 0.1ms, to: 100ms, scale: log}
    piece_size: [512KiB, adaptive]
"""


def points(tmp_path: Path, text: str) -> list[Point]:
    path = tmp_path / "sweep.yml"
    path.write_text(text)
    return load_sweep(path).points()


def test_a_grid_is_every_combination_under_every_seed(tmp_path: Path) -> None:
    found = points(tmp_path, GRID)
    settings = [
        (p.scenario.policy, p.scenario.supernode_config.rare_copies, p.scenario.seed) for p in found
    ]
    assert settings == [
        (policy, copies, seed)
        for policy in ("damselfly", "random")
        for copies in (1, 2)
        for seed in (0, 1)
    ]
    assert {(p.scenario.peers, p.scenario.file_bytes, p.name) for p in found} == {
        (4, 3_000_000, "flash-crowd")
    }
    assert found[0].parameters == {"policy": "damselfly", "supernode_config.rare_copies": 1}
    assert len({p.key for p in found}) == 8


def test_a_random_search_draws_within_its_ranges(tmp_path: Path) -> None:
    found = points(tmp_path, RANDOM)
    assert len(found) == 30
    slots = [p.scenario.up_slots for p in found]
    assert {type(s) for s in slots} == {int}
    assert set(slots) == {1, 2, 3, 4}
    latencies = sorted(p.scenario.latency_s for p in found)
    assert 1e-4 <= latencies[0] < 1e-3
    assert 1e-2 < latencies[-1] <= 0.1
    assert {p.parameters["piece_size"] for p in found} == {524288, "adaptive"}


def test_more_draws_leave_the_others_as_they_were(tmp_path: Path) -> None:
    few = points(tmp_path, RANDOM)
    more = points(tmp_path, RANDOM.replace("draws: 30", "draws: 40"))
    assert [p.key for p in more[:30]] == [p.key for p in few]
    other = points(tmp_path, RANDOM.replace("seed: 5", "seed: 6"))
    assert not {p.key for p in other} & {p.key for p in few}


def test_other_code_makes_other_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = points(tmp_path, GRID)
    monkeypatch.setattr(sweeps, "code_version", lambda: "9.9+0")
    theirs = points(tmp_path, GRID)
    assert not {p.key for p in ours} & {p.key for p in theirs}
    with pytest.raises(RunFailed, match=r"seed 0: the worker has damselfly 9\.9\+0: expected "):
        play(ours[0])


def test_the_scenario_of_a_sweep_may_lie_beside_it(tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text("peers: 3\ntopology: {racks: 2}\n")
    found = points(tmp_path, "scenario: mine.yml\ngrid: {topology.racks: [1, 3]}\nseeds: [7]\n")
    racks = [p.scenario.topology.racks for p in found if p.scenario.topology is not None]
    assert racks == [1, 3]
    assert [(p.scenario.peers, p.scenario.seed) for p in found] == [(3, 7), (3, 7)]


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", 1, "a sweep: expected keys with values"),
        ("- 1\n", 1, "a sweep: expected keys with values"),
        ("grids: {}\n", 1, "grids: unknown key; did you mean grid?"),
        ("scenario: flash-crwd\n", 1, "there is no such file; did you mean flash-crowd?"),
        ("\nset: {peeers: 3}\n", 2, "set.peeers: unknown key; did you mean peers?"),
        ("set: {peers: -3}\n", 1, "peers is -3: expected at least 1"),
        ("set: {seed: 3}\n", 1, "set.seed: expected seeds, at the top"),
        ("grid:\n  up_slots: 3\n", 2, "up_slots: expected a list of values"),
        ("grid:\n  up_slots: []\n", 2, "up_slots: expected a list of values"),
        ("grid:\n  up_slots: [2, x]\n", 2, "up_slots is 'x': expected an integer"),
        ("grid:\n\n  up_slots: [2, 0]\n", 3, "up_slots is 0: expected at least 1"),
        ("grid:\n  policy: [best]\n", 2, "policy is 'best': expected damselfly"),
        ("grid:\n  classes.share: [1]\n", 2, "unknown key; did you mean classes?"),
        ("grid:\n  topology.racks: [1]\n", 2, "topology.racks is given: expected a scenario"),
        ("grid:\n  supernode_config.hold_s: [0]\n", 2, "hold_s is 0.0: expected more than 0"),
        ("grid:\n  supernode_config.ip: [a]\n", 2, "supernode_config.ip is a: expected none"),
        ("grid:\n  supernode_config.policy: [random]\n", 2, "expected policy of the scenario"),
        ("set: {peers: 2}\ngrid:\n  peers: [2]\n", 3, "grid.peers: given in line 1 too"),
        ("random: {draws: 2}\n", 1, "random: over must be given"),
        ("random:\n  draws: 0\n  over: {}\n", 2, "random.draws is 0: expected at least 1"),
        ("random:\n  draws: 1\n  over:\n    peers: {from: 3}\n", 4, "to must be given"),
        ("random:\n  draws: 1\n  over:\n    peers: 4\n", 4, "peers: expected keys with values"),
        (
            "random:\n  draws: 1\n  over:\n    peers: {from: 3, to: 2}\n",
            4,
            "peers is from 3 to 2: expected from not above to",
        ),
        (
            "random:\n  draws: 1\n  over:\n    latency_s:\n      {from: 0, to: 2s, scale: log}\n",
            4,
            "expected from above 0",
        ),
        (
            "random:\n  draws: 1\n  over:\n    peers: {from: 3, to: 4, scale: cubic}\n",
            4,
            "'cubic': expected linear or log",
        ),
        (
            "random:\n  draws: 1\n  over:\n    policy: {from: 3, to: 4}\n",
            4,
            "policy: no number; expected a list of values",
        ),
        ("seeds: 0\n", 1, "seeds is 0: expected at least 1"),
        ("seeds: [1, 1]\n", 1, "seeds: expected different numbers"),
        ("seeds: [[1]]\n", 1, "seeds is '[...]'"),
    ],
)
def test_an_error_names_file_line_and_key(text: str, line: int, says: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.yml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_sweep(path)
    assert str(error.value).startswith(f"{path}:{line}: ")
    assert says in str(error.value)


def test_results_are_kept_and_read_again(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert read_results(out) == []
    made = [play(point) for point in points(tmp_path, GRID)[:2]]
    for result in made:
        add_result(out, result)
    with out.open("a") as file:
        file.write('{"key": "cut o')
    assert read_results(out) == made
    assert [json.loads(line)["key"] for line in out.read_text().splitlines()] == [
        result.key for result in made
    ]
    out.write_text(f"{out.read_text()}{{}}\n")
    with pytest.raises(ConfigError, match=r"out\.jsonl:3: .*expected a row as a sweep writes it"):
        read_results(out)


def test_the_nearest_to_the_bound_is_first_unless_peers_were_left_out(tmp_path: Path) -> None:
    some = play(points(tmp_path, GRID)[0])
    rows = [
        replace(some, parameters={"x": 1}, ratio_mean=1.5),
        replace(some, parameters={"x": 1}, ratio_mean=1.3, seed=1),
        replace(some, parameters={"x": 2}, ratio_mean=1.1),
        replace(some, parameters={"x": 3}, ratio_mean=1.0, unfinished=1),
        replace(some, parameters={"x": 4}, ratio_mean=None, mean_s=None, max_s=None, unfinished=4),
    ]
    found = ranked(rows)
    assert [(one.parameters["x"], one.seeds) for one in found] == [(2, 1), (1, 2), (3, 1), (4, 1)]
    assert found[1].ratio_mean == pytest.approx(1.4)


def test_a_run_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(world: World, until: float) -> bool:
        raise ValueError("no time")

    point = points(tmp_path, GRID)[1]
    monkeypatch.setattr(World, "run", broken)
    said = r"flash-crowd, policy damselfly, supernode_config.rare_copies 1, seed 1: ValueError: no"
    with pytest.raises(RunFailed, match=said):
        play(point)


def test_several_processes_come_to_the_same(tmp_path: Path) -> None:
    jobs = points(tmp_path, GRID)[:3]
    ours = {result.key: result.trace_digest for result in each(play, jobs, processes=1)}
    theirs = {result.key: result.trace_digest for result in each(play, jobs, processes=2)}
    assert ours == theirs


def test_a_dask_cluster_comes_to_the_same(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")
    jobs = points(tmp_path, GRID)
    local = {"n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}
    with distributed.LocalCluster(**local, processes=False) as cluster:
        theirs = {r.key: r.trace_digest for r in each_on(cluster.scheduler_address, play, jobs)}
        early = each_on(cluster.scheduler_address, play, jobs)
        assert next(early).key in theirs
        early.close()
    assert theirs == {result.key: result.trace_digest for result in map(play, jobs)}


def test_a_cluster_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="the extra dask is not installed")
    monkeypatch.setattr("damselfly.sim.cluster._CONNECT_S", 0.2)
    with pytest.raises(DamselflyError, match=r"--dask tcp://127\.0\.0\.1:1: no connection: "):
        next(each_on("tcp://127.0.0.1:1", play, []))
    with pytest.raises(DamselflyError, match=r"--dask nowhere:x: no connection: "):
        next(each_on("nowhere:x", play, []))


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_spec(name: str) -> None:
        assert name == "distributed"

    monkeypatch.setattr("damselfly.sim.cluster.find_spec", find_spec)
    with pytest.raises(ConfigError, match=r"pip install 'damselfly\[dask\]'"):
        next(each_on("tcp://127.0.0.1:1", play, []))
