from __future__ import annotations

import pytest

from damselfly.sim.host import Host
from damselfly.sim.misfortunes import Cut, Partition
from damselfly.sim.scenario import Scenario
from damselfly.sim.topology import NOWHERE, Map, Place, Topology
from damselfly.sim.ways import Ways, ramp_s

TWO_SITES = Topology(
    sites=2,
    racks=2,
    rack_bytes_per_s=100,
    site_bytes_per_s=50,
    rack_latency_s=0.001,
    site_latency_s=0.002,
    latencies_s=((0.0, 0.03), (0.04, 0.0)),
)
HERE = Place(0, 0)
NEXT_RACK = Place(0, 1)
OTHER_SITE = Place(1, 2)
SUPERNODE = Place(0)


def test_peers_fill_racks_and_sites_in_order() -> None:
    assert [TWO_SITES.rack_of(peer, 10) for peer in range(10)] == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]
    assert [TWO_SITES.site_of(peer, 10) for peer in range(10)] == [0] * 5 + [1] * 5


@pytest.mark.parametrize(
    ("sender", "receiver", "latency_s", "links"),
    [
        (HERE, HERE, 0.001, []),
        (HERE, NEXT_RACK, 0.002, [100, 100]),
        (HERE, OTHER_SITE, 0.03, [100, 50, 50, 100]),
        (OTHER_SITE, HERE, 0.04, [100, 50, 50, 100]),
        (SUPERNODE, HERE, 0.002, [100]),
        (SUPERNODE, SUPERNODE, 0.002, []),
        (HERE, SUPERNODE, 0.002, [100]),
        (SUPERNODE, OTHER_SITE, 0.03, [50, 50, 100]),
    ],
)
def test_the_way_between_two_places(
    sender: Place, receiver: Place, latency_s: float, links: list[float]
) -> None:
    way = Map(TWO_SITES, 0.5)
    assert way.latency_s(sender, receiver) == latency_s
    assert [link.rate_bytes_per_s for link in way.between(sender, receiver)] == links


def test_there_and_back_are_different_links_and_the_same_each_time() -> None:
    way = Map(TWO_SITES, 0.5)
    there, back = way.between(HERE, OTHER_SITE), way.between(OTHER_SITE, HERE)
    assert way.between(HERE, OTHER_SITE) == there
    assert not set(there) & set(back)
    assert way.from_outside(HERE) == back[2:]


def test_what_is_not_given_is_the_usual_latency_and_never_in_the_way() -> None:
    way = Map(Topology(sites=2, racks=3), 0.5)
    assert way.latency_s(HERE, HERE) == way.latency_s(HERE, OTHER_SITE) == 0.5
    assert way.between(HERE, OTHER_SITE) == way.from_outside(HERE) == ()
    assert Place(0).rack == NOWHERE


def host(side: int) -> Host:
    one = Host("10.0.0.1", 1, 1, 1, is_supernode=False)
    one.side = side
    return one


@pytest.mark.parametrize(
    ("cut", "out", "into"),
    [(Cut.BOTH, False, False), (Cut.OUT, False, True), (Cut.IN, True, False)],
)
def test_a_partition_stops_what_crosses_it_until_it_heals(cut: Cut, out: bool, into: bool) -> None:
    ways = Ways(Scenario(partitions=(Partition(0, 1),)))
    member, also, other, elsewhere = host(1), host(1), host(0), host(2)
    ways.cut(1, cut)
    assert ways.carry_message(member, other) == out
    assert ways.carry_message(other, member) == into
    assert ways.carry_message(member, also)
    assert ways.carry_message(other, elsewhere)
    assert not ways.carry_data(1, 0)
    assert ways.carry_data(1, 1)
    assert ways.carry_data(0, 2)
    ways.heal(1)
    assert ways.carry_message(member, other)
    assert ways.carry_message(other, member)
    assert ways.carry_data(1, 0)


@pytest.mark.parametrize(
    ("size", "round_trip_s", "cost_s"),
    [
        (100, 0.1, 0.0),  # one window
        (10_000, 0.0001, 0.0),  # a window fills the way
        (700, 1.0, 2 - 0.3),  # 100, 200, and the rest; full rate would have sent 300 by then
        (1_000_000, 1.0, 4 - 1.5),  # 1,500 in four round trips, then 1,600 at a time is full rate
    ],
)
def test_slow_start_costs_round_trips_until_the_way_is_full(
    size: int, round_trip_s: float, cost_s: float
) -> None:
    assert ramp_s(size, 100, round_trip_s, 1000.0) == pytest.approx(cost_s)
