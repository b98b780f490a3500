from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from damselfly.engine.download import DownloadEngine
from damselfly.engine.effects import KeepPiece
from damselfly.engine.outcomes import FailCode
from damselfly.engine.piece import NO_DIGEST, PieceSizePolicy
from damselfly.engine.supernode import SupernodeEngine
from damselfly.sim.checkers import Violation
from damselfly.sim.misfortunes import SupernodeCrash
from damselfly.sim.scenario import Corruption, Crash, NetworkModel, Scenario
from damselfly.sim.swarm import NotFinished, Swarm

if TYPE_CHECKING:
    from damselfly.sim.report import Report

PIECE = (1 << 20) - 5
SMALL = Scenario(peers=16, file_bytes=20 * PIECE, peer_servers=True)


def run(scenario: Scenario) -> Report:
    """Run with every check there is: each engine's after each call, and those between nodes."""
    return Swarm(scenario, paranoid=True).run()


def copies(report: Report) -> float:
    return (report.supernode_bytes + report.peer_bytes) / report.scenario.file_bytes


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"seed": 1, "peers": 33},
        {"peers": 1},
        {"peers": 2, "file_bytes": 7 * PIECE + 1},
        {"peers": 64, "file_bytes": PIECE + 1, "latency_s": 0.0},
        {"latency_s": 0.0},
        {"latency_s": 0.05, "dead_time_s": 0.01},
        {"up_slots": 1, "down_slots": 1},
        {"up_slots": 4, "down_slots": 3, "supernode_slots": 2},
        {"piece_size": 300_000},
        {"piece_size": PieceSizePolicy.DRAGONFLY},
        {"supernode_bytes_per_s": 25e6},
        {"origin_bytes_per_s": 10e6},
        {"network": NetworkModel.MAX_MIN},
        {"peer_up_bytes_per_s": tuple(5e6 * (1 + n % 7) for n in range(16))},
        {"peer_down_bytes_per_s": tuple(8e6 * (1 + n % 3) for n in range(16))},
    ],
)
def test_everybody_gets_the_file_and_nobody_beats_the_bound(knobs: dict[str, Any]) -> None:
    report = run(replace(SMALL, **knobs))
    assert len(report.completions_s) == report.scenario.peers
    assert report.unfinished == report.crashed == 0
    assert report.origin_bytes == report.scenario.file_bytes
    assert 1 <= copies(report) / report.scenario.peers < 1.02  # what was late is fetched anew
    assert report.ratio_max is not None
    assert report.ratio_mean is not None
    assert report.ratio_max >= 1
    assert report.ratio_mean >= 1


def test_a_large_swarm_ends_near_the_bound_and_spares_the_supernode() -> None:
    report = Swarm(Scenario(peers=200, file_bytes=30 * PIECE), check=True).run()
    assert report.ratio_max is not None
    assert report.ratio_max <= 1.2
    assert report.supernode_bytes <= 4 * report.scenario.file_bytes


@pytest.mark.parametrize("size", [0, 1])
def test_the_smallest_files(size: int) -> None:
    report = run(replace(SMALL, file_bytes=size))
    assert len(report.completions_s) == 16
    assert copies(report) * size == 16 * size if size else report.peer_bytes == 0


def test_peers_that_come_later_need_no_more_from_the_origin() -> None:
    report = run(replace(SMALL, arrivals_s=tuple(0.2 * n for n in range(16))))
    assert len(report.completions_s) == 16
    assert report.origin_bytes == report.scenario.file_bytes
    assert report.simulated_s > 3.0


def test_dead_peers_do_not_keep_the_others_from_finishing() -> None:
    crashes = (Crash(2, 0.0), Crash(3, 0.3), Crash(4, 0.31), Crash(15, 0.5), Crash(0, 1.2))
    report = run(replace(SMALL, crashes=crashes))
    assert report.crashed == 5
    assert report.unfinished == 0
    assert report.origin_bytes == report.scenario.file_bytes


def test_a_swarm_that_dies_altogether_ends() -> None:
    report = run(replace(SMALL, peers=2, crashes=(Crash(0, 0.1), Crash(1, 0.2))))
    assert report.completions_s == ()
    assert report.crashed == 2
    assert report.simulated_s < 5


