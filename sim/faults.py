"""What goes wrong, and when: machines die, return or slow down, ways are cut, disks rot."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import TYPE_CHECKING, NamedTuple, Protocol

from .population import draw_some

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..engine.ids import PieceIndex
    from .host import Host
    from .links import Network
    from .misfortunes import Crash, Partition, Slowdown, SupernodeCrash
    from .origin import Origin
    from .scenario import Scenario
    from .transfers import Transfers
    from .ways import Ways


class Victims(Protocol):
    """Whose processes die and come back."""

    def crash_peer(self, peer: int, *, for_good: bool = True) -> None:
        """Kill one peer's processes."""
        ...

    def restart_peer(self, peer: int) -> None:
        """Start them again."""
        ...

    def crash_supernode(self, supernode: int = 0) -> None:
        """Kill a supernode."""
        ...

    def restart_supernode(self, supernode: int, *, loses_disk: bool) -> None:
        """Start it again, with nothing in memory."""
        ...


class Physics(NamedTuple):
    """What faults act on beside processes."""

    network: Network
    ways: Ways
    transfers: Transfers
    origin: Origin

    def review(self) -> None:
        """Have all that is under way see that ways or links are not what they were."""
        self.transfers.review()
        self.origin.review()


class Fault(NamedTuple):
    """One thing that goes wrong, or right again."""

    at_s: float
    act: Callable[[], None]


def faults(
    scenario: Scenario,
    victims: Victims,
    physics: Physics,
    peers: Sequence[Host],
    supernodes: Sequence[Host],
) -> Iterator[float]:
    """Tell the story of all misfortunes of a scenario, for ``World.play``."""
    everything = [
        *(fault for crash in scenario.supernode_crashes for fault in _supernode(crash, victims)),
        *(fault for crash in scenario.deaths for fault in _peer(crash, victims)),
        *_slowdowns(scenario, physics, peers),
        *_partitions(scenario, physics, peers, supernodes),
    ]
    for outage in scenario.origin_outages:
        everything.append(Fault(outage.at_s, physics.origin.go_down))
        everything.append(Fault(outage.at_s + outage.for_s, physics.origin.come_up))
    now = 0.0
    for fault in sorted(everything, key=lambda fault: fault.at_s):
        yield fault.at_s - now
        now = fault.at_s
        fault.act()


def _supernode(crash: SupernodeCrash, victims: Victims) -> Iterator[Fault]:
    yield Fault(crash.at_s, partial(victims.crash_supernode, crash.supernode))
    if crash.back_after_s is not None:
        back = partial(victims.restart_supernode, crash.supernode, loses_disk=crash.loses_disk)
        yield Fault(crash.at_s + crash.back_after_s, back)


def _peer(crash: Crash, victims: Victims) -> Iterator[Fault]:
    after_s = crash.back_after_s
    yield Fault(crash.at_s, partial(victims.crash_peer, crash.peer, for_good=after_s is None))
    if after_s is not None:
        yield Fault(crash.at_s + after_s, partial(victims.restart_peer, crash.peer))


def _slowdowns(scenario: Scenario, physics: Physics, peers: Sequence[Host]) -> Iterator[Fault]:
    """Yield when links slow down and recover; of one link several slowdowns multiply."""
    in_force: dict[int, list[Slowdown]] = {}

    def turn(slow: Slowdown, numbers: list[int], begins: bool) -> None:
        for number in numbers:
            now = in_force.setdefault(number, [])
            now.append(slow) if begins else now.remove(slow)
            host = peers[number]
            physics.network.set_rate(host.up, scenario.ups[number] * prod(s.up for s in now))
            physics.network.set_rate(host.down, scenario.downs[number] * prod(s.down for s in now))
        physics.review()

    for nth, slow in enumerate(scenario.slowdowns):
        drawn = draw_some(scenario.seed, f"slowdown {nth}", slow.share, scenario.peers)
        yield Fault(slow.at_s, partial(turn, slow, drawn, True))
        if slow.for_s is not None:
            yield Fault(slow.at_s + slow.for_s, partial(turn, slow, drawn, False))


def _partitions(
    scenario: Scenario, physics: Physics, peers: Sequence[Host], supernodes: Sequence[Host]
) -> Iterator[Fault]:
    def begin(bit: int, cut: Partition) -> None:
        physics.ways.cut(bit, cut.cut)
        physics.review()

    def end(bit: int) -> None:
        physics.ways.heal(bit)
        physics.review()

    for nth, cut in enumerate(scenario.partitions):
        bit = 1 << nth
        drawn = draw_some(scenario.seed, f"partition {nth}", cut.share, scenario.peers)
        members = [peers[number] for number in drawn]
        if cut.site is not None:
            members += [h for h in (*peers, *supernodes) if h.place.site == cut.site]
        for host in members:
            host.side |= bit
        yield Fault(cut.at_s, partial(begin, bit, cut))
        yield Fault(cut.at_s + cut.for_s, partial(end, bit))


class Rot:
    """Which pieces go bad on which disk, once their owner has verified and kept them."""

    def __init__(self, scenario: Scenario) -> None:
        self._rotten = {(rot.peer, rot.piece): None for rot in scenario.corruptions}
        self._rotten |= {
            (peer, None): None for peer, kind in enumerate(scenario.peer_classes) if kind.corrupt
        }

    def spoils(self, peer: int, piece: PieceIndex) -> bool:
        """Tell whether ``piece`` goes bad on the disk of peer number ``peer``."""
        if not self._rotten:
            return False
        return (peer, piece) in self._rotten or (peer, None) in self._rotten
