"""The daemon among other peers: its address, and the server that gives them its pieces.

The server runs in the daemon's own process: a blob is served from its first piece on, nothing is
started while a client waits, and the daemon lives as long as the server would have to.
"""

from __future__ import annotations

import errno
import logging
import socket
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import trio

from ...engine.uploads import UploadPolicy
from ..http import open_listeners
from ..peer_meta import HostMeta
from ..peer_routes import PIECE
from ..peer_server import usual_ports
from ..peer_service import PeerService
from ..version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ...engine.ids import NodeAddress, PeerId, TaskId

_FOREVER_S: Final = 1e9
_SURVEY_S: Final = 3600.0
_log = logging.getLogger(__name__)


class Peers:
    """What other peers see of a daemon whose blobs lie in ``folder``.

    ``ip`` empty: the address from which the first of ``nodes`` would be reached.  ``port`` 0: the
    one of the daemon's last run if it is free, so that the swarm still finds what it kept, else
    one that v1 would choose.  Without supernodes nobody is served.
    """

    def __init__(
        self, folder: Path, nodes: tuple[NodeAddress, ...], ip: str = "", port: int = 0
    ) -> None:
        self._nodes, self._port = nodes, port
        self.ip = ip
        self.port = 0
        self._meta = HostMeta(folder / "meta" / "host.meta")
        policy = UploadPolicy(
            data_dir=str(folder),
            version=VERSION,
            # The shelf decides what goes, and when.
            expire_s=_FOREVER_S,
            partial_keep_s=_FOREVER_S,
            alive_s=0.0,
            survey_s=_SURVEY_S,
        )
        self._service = PeerService(policy, _nobody_is_told)

    def path_of(self, name: str) -> str:
        """Return where peers ask for pieces of a blob."""
        return f"{PIECE}{quote(name)}"

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        if self._nodes and not self.ip:
            self.ip = await _address_towards(self._nodes)
        if not self._nodes or not self.ip:
            task_status.started()
            return
        try:
            listeners = await self._listen()
        except OSError as error:
            _log.warning("no peer server, so this host serves nobody: %s", error)
            task_status.started()
            return
        self.port = int(listeners[0].socket.getsockname()[1])
        self._remember()
        try:
            await self._service.run(listeners, task_status.started)
        finally:
            for listener in listeners:
                listener.socket.close()

    def announce(self, name: str) -> None:
        """A blob begins to come: serve its pieces."""
        if self.port:
            self._service.announce(name)

    def finished(self, name: str, task: TaskId, peer: PeerId, node: NodeAddress | None) -> None:
        """A blob is here as a whole; ``node`` hears when it goes."""
        if self.port:
            self._service.finished(name, task, peer, node)

    def withdraw(self, name: str) -> None:
        """A blob goes."""
        if self.port:
            self._service.withdraw(name)

    async def _listen(self) -> list[trio.SocketListener]:
        for port in self._ports():
            try:
                return await open_listeners(self.ip, port)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or self._port:
                    raise
        raise OSError(errno.EADDRINUSE, f"no free port on {self.ip}")

    def _ports(self) -> Iterable[int]:
        if self._port:
            return [self._port]
        last = self._meta.read_port()
        return [*([last] if last else []), *usual_ports()]

    def _remember(self) -> None:
        try:
            self._meta.write_port(self.port)
        except OSError as error:
            _log.warning("the next run will take another port: %s", error)


async def _address_towards(nodes: tuple[NodeAddress, ...]) -> str:
    """Return this host's address as the first supernode that has one sees it, or nothing."""
    for node in dict.fromkeys(nodes):
        try:
            found = await trio.socket.getaddrinfo(node.host, node.port, type=socket.SOCK_DGRAM)
            family, _, _, _, address = found[0]
            with trio.socket.socket(family, socket.SOCK_DGRAM) as probe:
                await probe.connect(address)  # a datagram socket sends nothing
                return str(probe.getsockname()[0])
        except OSError as error:
            _log.warning("the way to supernode %s is not known: %s", node, error)
    return ""


def _nobody_is_told() -> None:
    """No other process looks for this server."""
