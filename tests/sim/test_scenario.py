from __future__ import annotations

from dataclasses import replace
from math import inf, nan
from typing import Any

import pytest

from damselfly.engine.errors import ConfigError
from damselfly.engine.piece import PieceSizePolicy
from damselfly.sim import bounds
from damselfly.sim.scenario import Corruption, Crash, Scenario


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
        ("crashes", (Crash(0, -1.0),), "crashes.at_s is -1.0"),
        ("corruptions", (Corruption(-1),), "corruptions.peer is -1"),
        ("corruptions", (Corruption(0, 400),), "corruptions.piece is 400: expected 0 to 190"),
        ("supernode_crash_s", -1.0, "supernode_crash_s is -1.0"),
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


def test_the_supernode_has_as_many_slots_as_fill_its_uplink() -> None:
    assert Scenario().cdn_slots == 20
    assert Scenario(supernode_bytes_per_s=1e6).cdn_slots == 2
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
