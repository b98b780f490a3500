from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from damselfly.engine.effects import Answer, Send
from damselfly.engine.events import Dropped, ExchangeFailed, Replied, Requested
from damselfly.engine.ids import ExchangeId, NodeAddress, PeerId, TaskId
from damselfly.engine.messages import Acknowledged, LeaveTask
from damselfly.sim.control import Control
from damselfly.sim.host import Host
from damselfly.sim.misfortunes import Cut, Partition
from damselfly.sim.scenario import Scenario
from damselfly.sim.ways import Ways
from damselfly.sim.world import World

if TYPE_CHECKING:
    from collections.abc import Callable

NODE = NodeAddress("192.0.2.1")
REQUEST = LeaveTask(TaskId("t"), PeerId("p"))


class Peer:
    def __init__(self, world: World) -> None:
        self.world = world
        self.heard: list[tuple[float, Replied | ExchangeFailed]] = []

    def handle(self, event: Replied | ExchangeFailed) -> None:
        self.heard.append((self.world.now, event))


class Supernode:
    """Stands where the supernode's node does; answers by ``answers``."""

    def __init__(self, world: World, answers: Callable[[Requested], None]) -> None:
        self.world, self.answers = world, answers
        self.is_up = True
        self.heard: list[tuple[float, Requested | Dropped]] = []

    def handle(self, event: Requested | Dropped) -> None:
        self.heard.append((self.world.now, event))
        if isinstance(event, Requested):
            self.answers(event)


class Net:
    def __init__(self, *, answer_after: float | None = 0.0, **knobs: Any) -> None:
        self.world = World(0)
        scenario = replace(Scenario(latency_s=0.25), **knobs)
        self.ways = Ways(scenario)
        self.control = Control(self.world, scenario, self.ways)
        self.after = answer_after
        self.supernode = Supernode(self.world, self.answer)
        self.there = Host("192.0.2.1", 8001, 1, 1, is_supernode=True)
        self.here = Host("10.0.0.1", 15001, 1, 1, is_supernode=False)
        self.control.attach(NODE, self.supernode, self.there)
        self.peer = Peer(self.world)

    def answer(self, event: Requested) -> None:
        if self.after is not None:
            reply = Answer(event.exchange, Acknowledged())
            self.world.after(self.after, self.control.answer, reply)

    def ask(self, number: int, timeout_s: float = 5.0) -> None:
        self.control.ask(self.peer, self.here, Send(ExchangeId(number), NODE, REQUEST, timeout_s))


def test_a_request_and_its_answer_each_take_the_latency() -> None:
    net = Net(answer_after=1.0)
    net.ask(7)
    net.world.run(20)
    assert net.supernode.heard == [(0.25, Requested(ExchangeId(1), REQUEST))]
    assert net.peer.heard == [(1.5, Replied(ExchangeId(7), Acknowledged()))]


def test_exchanges_of_two_peers_are_kept_apart() -> None:
    net = Net()
    other = Peer(net.world)
    net.ask(1)
    net.control.ask(other, net.here, Send(ExchangeId(1), NODE, REQUEST, 5.0))
    net.world.run(20)
    numbers = [event.exchange for _, event in net.supernode.heard]
    assert numbers == [1, 2]
    assert len(net.peer.heard) == len(other.heard) == 1


@pytest.mark.parametrize("timeout_s", [1.0, 5.0])
def test_no_answer_in_time_is_a_failure_and_the_supernode_learns_it(timeout_s: float) -> None:
    net = Net(answer_after=None)
    net.ask(3, timeout_s)
    net.world.at(0.5, lambda _: net.ask(4, timeout_s), None)
    net.world.run(20)
    reason = f"192.0.2.1:8002: no answer in {timeout_s:g} s"
    assert net.peer.heard == [
        (timeout_s, ExchangeFailed(ExchangeId(3), reason)),
        (timeout_s + 0.5, ExchangeFailed(ExchangeId(4), reason)),
    ]
    assert net.supernode.heard[2:] == [
        (timeout_s + 0.25, Dropped(ExchangeId(1))),
        (timeout_s + 0.75, Dropped(ExchangeId(2))),
    ]


def test_an_answer_that_comes_too_late_is_not_heard() -> None:
    net = Net(answer_after=0.9)
    net.ask(3, 1.0)
    net.world.run(20)
    assert [type(event) for _, event in net.peer.heard] == [ExchangeFailed]


