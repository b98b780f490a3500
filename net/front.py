"""What of a supernode faces those who call it: its control port, and what that keeps.

The engine decides.  Here are its answers on their way out, the records of peers, the preheats
under way, and the counts.
"""

from __future__ import annotations

import json
import socket
from time import time_ns
from typing import TYPE_CHECKING

from ..engine.effects import Answer, ForgetPeer, ForgetTask
from ..engine.peer_records import PeerRecords
from ..engine.records import dataclass
from .control import ControlPort
from .exchanges import Exchanges
from .rest.api import RestApi
from .rest.exposition import Sources
from .rest.metrics import Metrics, ScheduleTimer
from .rest.node import Node
from .rest.preheats import Preheats
from .version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

    import trio

    from ..engine.config import SupernodeConfig
    from ..engine.effects import SupernodeEffect
    from ..engine.events import Dropped, Requested
    from ..engine.supernode import SupernodeEngine
    from .rest.registry import RegistryClient


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a supernode's copies have moved so far, asked for when somebody looks.

    ``cache_hits`` counts copies that were on disk as a whole and needed no read.
    """

    origin_bytes: Callable[[], int]
    uploaded_bytes: Callable[[], int]
    cache_hits: Callable[[], int]


class Front:
    """The control port of one supernode; its questions go to ``tell``, preheats into ``nursery``.

    ``timed`` is the engine for the host to drive.  ``performed`` must see each of its effects,
    and ``read_said`` each event of a read.
    """

    def __init__(
        self,
        engine: SupernodeEngine,
        config: SupernodeConfig,
        tell: Callable[[Requested | Dropped], None],
        nursery: trio.Nursery,
        registries: RegistryClient,
        traffic: Traffic,
        *,
        profiles: bool = False,
    ) -> None:
        self._engine, self._traffic = engine, traffic
        self._exchanges = Exchanges(tell)
        self._metrics = Metrics()
        self._records = PeerRecords()
        self.timed = ScheduleTimer(engine, self._metrics.schedule_ms)
        self.read_said = self._metrics.read_said
        itself = self._records.add(
            config.ip, socket.gethostname(), config.download_port, "", time_ns()
        )
        ask = self._exchanges.ask
        node = Node(ask, engine.view, self._records, itself, config.ip)
        sources = Sources(
            census=engine.census,
            peers=self._records.per_ip,
            copies_failed=lambda: engine.copies_failed,
            uploaded_bytes=traffic.uploaded_bytes,
            cache_hits=traffic.cache_hits,
            version=VERSION,
        )
        preheats = Preheats(ask, registries, nursery)
        api = RestApi(node, preheats, self._metrics, sources, self._stats, profiles=profiles)
        self.control = ControlPort(api, self._exchanges)

    def performed(self, effect: SupernodeEffect) -> None:
        """Pass an answer on; keep records and counts in step with the engine."""
        match effect:
            case Answer():
                self._exchanges.answer(effect)
                return
            case ForgetTask(task):
                self._metrics.peers_collected.add(self._records.forget_task(task))
            case ForgetPeer(task, peer):
                self._records.forget(task, peer)
                self._metrics.peers_collected.add()
            case _:
                pass
        self._metrics.performed(effect)

    def _stats(self) -> bytes:
        stats = {
            "tasks": len(self._engine.tasks),
            "peers": self._engine.peers,
            "origin_bytes": self._traffic.origin_bytes(),
            "upload_bytes": self._traffic.uploaded_bytes(),
            "requests": self.control.requests,
        }
        return json.dumps(stats).encode()