def test_rotten_pieces_are_noticed_and_come_from_elsewhere() -> None:
    report = run(replace(SMALL, corruptions=(Corruption(1), Corruption(5, 3), Corruption(6, 4))))
    assert len(report.completions_s) == 16
    assert copies(report) > 16  # what was wrong was fetched again


@pytest.mark.parametrize("at_s", [0.0, 0.0004, 0.05, 0.4])
def test_without_the_supernode_the_rest_comes_from_the_origin(at_s: float) -> None:
    report = run(replace(SMALL, supernode_crashes=(SupernodeCrash(at_s),)))
    assert len(report.completions_s) == 16
    assert report.origin_bytes > report.scenario.file_bytes
    if at_s >= 0.4:
        assert report.origin_bytes < 16 * report.scenario.file_bytes  # pieces held were kept


def test_where_the_origin_is_forbidden_losing_the_supernode_is_the_end() -> None:
    crash = SupernodeCrash(0.4)
    scenario = replace(SMALL, supernode_crashes=(crash,), back_to_source=False)
    swarm = Swarm(scenario, check=True)
    with pytest.raises(
        NotFinished, match=r"16 live peers do not have the file at .* s: 10\.0\.0\.0"
    ):
        swarm.run()
    assert swarm.report().unfinished == 16
    assert {p.finish.code for p in swarm.peers if p.finish} == {FailCode.DOWNLOAD_FAILED}


def test_a_run_that_is_given_up_reports_what_it_knows() -> None:
    report = Swarm(replace(SMALL, until_s=0.5)).run()
    assert report.unfinished == 16
    assert 0 < report.peer_bytes < 16 * report.scenario.file_bytes
    assert report.simulated_s == 0.5
    assert report.mean_s is None


def test_progress_is_told() -> None:
    shares: list[float] = []
    Swarm(SMALL, progress=shares.append).run()
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == 1


def test_both_models_of_the_network_agree_where_all_links_are_alike() -> None:
    scenario = Scenario(peers=60, file_bytes=40 * PIECE)
    equal, exact = (
        Swarm(replace(scenario, network=model)).run().max_s
        for model in (NetworkModel.SHARE, NetworkModel.MAX_MIN)
    )
    assert equal is not None
    assert equal == pytest.approx(exact, rel=0.05)


def test_the_seed_decides_everything() -> None:
    first, second, other = (Swarm(replace(SMALL, seed=seed)).run() for seed in (5, 5, 6))
    assert first.trace_digest == second.trace_digest
    assert replace(first, wall_s=1.0) == replace(second, wall_s=1.0)
    assert first.trace_digest != other.trace_digest


def test_the_checkers_change_nothing() -> None:
    assert run(SMALL).trace_digest == Swarm(SMALL).run().trace_digest


def test_a_run_without_digests_is_the_same_run() -> None:
    with_one, without = Swarm(SMALL).run(), Swarm(SMALL, digests=False).run()
    assert without.trace_digest == ""
    assert without.engine_calls == with_one.engine_calls
    assert without.completions_s == with_one.completions_s


def test_two_processes_with_different_hash_seeds_agree() -> None:
    command = [sys.executable, "-m", "damselfly.cli.dfsim", "run", "--trace-digest"]
    command += ["--peers", "40", "--size", "20MB", "--seed", "3"]
    digests = [
        subprocess.run(
            command,
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "1")
    ]
    assert len(digests[0].strip()) == 32
    assert digests[0] == digests[1]


def test_the_engines_are_the_production_ones() -> None:
    swarm = Swarm(replace(SMALL, peers=1))
    assert type(swarm.peers[0].node.engine) is DownloadEngine
    assert type(swarm.supernode.node.engine) is SupernodeEngine


def test_a_planted_bug_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = DownloadEngine.handle

    def careless(engine: DownloadEngine, event: Any, now: float) -> list[Any]:
        effects = handle(engine, event, now)
        return [
            structs.replace(e, digest=NO_DIGEST) if isinstance(e, KeepPiece) else e for e in effects
        ]

    monkeypatch.setattr(DownloadEngine, "handle", careless)
    with pytest.raises(Violation, match="keeps piece"):
        Swarm(SMALL, check=True).run()
