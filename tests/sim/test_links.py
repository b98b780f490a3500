from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damselfly.sim.links import (
    EqualShare,
    Flow,
    Link,
    MaxMin,
    Network,
    TreeShare,
    max_min_rates,
)
from damselfly.sim.world import World

MODELS = [EqualShare, MaxMin]


@dataclass
class Arrivals:
    world: World
    times: dict[str, float]

    def note(self, name: str) -> None:
        self.times[name] = self.world.now


def build(model: type[Network]) -> tuple[World, Network, Arrivals]:
    world = World(0)
    return world, model(world), Arrivals(world, {})


@pytest.mark.parametrize("model", MODELS)
def test_a_lone_flow_gets_the_slower_end(model: type[Network]) -> None:
    world, network, seen = build(model)
    network.start(Link(100), Link(50), 200, seen.note, "a")
    network.start(Link(20), Link(50), 200, seen.note, "b")
    world.run(100)
    assert seen.times == {"a": 4.0, "b": 10.0}


@pytest.mark.parametrize("model", MODELS)
def test_flows_share_an_uplink_and_speed_up_when_one_ends(model: type[Network]) -> None:
    world, network, seen = build(model)
    up = Link(100)
    network.start(up, Link(1000), 100, seen.note, "short")
    network.start(up, Link(1000), 300, seen.note, "long")
    world.run(100)
    # Both at 50 until the short one has its 100; then 200 are left at full speed.
    assert seen.times == {"short": 2.0, "long": 4.0}


@pytest.mark.parametrize("model", MODELS)
def test_a_late_flow_slows_the_first_down(model: type[Network]) -> None:
    world, network, seen = build(model)
    down = Link(100)
    network.start(Link(1000), down, 200, seen.note, "first")
    world.at(1.0, lambda _: network.start(Link(1000), down, 50, seen.note, "late"), None)
    world.run(100)
    # 100 alone, then 50 each while the late one moves its 50, then alone again.
    assert seen.times == {"late": 2.0, "first": 2.5}


@pytest.mark.parametrize("model", MODELS)
def test_cancelling_counts_what_came_and_frees_the_link(model: type[Network]) -> None:
    world, network, seen = build(model)
    up = Link(100)
    gone = network.start(up, Link(1000), 1000, seen.note, "gone")
    network.start(up, Link(1000), 150, seen.note, "stays")
    came: list[int] = []
    world.at(1.0, lambda flow: came.append(network.cancel(flow)), gone)
    world.run(100)
    assert came == [50]
    assert seen.times == {"stays": 2.0}
    assert not up.flows


@pytest.mark.parametrize(("model", "fast_s"), [(EqualShare, 9.0), (MaxMin, 5.0)])
def test_only_max_min_gives_away_what_a_slow_receiver_leaves(
    model: type[Network], fast_s: float
) -> None:
    world, network, seen = build(model)
    up = Link(100)
    network.start(up, Link(10), 100, seen.note, "slow")
    network.start(up, Link(1000), 450, seen.note, "fast")
    world.run(100)
    assert seen.times == {"slow": 10.0, "fast": fast_s}


def test_an_empty_flow_arrives_at_once() -> None:
    world, network, seen = build(EqualShare)
    network.start(Link(1), Link(1), 0, seen.note, "empty")
    world.run(1)
    assert seen.times == {"empty": 0.0}


rates = st.floats(1, 1000)
ends = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=20)


@given(st.lists(rates, min_size=4, max_size=4), st.lists(rates, min_size=4, max_size=4), ends)
def test_max_min_rates_are_feasible_and_every_flow_has_a_bottleneck(
    ups: list[float], downs: list[float], pairs: list[tuple[int, int]]
) -> None:
    up_links, down_links = [Link(rate) for rate in ups], [Link(rate) for rate in downs]
    for up, down in pairs:
        flow = Flow(up_links[up], down_links[down], 1, print, None)
        flow.up.join(flow)
        flow.down.join(flow)
    used = [link for link in up_links + down_links if link.flows]
    got = max_min_rates(used)
    assert len(got) == len(pairs)
    load = {link: sum(got[flow] for flow in link.flows) for link in used}
    for link in used:
        assert load[link] <= link.rate_bytes_per_s * (1 + 1e-9)
    for flow, rate in got.items():
        assert any(
            load[link] >= link.rate_bytes_per_s * (1 - 1e-9)
            and all(got[other] <= rate * (1 + 1e-9) for other in link.flows)
            for link in (flow.up, flow.down)
        )


moves = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 500), st.floats(0, 5)),
    min_size=1,
    max_size=15,
)


