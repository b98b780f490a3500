from __future__ import annotations

from dataclasses import replace
from math import inf, nan
from typing import TYPE_CHECKING, Any

import pytest

from damselfly.engine.config import SupernodeConfig
from damselfly.engine.errors import ConfigError
from damselfly.engine.piece import PieceSizePolicy
from damselfly.sim import bounds
from damselfly.sim.misfortunes import Churn, Outage, Partition, Slowdown, SupernodeCrash
from damselfly.sim.population import PeerClass, Uploads
from damselfly.sim.scenario import Corruption, Crash, Scenario
from damselfly.sim.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("misfortune", "says"),
    [
        (lambda: Crash(0, -1.0), "crashes.at_s is -1.0"),
        (lambda: Crash(0, 1.0, 0.0), "crashes.back_after_s is 0.0"),
        (lambda: Churn(1.5, 0, 1), "churn.share is 1.5"),
        (lambda: Churn(0.5, 2, 1), "churn.until_s is 1: expected at least 2"),
        (lambda: SupernodeCrash(1.0, back_after_s=-1.0), "supernode_crashes.back_after_s is -1.0"),
        (lambda: Slowdown(0.5, 1.0, up=2.0), "slowdowns.up is 2.0: expected 0 to 1"),
        (lambda: Slowdown(0.5, 1.0, 0.0), "slowdowns.for_s is 0.0"),
        (lambda: Partition(1.0, 0.0), "partitions.for_s is 0.0"),
        (lambda: Outage(-1.0, 1.0), "origin_outages.at_s is -1.0"),
        (lambda: PeerClass(0.5, up=0.0), "classes.up is 0.0"),
        (lambda: PeerClass(0.5, disk_bytes=-1), "classes.disk_bytes is -1"),
        (lambda: Topology(sites=0), "topology.sites is 0"),
        (lambda: Topology(rack_bytes_per_s=0.0), "topology.rack_bytes_per_s is 0.0"),
        (lambda: Topology(sites=2, latencies_s=((0.1, 0.2),)), "topology.latencies_s has 1 rows"),
        (lambda: Topology(latencies_s=((-1.0,),)), "topology.latencies_s is -1.0"),
    ],
)
def test_a_misfortune_that_cannot_be_is_named(misfortune: Callable[[], Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        misfortune()


@pytest.mark.parametrize(
    "knobs",
    [
        {"supernodes": 0, "back_to_source": False},
        {"supernode_crashes": (SupernodeCrash(0.0),), "back_to_source": False},
        {"origin_outages": (Outage(0.0, 60.0),), "until_s": 60.0},
    ],
)
def test_a_file_that_nobody_can_bring_is_refused(knobs: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"can (never )?be reached"):
        Scenario(**knobs)


@pytest.mark.parametrize(
    ("knob", "value", "says"),
    [
        ("peers", 0, "peers is 0: expected at least 1"),
        ("file_bytes", -1, "file_bytes is -1: expected at least 0"),
        ("peer_up_bytes_per_s", 0.0, "peer_up_bytes_per_s is 0.0: expected more than 0"),
        ("peer_down_bytes_per_s", nan, "peer_down_bytes_per_s is nan"),
        ("peer_up_bytes_per_s", (1.0, 2.0), "peer_up_bytes_per_s has 2 values: expected 3"),
        ("peer_down_bytes_per_s", (1.0, 2.0, -3.0), "peer_down_bytes_per_s is -3.0"),
        ("supernode_bytes_per_s", inf, "supernode_bytes_per_s is inf"),
        ("origin_bytes_per_s", 0, "origin_bytes_per_s is 0: expected more than 0"),
        ("latency_s", -0.1, "latency_s is -0.1"),
        ("dead_time_s", -0.1, "dead_time_s is -0.1"),
        ("piece_size", 5, "piece_size is 5: expected 6 to 15728640"),
        ("piece_size", 16 << 20, "piece_size is 16777216"),
        ("up_slots", 0, "up_slots is 0"),
        ("supernode_slots", 0, "supernode_slots is 0"),
        ("arrivals_s", (0.0,), "arrivals_s has 1 values: expected 3"),
        ("arrivals_s", (0.0, -1.0, 0.0), "arrivals_s is -1.0"),
        ("crashes", (Crash(3, 1.0),), "crashes.peer is 3: expected 0 to 2"),
        ("corruptions", (Corruption(-1),), "corruptions.peer is -1"),
        ("corruptions", (Corruption(0, 400),), "corruptions.piece is 400: expected 0 to 95"),
        ("supernode_crashes", (SupernodeCrash(0.0, 1),), "supernode_crashes.supernode is 1"),
        ("supernodes", -1, "supernodes is -1"),
        ("files", 0, "files is 0"),
        ("files_each", 2, "files_each is 2: expected 1 to 1"),
        ("classes", (PeerClass(1.0, files_each=2),), "classes.files_each is 2: expected 1 to 1"),
        ("peer_server_slots", 0, "peer_server_slots is 0"),
        ("waves", 0, "waves is 0"),
        ("up_spread", -0.1, "up_spread is -0.1"),
        ("jitter_s", -0.1, "jitter_s is -0.1"),
        ("message_loss", 1.5, "message_loss is 1.5: expected 0 to 1"),
        ("control_latency_s", -0.1, "control_latency_s is -0.1"),
        ("disk_bytes_per_s", 0, "disk_bytes_per_s is 0"),
        ("supernode_messages_per_s", 0, "supernode_messages_per_s is 0"),
        ("classes", (PeerClass(0.7), PeerClass(0.4)), "classes have shares of more than 1"),
        ("partitions", (Partition(0, 1, site=0),), "partitions.site is 0: expected a topology"),
        ("origin_errors", 1.0, "origin_errors is 1: no byte can be read"),
        ("until_s", 0.0, "until_s is 0.0"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(knob: str, value: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        replace(Scenario(peers=3), **{knob: value})


def test_the_file_is_cut_by_size_or_by_policy() -> None:
    assert Scenario(piece_size=2 << 20).layout.piece_size == 2 << 20
    assert Scenario(piece_size=PieceSizePolicy.DRAGONFLY).layout.piece_size == 4 << 20
    assert Scenario(piece_size=PieceSizePolicy.ADAPTIVE).layout.piece_size == 1 << 20
    assert Scenario(peers=16, piece_size=PieceSizePolicy.ADAPTIVE).layout.piece_size == 2 << 20


def test_the_supernode_has_as_many_slots_as_in_production() -> None:
    assert Scenario().cdn_slots == SupernodeConfig().cdn_up_slots
    assert Scenario(supernode_bytes_per_s=1e6).cdn_slots == SupernodeConfig().cdn_up_slots
    assert Scenario(supernode_slots=7).cdn_slots == 7


def test_bounds_of_a_flash_crowd_count_full_pieces_without_their_wrapping() -> None:
    rates, piece = (25e6,) * 500, (1 << 20) - 5
    swarm = bounds.Swarm(40 * piece, piece, (250e6,), rates, rates, 0.0005)
    wanted = (bounds.lb_mean(swarm), bounds.lb_max(swarm))
    for size in (40 * piece, 40 * piece + 1):
        scenario = Scenario(peers=500, file_bytes=size)
        assert scenario.bounds == (pytest.approx(wanted[0], rel=1e-6), wanted[1])


def test_bounds_of_peers_that_come_one_by_one_are_their_own_downlinks() -> None:
    scenario = Scenario(peers=2, peer_down_bytes_per_s=(25e6, 50e6), arrivals_s=(0.0, 60.0))
    assert scenario.bounds == (pytest.approx(6.0005), pytest.approx(8.0005))
    assert scenario.horizon_s > 60 + 8


def test_an_empty_file_and_one_smaller_than_a_piece_have_bounds() -> None:
    assert Scenario(peers=2, file_bytes=0).bounds == (0.0005, 0.0005)
    assert 0.0005 < Scenario(peers=2, file_bytes=1000).bounds[1] < 0.002


def test_classes_have_their_share_and_nobody_is_in_two() -> None:
    classes = (PeerClass(0.1, uploads=Uploads.NONE), PeerClass(0.05, up=0.2), PeerClass(0.2, up=3))
    scenario = Scenario(peers=200, classes=classes)
    assert [scenario.peer_classes.count(kind) for kind in classes] == [20, 10, 40]
    assert [scenario.ups.count(rate) for rate in (0.0, 5e6, 75e6, 25e6)] == [20, 10, 40, 130]
    assert scenario.peer_classes != replace(scenario, seed=1).peer_classes


def test_drawing_one_thing_more_leaves_the_other_draws_alone() -> None:
    plain = Scenario(peers=100, up_spread=0.2, arrivals_over_s=10.0)
    more = replace(plain, churn=(Churn(0.5, 0, 1),), files=3, files_each=1, waves=2)
    assert plain.ups == more.ups
    assert len(set(plain.ups)) == 100


def test_arrivals_are_spread_over_a_time_and_come_in_waves() -> None:
    spread = Scenario(peers=100, arrivals_over_s=10.0)
    times = [spread.arrival_s(peer) for peer in range(100)]
    assert times == sorted(times)
    assert 0 < times[0] < 1.0
    assert 9.0 < times[-1] < 10
    waves = Scenario(peers=100, waves=4, wave_pause_s=5.0)
    assert [waves.arrival_s(peer) for peer in (0, 24, 25, 99)] == [0, 0, 5, 15]


def test_churn_kills_each_once_within_its_time() -> None:
    scenario = Scenario(peers=50, churn=(Churn(0.2, 1.0, 2.0, 3.0),), crashes=(Crash(7, 1.5),))
    deaths = scenario.deaths
    assert len(deaths) == 11
    assert Crash(7, 1.5) in deaths
    assert [death.at_s for death in deaths] == sorted(death.at_s for death in deaths)
    drawn = [death for death in deaths if death.back_after_s is not None]
    assert len({death.peer for death in drawn}) == 10
    assert all(1 <= death.at_s <= 2 for death in drawn)
    assert scenario.horizon_s > 5 + 8


def test_each_peer_wants_as_many_files_as_it_should() -> None:
    assert Scenario(peers=3, files=2).wants == ((0, 1),) * 3
    wants = Scenario(peers=30, files=5, files_each=2).wants
    assert {len(files) for files in wants} == {2}
    assert {file for files in wants for file in files} == set(range(5))


def test_a_class_may_want_another_number_of_files() -> None:
    busy = PeerClass(0.2, files_each=5)
    scenario = Scenario(peers=30, files=5, files_each=1, classes=(busy,))
    pairs = zip(scenario.peer_classes, scenario.wants, strict=True)
    numbers = [len(files) for kind, files in pairs if (kind == busy) == (len(files) == 5)]
    assert (numbers.count(1), numbers.count(5)) == (24, 6)
    assert sum(map(scenario.wanted_bytes, range(30))) == (24 + 6 * 5) * scenario.file_bytes
    own_mean, own_max = scenario.bounds
    assert own_max == pytest.approx(5 * replace(scenario, classes=()).bounds[1], rel=0.01)
    assert own_mean < own_max


def test_room_is_what_all_files_of_a_peer_need() -> None:
    small = PeerClass(0.5, disk_bytes=250)
    scenario = Scenario(peers=4, file_bytes=100, files=3, classes=(small,))
    assert sum(not scenario.has_room(peer) for peer in range(4)) == 2
    fits = replace(scenario, files_each=2)
    assert all(fits.has_room(peer) for peer in range(4))


def test_several_files_are_bounded_as_one_large_file() -> None:
    piece = (1 << 20) - 5
    one = Scenario(peers=20, file_bytes=40 * piece)
    two = Scenario(peers=20, file_bytes=20 * piece, files=2)
    assert two.bounds == one.bounds
    assert replace(two, files_each=1).bounds[1] < one.bounds[1]


def test_bounds_know_all_supernodes_and_the_shortest_way() -> None:
    one = Scenario(peers=1000)
    assert replace(one, supernodes=2).bounds[1] < one.bounds[1]
    near = replace(one, topology=Topology(racks=4, rack_latency_s=0.0))
    assert near.bounds[1] < one.bounds[1]
    assert replace(one, supernodes=0).bounds == one.bounds
