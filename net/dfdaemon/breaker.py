"""Which supernodes are worth asking: one that did not answer is left alone until it does again."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from ...engine.ids import NodeAddress

_CONNECT_S: Final = 0.5
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0
_log = logging.getLogger(__name__)


class Breaker:
    """The supernodes of a daemon, each as often as its weight, and who of them is thought dead.

    No request waits for a dead one: a task of its own looks whether it is back, at growing
    intervals.
    """

    def __init__(self, nodes: tuple[NodeAddress, ...]) -> None:
        self._nodes = nodes
        self._dead: dict[NodeAddress, None] = {}
        self._died = trio.Event()

    @property
    def alive(self) -> tuple[NodeAddress, ...]:
        """The supernodes to ask."""
        return tuple([node for node in self._nodes if node not in self._dead])

    @property
    def nodes(self) -> tuple[NodeAddress, ...]:
        """All supernodes."""
        return self._nodes

    def heard(self, node: NodeAddress, answered: bool) -> None:
        """Take in whether ``node`` answered just now."""
        if answered:
            self._dead.pop(node, None)
        elif node not in self._dead:
            _log.warning("supernode %s does not answer: going on without it", node)
            self._dead[node] = None
            self._died.set()

    async def run(self) -> None:
        """Find out who is dead now, and who of the dead is back, until cancelled."""
        await self._look_at(tuple(dict.fromkeys(self._nodes)))
        while True:
            await self._died.wait()
            self._died = trio.Event()
            pause_s = _FIRST_PAUSE_S
            while self._dead:
                await trio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                await self._look_at(tuple(self._dead))

    async def _look_at(self, nodes: tuple[NodeAddress, ...]) -> None:
        async with trio.open_nursery() as nursery:
            for node in nodes:
                nursery.start_soon(self._look_at_one, node)

    async def _look_at_one(self, node: NodeAddress) -> None:
        answers = False
        with trio.move_on_after(_CONNECT_S):
            try:
                stream = await trio.open_tcp_stream(node.host, node.port)
            except OSError:
                pass
            else:
                await stream.aclose()
                answers = True
        self.heard(node, answers)