@pytest.mark.parametrize("model", MODELS)
@given(st.lists(rates, min_size=8, max_size=8), moves)
def test_no_link_ever_carries_more_than_it_can(
    model: type[Network], speeds: list[float], wanted: list[tuple[int, int, int, float]]
) -> None:
    world, network, seen = build(model)
    links = [Link(rate) for rate in speeds]

    def begin(number: int) -> None:
        up, down, size, _ = wanted[number]
        network.start(links[up], links[4 + down], size, seen.note, str(number))

    for number, (_, _, _, when) in enumerate(wanted):
        world.at(when, begin, number)
    world.run(1e6)
    assert len(seen.times) == len(wanted)
    for number, (up, down, size, when) in enumerate(wanted):
        fastest = size / min(links[up].rate_bytes_per_s, links[4 + down].rate_bytes_per_s)
        assert seen.times[str(number)] >= (when + fastest) * (1 - 1e-9)
    for index, link in enumerate(links):
        crossing = [(w, n) for n, w in enumerate(wanted) if index in (w[0], 4 + w[1])]
        if crossing:
            first = min(w[3] for w, _ in crossing)
            last = max(seen.times[str(n)] for _, n in crossing)
            carried = sum(w[2] for w, _ in crossing)
            assert carried <= link.rate_bytes_per_s * (last - first) * (1 + 1e-6) + 1e-6
        assert not link.flows


@pytest.mark.parametrize("model", [TreeShare, MaxMin])
def test_a_shared_uplink_is_shared(model: type[Network]) -> None:
    world, network, seen = build(model)
    shared = Link(100)
    for name in ("a", "b"):
        network.start(Link(1000), Link(1000), 100, seen.note, name, (shared,))
    network.start(Link(1000), Link(1000), 100, seen.note, "apart")
    world.run(100)
    assert seen.times == {"apart": 0.1, "a": 2.0, "b": 2.0}
    assert not shared.flows


@pytest.mark.parametrize("model", [EqualShare, TreeShare, MaxMin])
def test_a_link_that_changes_changes_its_flows(model: type[Network]) -> None:
    world, network, seen = build(model)
    up = Link(100)
    network.start(up, Link(1000), 400, seen.note, "a")
    for when, rate in ((1.0, 50.0), (3.0, 0.0), (5.0, 100.0)):
        world.at(when, lambda rate: network.set_rate(up, rate), rate)
    world.run(100)
    # 100 in the first second, 100 in the next two, none until 5, then 200.
    assert seen.times == {"a": 7.0}


@pytest.mark.parametrize("model", [EqualShare, TreeShare, MaxMin])
def test_a_flow_that_is_held_takes_no_share_and_goes_on_later(model: type[Network]) -> None:
    world, network, seen = build(model)
    up = Link(100)
    held = network.start(up, Link(1000), 200, seen.note, "held")
    network.start(up, Link(1000), 200, seen.note, "other")
    told: list[bool] = []
    for when, may_move in ((1.0, False), (2.0, False), (4.0, True)):
        world.at(when, lambda may: told.append(network.review(held, may)), may_move)
    world.run(100)
    assert told == [True, True, False]
    assert seen.times == {"other": 2.5, "held": 5.5}


def test_a_held_flow_can_be_cancelled() -> None:
    world, network, seen = build(EqualShare)
    flow = network.start(Link(100), Link(100), 200, seen.note, "a")
    world.at(0.5, lambda _: network.review(flow, False), None)
    moved: list[int] = []
    world.at(3.0, lambda flow: moved.append(network.cancel(flow)), flow)
    world.run(100)
    assert moved == [50]
    assert not seen.times


def test_flows_of_unequal_weight_share_a_link_unequally_and_use_all_of_it() -> None:
    up, downs = Link(90.0), [Link(1000.0), Link(1000.0), Link(10.0)]
    flows = [Flow(up, down, 1, print, None) for down in downs]
    for flow, weight in zip(flows, (1.0, 3.0, 2.0), strict=True):
        flow.weight = weight
        flow.up.join(flow)
        flow.down.join(flow)
    rates = max_min_rates([up, *downs])
    assert [rates[flow] for flow in flows] == [20.0, 60.0, 10.0]


def test_unfairness_is_drawn_for_each_flow() -> None:
    world = World(3)
    network, up, down = MaxMin(world, 0.5), Link(100.0), Link(100.0)
    flows = [network.start(up, down, 1000, print, None) for _ in range(20)]
    weights = {flow.weight for flow in flows}
    assert len(weights) == 20
    assert min(weights) < 1 < max(weights)
    assert {MaxMin(world).start(up, down, 1, print, None).weight for _ in range(5)} == {1.0}
