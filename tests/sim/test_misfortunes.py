"""What befalls a swarm, one thing after the other, and what becomes of it; every check is on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from damselfly.engine.outcomes import FailCode
from damselfly.sim.misfortunes import (
    Churn,
    Crash,
    Cut,
    Outage,
    Partition,
    Slowdown,
    SupernodeCrash,
)
from damselfly.sim.population import PeerClass, Uploads
from damselfly.sim.scenario import NetworkModel, Scenario, SupernodeChoice
from damselfly.sim.swarm import Swarm
from damselfly.sim.topology import Topology

if TYPE_CHECKING:
    from damselfly.sim.report import Report

PIECE = (1 << 20) - 5
PEERS = 16
SMALL = Scenario(peers=PEERS, file_bytes=20 * PIECE)


def run(**knobs: Any) -> Report:
    return Swarm(replace(SMALL, **knobs), paranoid=True).run()


def slower(first: Report, second: Report) -> bool:
    assert first.mean_s is not None
    assert second.mean_s is not None
    return first.mean_s > second.mean_s


@pytest.mark.parametrize(
    "knobs",
    [
        {"jitter_s": 0.01},
        {"control_latency_s": 0.005},
        {"message_loss": 0.05},
        {"tcp_window_bytes": 14600, "latency_s": 0.01},
        {"disk_bytes_per_s": 20e6, "disk_latency_s": 0.001},
        {"piece_cpu_s": 0.03, "message_cpu_s": 0.002},
        {"supernode_messages_per_s": 300.0},
        {"origin_latency_s": 0.2},
        {"origin_drops": 0.9},
        {"origin_drops": 0.5, "origin_ranges": False},
        {"origin_errors": 0.2},
        {"origin_outages": (Outage(0.0, 0.3), Outage(0.7, 1.0))},
        {"up_spread": 0.3},
        {"classes": (PeerClass(0.3, uploads=Uploads.NONE), PeerClass(0.1, up=4, down=2))},
        {"classes": (PeerClass(0.3, uploads=Uploads.REFUSED),)},
        {"classes": (PeerClass(0.2, corrupt=True),)},
        {"slowdowns": (Slowdown(0.3, 0.2, 0.5, up=0.1), Slowdown(0.3, 0.3, down=0.2))},
        {"slowdowns": (Slowdown(0.2, 0.2, 15.0, up=0.0),)},
        {"topology": Topology(sites=2, racks=2, site_bytes_per_s=50e6, rack_bytes_per_s=100e6)},
        {"topology": Topology(racks=2, rack_latency_s=0.0), "network": NetworkModel.MAX_MIN},
        {"topology": Topology(sites=2, latencies_s=((0, 0.02), (0.01, 0))), "supernodes": 2},
        {"arrivals_over_s": 2.0},
        {"waves": 4, "wave_pause_s": 1.0, "linger_s": 0.5},
        {"linger_s": 0.0, "peer_servers": True, "arrivals_over_s": 3.0},
        {"files": 3, "file_bytes": 5 * PIECE},
        {"files": 5, "files_each": 2, "file_bytes": 4 * PIECE, "peer_servers": True},
        {"supernodes": 2, "supernode_choice": SupernodeChoice.SPREAD},
    ],
)
def test_everybody_gets_the_file_all_the_same(knobs: dict[str, Any]) -> None:
    report = run(**knobs)
    assert len(report.completions_s) == PEERS
    assert report.unfinished == report.crashed == report.without_room == 0
    assert report.trace_digest == Swarm(replace(SMALL, **knobs)).run().trace_digest


@pytest.mark.parametrize(
    "knobs",
    [
        {"control_latency_s": 0.05},
        {"jitter_s": 0.2},
        {"tcp_window_bytes": 14600, "latency_s": 0.02},
        {"disk_bytes_per_s": 10e6},
        {"piece_cpu_s": 0.2},
        {"message_cpu_s": 0.05},
        {"supernode_messages_per_s": 100.0},
        {"origin_latency_s": 0.5},
        {"topology": Topology(sites=2, site_bytes_per_s=5e6)},
        {"topology": Topology(racks=4, rack_bytes_per_s=15e6)},
        {"topology": Topology(racks=4, rack_bytes_per_s=15e6), "network": NetworkModel.MAX_MIN},
        {"slowdowns": (Slowdown(1.0, 0.1, up=0.2),)},
    ],
)
def test_what_is_asked_for_costs_time(knobs: dict[str, Any]) -> None:
    usual = {name: value for name, value in knobs.items() if name == "latency_s"}
    assert slower(Swarm(replace(SMALL, **knobs)).run(), Swarm(replace(SMALL, **usual)).run())


def test_without_supernodes_everybody_reads_the_origin() -> None:
    report = Swarm(replace(SMALL, supernodes=0, origin_bytes_per_s=250e6)).run()
    assert len(report.completions_s) == PEERS
    assert report.origin_bytes == PEERS * SMALL.file_bytes
    assert report.ratio_max is not None
    assert report.ratio_max >= 1


def test_files_are_told_apart_and_each_is_read_once() -> None:
    report = run(files=4, files_each=2, file_bytes=5 * PIECE)
    assert report.origin_bytes == 4 * 5 * PIECE
    assert report.supernode_bytes + report.peer_bytes == PEERS * 2 * 5 * PIECE


def test_where_the_name_of_the_file_decides_two_supernodes_read_it_once() -> None:
    for choice, times in ((SupernodeChoice.HASH, 1), (SupernodeChoice.SPREAD, 2)):
        report = run(supernodes=2, supernode_choice=choice)
        assert report.origin_bytes == times * SMALL.file_bytes


def test_files_are_spread_over_supernodes_by_their_names() -> None:
    swarm = Swarm(replace(SMALL, supernodes=3, files=12, file_bytes=PIECE))
    swarm.run()
    counts = [len(supernode.host.replicas) for supernode in swarm.supernodes]
    assert sum(counts) == 12
    assert min(counts) > 0


def test_peers_migrate_with_what_they_hold_when_their_supernode_dies() -> None:
    moved = [
        run(supernodes=2, supernode_crashes=(SupernodeCrash(0.4, number),)) for number in (0, 1)
    ]
    for report in moved:
        assert len(report.completions_s) == PEERS
    # The file lives at one of the two: the death of the other changes nothing.
    assert sorted(report.origin_bytes for report in moved) == [
        SMALL.file_bytes,
        2 * SMALL.file_bytes,
    ]


def test_a_supernode_that_comes_back_knows_its_copies_if_its_disk_survived() -> None:
    back = SupernodeCrash(0.6, back_after_s=1.0)
    kept = run(supernode_crashes=(back,))
    lost = run(supernode_crashes=(replace(back, loses_disk=True),))
    assert len(kept.completions_s) == len(lost.completions_s) == PEERS
    assert SMALL.file_bytes <= kept.origin_bytes < lost.origin_bytes


def test_machines_that_come_back_go_on_with_what_their_disks_kept() -> None:
    crashes = tuple(Crash(peer, 0.7, 0.5) for peer in range(4))
    kept = run(crashes=crashes)
    lost = run(crashes=crashes, disk_unsynced_s=60.0)
    for report in (kept, lost):
        assert len(report.completions_s) == PEERS
        assert report.crashed == report.unfinished == 0
    moved = kept.supernode_bytes + kept.peer_bytes
    assert moved < lost.supernode_bytes + lost.peer_bytes
    assert moved < (PEERS + 1) * SMALL.file_bytes


def test_a_machine_may_die_before_it_starts_and_twice() -> None:
    crashes = (Crash(0, 0.0, 0.5), Crash(0, 0.9, 0.5), Crash(1, 0.2, 0.2), Crash(2, 5.0, 1.0))
    report = run(crashes=crashes, arrivals_s=(0.3, *(0.0,) * (PEERS - 1)))
    assert len(report.completions_s) == PEERS


def test_bad_pieces_on_a_disk_are_found_when_a_machine_comes_back() -> None:
    swarm = Swarm(
        replace(SMALL, classes=(PeerClass(1.0, corrupt=True),), crashes=(Crash(3, 0.7, 0.5),)),
        paranoid=True,
    )
    report = swarm.run()
    assert len(report.completions_s) == PEERS


def test_churn_leaves_everybody_else_with_the_file() -> None:
    report = run(churn=(Churn(0.25, 0.1, 0.9),))
    assert report.crashed == 4
    assert len(report.completions_s) >= PEERS - 4
    report = run(churn=(Churn(0.25, 0.1, 0.9, 1.0),))
    assert len(report.completions_s) == PEERS


@pytest.mark.parametrize("cut", Cut)
def test_those_cut_off_go_on_when_the_cut_heals(cut: Cut) -> None:
    report = run(partitions=(Partition(0.3, 3.0, share=0.3, cut=cut),))
    assert len(report.completions_s) == PEERS
    assert report.origin_bytes == SMALL.file_bytes
    assert report.max_s is not None
    assert report.max_s > 3.0


def test_a_site_that_is_cut_off_for_long_takes_up_where_it_was() -> None:
    topology = Topology(sites=2)
    report = run(topology=topology, partitions=(Partition(0.3, 55.0, site=1),))
    assert len(report.completions_s) == PEERS
    assert sum(time_s < 55 for time_s in report.completions_s) == PEERS // 2


def test_the_supernodes_site_may_be_cut_off_from_the_origin() -> None:
    report = run(topology=Topology(sites=2), partitions=(Partition(0.1, 2.0, site=0),))
    assert len(report.completions_s) == PEERS


def test_machines_with_too_small_a_disk_fail_and_nobody_waits_for_them() -> None:
    swarm = Swarm(replace(SMALL, classes=(PeerClass(0.25, disk_bytes=3 * PIECE),)), paranoid=True)
    report = swarm.run()
    assert report.without_room == 4
    assert report.unfinished == 0
    assert len(report.completions_s) == PEERS - 4
    codes = [peer.finish.code for peer in swarm.peers if peer.finish and not peer.has_file]
    assert codes == [FailCode.DOWNLOAD_FAILED] * 4


def test_a_supernode_without_room_for_a_file_leaves_its_peers_to_the_origin() -> None:
    report = run(supernode_disk_bytes=10 * PIECE)
    assert len(report.completions_s) == PEERS
    assert report.supernode_bytes == 0
    assert report.origin_bytes == PEERS * SMALL.file_bytes


def test_a_supernode_makes_room_for_new_files_by_deleting_old_ones() -> None:
    # The second file comes when the first has left the supernode's memory, but not its disk.
    swarm = Swarm(
        replace(
            SMALL,
            peers=2,
            files=2,
            files_each=1,
            file_bytes=6 * PIECE,
            supernode_disk_bytes=8 * PIECE,
            arrivals_s=(0.0, 500.0),
            seed=1,
        ),
        paranoid=True,
    )
    assert swarm.scenario.wants == ((1,), (0,))
    report = swarm.run()
    assert len(report.completions_s) == 2
    assert report.supernode_bytes == 12 * PIECE
    assert sorted(len(r.stored) for r in swarm.supernode.host.replicas.values()) == [0, 6]


def test_peers_that_left_serve_nobody() -> None:
    for servers in (False, True):
        swarm = Swarm(replace(SMALL, peers=4, linger_s=0.2, peer_servers=servers), paranoid=True)
        report = swarm.run()
        assert len(report.completions_s) == 4
        assert not any(machine.host.listens for machine in swarm.machines)


def test_misfortunes_are_drawn_from_the_seed() -> None:
    knobs: dict[str, Any] = {"churn": (Churn(0.3, 0.0, 1.0, 0.5),), "message_loss": 0.02}
    knobs |= {"partitions": (Partition(0.2, 0.5, share=0.4),), "jitter_s": 0.001}
    first, again, other = (run(**knobs, seed=seed).trace_digest for seed in (1, 1, 2))
    assert first == again != other
