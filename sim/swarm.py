"""Builds a scenario's swarm out of production engines and simulated links, and runs it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from ..engine.config import DownloadConfig, SupernodeConfig
from ..engine.effects import NodeAddress
from ..engine.errors import DamselflyError
from ..engine.ids import peer_id, sign, task_file_name
from ..engine.piece import PieceSizePolicy
from .checkers import Checkers
from .control import Control
from .digest import TraceDigest
from .faults import Rot, deaths
from .host import Content, Host
from .links import EqualShare, MaxMin
from .origin import Origin
from .peer import Peer
from .report import Report
from .scenario import NetworkModel
from .stage import Stage
from .supernode import Supernode
from .transfers import Transfers
from .world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .scenario import Scenario

_SUPERNODE: Final = NodeAddress("192.0.2.1")
_DOWNLOAD_PORT: Final = 8001
_PEER_PORT: Final = 15001
_URL: Final = "http://origin.example/file"
_AFTERMATH_S: Final = 1.0
"""How long the run goes on when all have finished: nobody may have anything left to say."""

_SAMPLE_S: Final = 0.05
_ANY_POLICY: Final = PieceSizePolicy.ADAPTIVE
"""A fixed piece size is what the origin reader cuts to; the engine takes it from there."""


class NotFinished(DamselflyError):
    """Peers that live do not have the file; the message counts and names them."""


class Swarm:
    """One run of one scenario; ``report`` may be asked at any time, and after an interrupt.

    ``check`` runs the checkers between nodes, ``paranoid`` also every engine's own after every
    call; the environment's ``DAMSELFLY_CHECK=1`` asks for the latter alone.  ``progress`` is told
    now and then what share of all transfers is done.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        check: bool = False,
        paranoid: bool = False,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        self.scenario, self._progress = scenario, progress
        self._hosts: dict[tuple[str, int], Host] = {}
        self._digest = TraceDigest()
        world, content = World(scenario.seed), Content(scenario.layout)
        self._checkers = Checkers(scenario, content) if check or paranoid else None
        exact = scenario.network is NetworkModel.MAX_MIN
        network = MaxMin(world) if exact else EqualShare(world)
        self.stage = stage = Stage(
            world=world,
            control=Control(world, scenario.latency_s),
            transfers=Transfers(world, network, scenario, content, self._hosts),
            origin=Origin(world, network, scenario, content),
            content=content,
            rot=Rot(scenario),
            watch=self._saw if self._checkers else self._digest,
            peer_servers=scenario.peer_servers,
            paranoid=paranoid or os.environ.get("DAMSELFLY_CHECK") == "1",
        )
        self.supernode = self._add_supernode(stage)
        rates = enumerate(zip(scenario.ups, scenario.downs, strict=True))
        self.peers = tuple(self._add_peer(number, up, down, stage) for number, (up, down) in rates)
        self._waiting = {peer.number: None for peer in self.peers}
        self._wall_s = 0.0

    def run(self) -> Report:
        """Let it all happen.

        Raises:
            NotFinished: checkers are on, and a live peer does not end up with the file.
            Violation: checkers are on, and one of them objects.

        """
        world = self.stage.world
        world.play(self._arrivals())
        world.play(deaths(self.scenario, self))
        if self._progress is not None:
            world.play(self._samples(self._progress))
        began = time.perf_counter()
        try:
            world.run(self.scenario.horizon_s)
        finally:
            self._wall_s = time.perf_counter() - began
        if self._checkers:
            self._check_all_finished()
        return self.report()

    def report(self) -> Report:
        """Return the figures so far."""
        times = sorted(p.took_s for p in self.peers if p.took_s is not None and p.has_file)
        crashed = sum(not peer.node.is_up for peer in self.peers)
        moved = self.stage.transfers
        return Report(
            scenario=self.scenario,
            completions_s=tuple(times),
            unfinished=len(self._without_file()),
            crashed=crashed,
            origin_bytes=self.stage.origin.bytes_read,
            supernode_bytes=moved.bytes_from_supernode,
            peer_bytes=moved.bytes_from_peers,
            transfers=moved.pieces_moved,
            engine_calls=self._digest.calls,
            simulated_s=self.stage.world.now,
            wall_s=max(self._wall_s, 1e-9),
            trace_digest=self._digest.hexdigest(),
        )

    def crash_peer(self, peer: int) -> None:
        """Kill one peer's processes."""
        victim = self.peers[peer]
        victim.crash()
        if self._checkers:
            self._checkers.crashed(victim.node.name)
        self._ended(victim)

    def crash_supernode(self) -> None:
        """Kill the supernode."""
        self.supernode.crash()

    # --- building ---

    def _add_supernode(self, stage: Stage) -> Supernode:
        scenario = self.scenario
        rate = scenario.supernode_bytes_per_s
        host = Host(_SUPERNODE.host, _DOWNLOAD_PORT, rate, rate, is_supernode=True)
        self._hosts[host.ip, host.port] = host
        policy = scenario.piece_size
        config = SupernodeConfig(
            ip=host.ip,
            download_port=host.port,
            piece_size_policy=policy if isinstance(policy, PieceSizePolicy) else _ANY_POLICY,
            up_slots=scenario.up_slots,
            down_slots=scenario.down_slots,
            cdn_up_slots=scenario.cdn_slots,
            gc_disk_interval_s=0.0,
        )
        return Supernode(config, host, stage)

    def _add_peer(self, number: int, up: float, down: float, stage: Stage) -> Peer:
        scenario = self.scenario
        ip = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        host = Host(ip, _PEER_PORT, up, down, is_supernode=False)
        self._hosts[ip, _PEER_PORT] = host
        signed = sign(number, 0.0)
        config = DownloadConfig(
            url=_URL,
            task_url=_URL,
            peer=peer_id(ip, signed),
            nodes=(_SUPERNODE,),
            ip=ip,
            port=_PEER_PORT,
            path=f"/peer/file/{task_file_name('file', signed)}",
            host_name=f"peer-{number}",
            down_slots=scenario.down_slots,
            back_to_source=scenario.back_to_source,
        )
        return Peer(number, config, host, stage, self._ended)

    # --- running ---

    def _arrivals(self) -> Iterator[float]:
        now = 0.0
        for peer in sorted(self.peers, key=lambda peer: self.scenario.arrival_s(peer.number)):
            pause = self.scenario.arrival_s(peer.number) - now
            if pause > 0:
                yield pause
                now += pause
            peer.start()

    def _samples(self, progress: Callable[[float], None]) -> Iterator[float]:
        wanted = self.scenario.peers * self.scenario.layout.count
        while True:
            progress(self.stage.transfers.pieces_moved / wanted)
            yield _SAMPLE_S

    def _saw(self, now: float, node: str, event: object | None, effects: Sequence[object]) -> None:
        self._digest(now, node, event, effects)
        assert self._checkers is not None
        self._checkers(now, node, event, effects)

    def _ended(self, peer: Peer) -> None:
        self._waiting.pop(peer.number, None)
        if not self._waiting:
            world = self.stage.world
            world.after(_AFTERMATH_S, World.stop, world)

    def _without_file(self) -> list[Peer]:
        return [peer for peer in self.peers if peer.node.is_up and not peer.has_file]

    def _check_all_finished(self) -> None:
        if late := self._without_file():
            names = ", ".join(peer.node.name for peer in late[:5])
            when = f"at {self.stage.world.now:.3f} s"
            raise NotFinished(f"{len(late)} live peers do not have the file {when}: {names}")