def test_a_dead_supernode_refuses_connections_and_breaks_those_it_has() -> None:
    net = Net(answer_after=None)
    net.ask(1)

    def die(_: None) -> None:
        net.supernode.is_up = False
        net.control.cut_off(net.supernode)
        net.ask(2)

    net.world.at(1.0, die, None)
    net.world.run(20)
    reason = "192.0.2.1:8002: connection refused"
    assert net.peer.heard == [
        (1.25, ExchangeFailed(ExchangeId(1), reason)),
        (1.5, ExchangeFailed(ExchangeId(2), reason)),
    ]


def test_what_a_dead_peer_had_just_said_is_lost_and_its_open_exchange_drops() -> None:
    net = Net(answer_after=None)
    net.ask(1)

    def die(_: None) -> None:
        net.ask(2)
        net.control.hang_up(net.peer)

    net.world.at(1.0, die, None)
    net.world.run(20)
    assert net.supernode.heard == [
        (0.25, Requested(ExchangeId(1), REQUEST)),
        (1.25, Dropped(ExchangeId(1))),
    ]
    assert not net.peer.heard


def test_an_answer_to_nobody_is_ignored() -> None:
    net = Net()
    net.control.answer(Answer(ExchangeId(99), Acknowledged()))
    net.world.run(1)
    assert not net.peer.heard


def test_control_messages_may_take_another_time_than_pieces() -> None:
    net = Net(control_latency_s=1.0)
    net.ask(1)
    net.world.run(20)
    assert [when for when, _ in net.peer.heard] == [2.0]


def test_jitter_delays_each_message_by_up_to_that() -> None:
    net = Net(jitter_s=0.5)
    for number in range(20):
        net.ask(number)
    net.world.run(20)
    times = [when for when, _ in net.peer.heard]
    assert len(times) == len(set(times)) == 20
    assert all(0.5 <= when <= 1.5 for when in times)


def test_lost_messages_end_in_the_time_allowed() -> None:
    net = Net(message_loss=0.5)
    for number in range(100):
        net.ask(number)
    net.world.run(20)
    assert len(net.peer.heard) == 100
    assert 20 < len(net.supernode.heard) < 80
    failed = [when for when, event in net.peer.heard if isinstance(event, ExchangeFailed)]
    assert 50 < len(failed) < 95
    assert set(failed) == {5.0}


@pytest.mark.parametrize(
    ("cut", "heard", "answered"), [(Cut.OUT, 0, 0), (Cut.IN, 2, 0), (Cut.BOTH, 0, 0)]
)
def test_a_cut_loses_messages_one_way_or_both(cut: Cut, heard: int, answered: int) -> None:
    net = Net(partitions=(Partition(0, 1),))
    net.here.side = 1
    net.ways.cut(1, cut)
    net.ask(1)
    net.world.run(20)
    assert len(net.supernode.heard) == min(heard, 1)
    ((when, event),) = net.peer.heard
    assert isinstance(event, ExchangeFailed) == (not answered)
    assert when == 5.0


def test_a_busy_supernode_takes_messages_in_one_by_one() -> None:
    net = Net(supernode_messages_per_s=4)
    for number in range(3):
        net.ask(number)
    net.world.run(20)
    assert [when for when, _ in net.supernode.heard] == [0.5, 0.75, 1.0]


def test_a_busy_peer_hears_replies_one_by_one() -> None:
    net = Net(message_cpu_s=0.5)
    for number in range(3):
        net.ask(number)
    net.world.run(20)
    assert [when for when, _ in net.peer.heard] == [1.0, 1.5, 2.0]


def test_each_address_has_its_own_supernode() -> None:
    net = Net()
    other = Supernode(net.world, net.answer)
    net.control.attach(NodeAddress("192.0.2.2"), other, net.there)
    for host in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
        net.control.ask(net.peer, net.here, Send(ExchangeId(1), NodeAddress(host), REQUEST, 5.0))
    net.control.cut_off(other)
    net.world.run(20)
    assert len(net.supernode.heard) == len(other.heard) == 1
    kinds = sorted(type(event).__name__ for _, event in net.peer.heard)
    assert kinds == ["ExchangeFailed", "Replied", "Replied"]
