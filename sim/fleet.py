"""Builds the machines of a scenario: hosts, supernodes, and the processes that download."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ..engine.config import DownloadConfig
from ..engine.ids import NodeAddress, peer_id, sign, task_file_name, task_id
from ..engine.piece import PieceSizePolicy
from ..engine.ring import in_order_for
from .host import Content, Host, Replica
from .machine import Machine
from .peer import Peer
from .population import Uploads
from .scenario import SupernodeChoice
from .supernode import Supernode
from .topology import Place

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.ids import TaskId
    from .scenario import Scenario
    from .stage import Stage

_DOWNLOAD_PORT: Final = 8001
_PEER_PORT: Final = 15001
_URL: Final = "http://origin.example/file"
_ANY_POLICY: Final = PieceSizePolicy.ADAPTIVE
"""A fixed piece size is what the origin reader cuts to; the engine takes it from there."""


def contents_of(scenario: Scenario) -> dict[TaskId, Content]:
    """Return the files by task, in the order of their numbers."""
    numbers = range(scenario.files)
    return {task_id(_url(number)): Content(scenario.layout, number) for number in numbers}


class Fleet:
    """Makes the machines of one run; ``hosts`` are filled in by address."""

    def __init__(
        self,
        stage: Stage,
        hosts: dict[tuple[str, int], Host],
        ended: Callable[[Machine], None],
    ) -> None:
        self._stage, self._scenario, self._hosts = stage, stage.scenario, hosts
        self._ended = ended
        self._contents = tuple(stage.contents.values())
        self._tasks = tuple(stage.contents)
        addresses = [NodeAddress(f"192.0.2.{n + 1}") for n in range(stage.scenario.supernodes)]
        self._addresses = tuple(addresses)
        self._slots = stage.scenario.most_slots
        self._spread = stage.world.rng("supernode choice")

    def supernodes(self) -> tuple[Supernode, ...]:
        """Make all supernodes."""
        return tuple(self._supernode(number) for number in range(len(self._addresses)))

    def machines(self) -> tuple[Machine, ...]:
        """Make all peers' machines."""
        return tuple(self._machine(number) for number in range(self._scenario.peers))

    def _supernode(self, number: int) -> Supernode:
        scenario, address = self._scenario, self._addresses[number]
        rate, topology = scenario.supernode_bytes_per_s, scenario.topology
        host = Host(
            address.host,
            _DOWNLOAD_PORT,
            rate,
            rate,
            is_supernode=True,
            place=Place(number % topology.sites if topology is not None else 0),
            room_bytes=scenario.supernode_disk_bytes,
        )
        self._hosts[host.ip, host.port] = host
        has_limit = scenario.supernode_disk_bytes is not None
        policy, settings = scenario.piece_size, scenario.supernode_config
        config = replace(
            settings,
            ip=host.ip,
            download_port=host.port,
            piece_size_policy=policy if isinstance(policy, PieceSizePolicy) else _ANY_POLICY,
            up_slots=scenario.up_slots,
            down_slots=scenario.down_slots,
            cdn_up_slots=scenario.cdn_slots,
            policy=scenario.policy,
            gc_disk_interval_s=settings.gc_disk_interval_s if has_limit else 0.0,
        )
        name = f"supernode {number + 1}" if number else "supernode"
        return Supernode(name, address, config, host, self._stage)

    def _machine(self, number: int) -> Machine:
        scenario, topology = self._scenario, self._scenario.topology
        place = Place(0)
        if topology is not None:
            rack = topology.rack_of(number, scenario.peers)
            place = Place(topology.site_of(number, scenario.peers), rack)
        host = Host(
            f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
            _PEER_PORT,
            scenario.ups[number],
            scenario.downs[number],
            is_supernode=False,
            place=place,
            room_bytes=scenario.peer_classes[number].disk_bytes,
        )
        self._hosts[host.ip, host.port] = host
        files = scenario.wants[number]
        return Machine(number, host, files, self._stage, self._launch, self._ended)

    def _launch(self, machine: Machine, file: int) -> Peer:
        """Make the process that downloads a file, with what an earlier one left on the disk."""
        scenario, host, number = self._scenario, machine.host, machine.number
        now = self._stage.world.now
        signed = sign(number + file * scenario.peers, now)
        uploads = scenario.peer_classes[number].uploads is not Uploads.NONE
        native = int((number + 1) * scenario.v1_peers) == int(number * scenario.v1_peers)
        config = DownloadConfig(
            url=_url(file),
            task_url=_url(file),
            peer=peer_id(host.ip, signed),
            nodes=self._nodes(file),
            ip=host.ip,
            port=_PEER_PORT if uploads else 0,
            path=f"/peer/file/{task_file_name('file', signed)}",
            host_name=f"peer-{number}",
            native=native,
            relays=native and uploads,
            down_slots=self._slots.down,
            back_to_source=scenario.back_to_source,
            origin_piece_size=self._contents[file].piece_size,
        )
        replica = machine.replica(file) or Replica(host, self._contents[file])
        host.replicas[config.path] = replica
        stream = f"peer {number}"
        if file or now:
            stream += f" file {file} from {now!r}"
        return Peer(number, config, replica, self._stage, machine.finished, stream)

    def _nodes(self, file: int) -> tuple[NodeAddress, ...]:
        """Return the supernodes in the order in which a download tries them."""
        match self._scenario.supernode_choice:
            case SupernodeChoice.HASH:
                return in_order_for(self._tasks[file], self._addresses)
            case SupernodeChoice.SPREAD:
                nodes = list(self._addresses)
                self._spread.shuffle(nodes)
                return tuple(nodes)


def _url(number: int) -> str:
    return f"{_URL}-{number}" if number else _URL
