"""Builds a scenario's swarm out of production engines and simulated links, and runs it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from ..engine.errors import DamselflyError
from ..engine.supernode import SupernodeEngine
from .checkers import Checkers
from .control import Control
from .digest import CallCount, TraceDigest
from .faults import Physics, Rot, faults
from .fleet import Fleet, contents_of
from .links import EqualShare, MaxMin, TreeShare
from .origin import Origin
from .report import Report, spread
from .scenario import NetworkModel
from .stage import Stage
from .transfers import Transfers
from .ways import Ways
from .world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..engine.views import InFlight
    from .host import Host
    from .links import Network
    from .machine import Machine
    from .peer import Peer
    from .recorder import Recorder
    from .scenario import Scenario
    from .supernode import Supernode

_AFTERMATH_S: Final = 1.0
"""How long the run goes on when all have finished: nobody may have anything left to say."""

_SAMPLE_S: Final = 0.05


class NotFinished(DamselflyError):
    """Peers that live do not have their files; the message counts and names them."""


class Swarm:
    """One run of one scenario; ``report`` may be asked at any time, and after an interrupt.

    ``check`` runs the checkers between nodes, ``paranoid`` also every engine's own after every
    call; the environment's ``DAMSELFLY_CHECK=1`` asks for the latter alone.  ``progress`` is told
    now and then what share of all transfers is done.  A ``recorder`` follows the run.  Without
    ``digests`` the report has none, and a tenth of the time is saved.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        check: bool = False,
        paranoid: bool = False,
        progress: Callable[[float], None] | None = None,
        recorder: Recorder | None = None,
        digests: bool = True,
    ) -> None:
        self.scenario, self._progress, self._recorder = scenario, progress, recorder
        self._digest = TraceDigest() if digests else CallCount()
        self._rates: dict[str, tuple[float, float]] = {}
        self._checkers: Checkers | None = None
        world, ways, contents = World(scenario.seed), Ways(scenario), contents_of(scenario)
        if check or paranoid:
            self._checkers = Checkers(scenario, contents, self._rates, self._beliefs)
        network = _network(world, scenario)
        hosts: dict[tuple[str, int], Host] = {}
        transfers = Transfers(world, network, ways, scenario, hosts)
        self.stage = stage = Stage(
            scenario=scenario,
            world=world,
            control=Control(world, scenario, ways),
            transfers=transfers,
            origin=Origin(world, network, ways, scenario),
            contents=contents,
            rot=Rot(scenario),
            watch=self._saw if self._checkers or recorder else self._digest,
            paranoid=paranoid or os.environ.get("DAMSELFLY_CHECK") == "1",
        )
        self._physics = Physics(network, ways, transfers, stage.origin)
        fleet = Fleet(stage, hosts, self._ended)
        self.supernodes: tuple[Supernode, ...] = fleet.supernodes()
        self.machines: tuple[Machine, ...] = fleet.machines()
        self._rates |= {
            host.ip: (host.up.rate_bytes_per_s, host.down.rate_bytes_per_s)
            for host in hosts.values()
        }
        if recorder is not None:
            recorder.follow(stage, self.machines)
        self._waiting = {machine.number: None for machine in self.machines}
        self._wall_s = 0.0
        self._is_over = False

    @property
    def supernode(self) -> Supernode:
        """The first supernode."""
        return self.supernodes[0]

    @property
    def peers(self) -> tuple[Peer, ...]:
        """The latest process of each machine's first file."""
        return tuple(machine.peers[0] for machine in self.machines)

    def run(self) -> Report:
        """Let it all happen.

        Raises:
            NotFinished: checkers are on, and a live peer does not end up with its files.
            Violation: checkers are on, and one of them objects.

        """
        world = self.stage.world
        peers = [machine.host for machine in self.machines]
        supernodes = [supernode.host for supernode in self.supernodes]
        world.play(self._arrivals())
        world.play(faults(self.scenario, self, self._physics, peers, supernodes))
        if self._progress is not None:
            world.play(self._samples(self._progress))
        if self._recorder is not None:
            world.play(self._recorder.story())
        began = time.perf_counter()
        try:
            world.run(self.scenario.horizon_s)
            self._is_over = True
        finally:
            self._wall_s = time.perf_counter() - began
        if self._checkers:
            self._checkers.ended(world.now)
            self._check_all_finished()
        return self.report()

    def report(self) -> Report:
        """Return the figures so far."""
        machines = self.machines
        done = [machine for machine in machines if machine.has_files]
        moved = self.stage.transfers
        return Report(
            scenario=self.scenario,
            completions_s=tuple(sorted([m.took_s for m in done if m.took_s is not None])),
            spreads=tuple(sorted([spread(machine.took_each_s.values()) for machine in done])),
            unfinished=len(self._without_files()),
            crashed=sum(not machine.is_up for machine in machines),
            without_room=sum(not self.scenario.has_room(machine.number) for machine in machines),
            origin_bytes=self.stage.origin.bytes_read,
            supernode_bytes=moved.bytes_from_supernode,
            peer_bytes=moved.bytes_from_peers,
            transfers=moved.pieces_moved,
            engine_calls=self._digest.calls,
            simulated_s=self.stage.world.now,
            wall_s=max(self._wall_s, 1e-9),
            trace_digest=self._digest.hexdigest(),
            is_partial=not self._is_over,
        )

    def crash_peer(self, peer: int, *, for_good: bool = True) -> None:
        """Kill one peer's processes."""
        victim = self.machines[peer]
        victim.crash(for_good=for_good)
        if self._checkers:
            for download in victim.peers:
                self._checkers.crashed(download.node.name)
        if for_good:
            self._ended(victim)

    def restart_peer(self, peer: int) -> None:
        """Start them again."""
        self.machines[peer].restart()

    def crash_supernode(self, supernode: int = 0) -> None:
        """Kill a supernode."""
        victim = self.supernodes[supernode]
        victim.crash()
        if self._checkers:
            self._checkers.crashed(victim.name)

    def restart_supernode(self, supernode: int, *, loses_disk: bool) -> None:
        """Start it again, with nothing in memory."""
        self.supernodes[supernode].restart(loses_disk=loses_disk)

    # --- running ---

    def _arrivals(self) -> Iterator[float]:
        now = 0.0
        for machine in sorted(self.machines, key=lambda m: self.scenario.arrival_s(m.number)):
            pause = self.scenario.arrival_s(machine.number) - now
            if pause > 0:
                yield pause
                now += pause
            machine.start()

    def _samples(self, progress: Callable[[float], None]) -> Iterator[float]:
        wanted = sum(len(files) for files in self.scenario.wants) * self.scenario.layout.count
        while True:
            progress(min(1.0, self.stage.transfers.pieces_moved / wanted))
            yield _SAMPLE_S

    def _saw(self, now: float, node: str, event: object | None, effects: Sequence[object]) -> None:
        self._digest(now, node, event, effects)
        if self._checkers is not None:
            self._checkers(now, node, event, effects)
        if self._recorder is not None:
            self._recorder(now, node, event, effects)

    def _beliefs(self) -> list[list[InFlight]]:
        beliefs: list[list[InFlight]] = []
        for supernode in self.supernodes:
            engine = supernode.node.engine
            assert isinstance(engine, SupernodeEngine)
            if supernode.node.is_up:
                beliefs.append(engine.in_flight())
        return beliefs

    def _ended(self, machine: Machine) -> None:
        self._waiting.pop(machine.number, None)
        if not self._waiting:
            world = self.stage.world
            world.after(_AFTERMATH_S, World.stop, world)

    def _without_files(self) -> list[Machine]:
        """Return the machines that live and should have their files, and do not."""
        return [
            machine
            for machine in self.machines
            if machine.is_up and not machine.has_files and self.scenario.has_room(machine.number)
        ]

    def _check_all_finished(self) -> None:
        if late := self._without_files():
            names = ", ".join(machine.peers[0].node.name for machine in late[:5])
            when = f"at {self.stage.world.now:.3f} s"
            raise NotFinished(f"{len(late)} live peers do not have the file {when}: {names}")


def _network(world: World, scenario: Scenario) -> Network:
    if scenario.network is NetworkModel.MAX_MIN:
        return MaxMin(world, scenario.unfairness)
    return EqualShare(world) if scenario.topology is None else TreeShare(world)
