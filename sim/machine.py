"""One machine of the fleet: what it wants, and how it comes, dies, comes back and leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..engine.effects import Send
from ..engine.ids import ExchangeId
from ..engine.messages import LeaveTask
from .population import Uploads
from .serving import FileServer, PeerServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.events import ExchangeFailed, Replied
    from .host import Host, Replica
    from .peer import Peer
    from .stage import Stage

_LEAVE_TIMEOUT_S: Final = 5.0


class Machine:
    """A host and the downloads on it, one a file, each a new process after a restart.

    ``launch`` makes the process of a file; ``ended`` is told once all files are there, or lost.
    ``took_s`` counts from the machine's first start to the end of its last download.
    """

    def __init__(
        self,
        number: int,
        host: Host,
        files: tuple[int, ...],
        stage: Stage,
        launch: Callable[[Machine, int], Peer],
        ended: Callable[[Machine], None],
    ) -> None:
        self.number, self.host = number, host
        self.began_s: float | None = None
        self.took_s: float | None = None
        self.took_each_s: dict[int, float] = {}
        """The same for each file."""
        self.is_up, self._is_gone = True, False
        self._stage, self._launch, self._ended = stage, launch, ended
        self._opens = stage.scenario.peer_classes[number].uploads is Uploads.YES
        self._server: PeerServer | None = None
        self.downloads: dict[int, Peer] = {}
        """The latest process of each file."""
        self.downloads |= {file: launch(self, file) for file in files}
        self._serve(self.peers)

    @property
    def peers(self) -> tuple[Peer, ...]:
        """The latest processes."""
        return tuple(self.downloads.values())

    def replica(self, file: int) -> Replica | None:
        """Return what lies on the disk of a file, if it was begun."""
        return self.downloads[file].replica if file in self.downloads else None

    @property
    def has_files(self) -> bool:
        """Tell whether all downloads ended well."""
        return all(peer.has_file for peer in self.downloads.values())

    def start(self) -> None:
        """Begin the downloads, now, or as soon as the machine is up."""
        self.began_s = self._stage.world.now
        if self.is_up:
            for peer in self.peers:
                self._begin(peer)

    def crash(self, *, for_good: bool) -> None:
        """Die: all its processes, with what was not on the disk for good."""
        self._is_gone |= for_good
        self.is_up = self.host.listens = False
        for peer in self.peers:
            peer.crash()
        if self._server is not None:
            self._server.crash()
        self._stage.transfers.cut_off(self.host)
        self.host.replicas.clear()
        self._lose_unsynced()

    def restart(self) -> None:
        """Come back: what was under way goes on; what was done is served no more."""
        if self.is_up or self._is_gone:
            return
        self.is_up = True
        unfinished = [file for file, peer in self.downloads.items() if peer.finish is None]
        again = {file: self._launch(self, file) for file in unfinished}
        self.downloads |= again
        if again:
            self._serve(tuple(again.values()))
        if self.began_s is not None:
            for peer in again.values():
                self._begin(peer)

    def finished(self, peer: Peer) -> None:
        """Take in that one of the downloads is over."""
        if self._server is not None:
            self._server.finished(peer)
        assert self.began_s is not None
        took_s = self._stage.world.now - self.began_s
        self.took_each_s[peer.replica.content.number] = took_s
        if all(other.finish is not None for other in self.downloads.values()):
            self.took_s = took_s
            linger_s = self._stage.scenario.linger_s
            if linger_s is not None:
                self._stage.world.after(linger_s, Machine._leave, self)
            self._ended(self)

    def handle(self, event: Replied | ExchangeFailed) -> None:
        """Nothing depends on what a supernode answers to a leave."""

    def _begin(self, peer: Peer) -> None:
        if self._server is not None:
            self._server.announce(peer)
        peer.start()

    def _serve(self, peers: tuple[Peer, ...]) -> None:
        """Start what answers requests for the pieces of these downloads."""
        self.host.listens = self._opens
        stage = self._stage
        if stage.scenario.peer_servers:
            self._server = PeerServer(f"{peers[0].config.peer} server", self.host, stage)
        self.host.server = self._server or FileServer(stage.transfers)

    def _leave(self) -> None:
        """Serve no longer, and say so."""
        if not self.is_up:
            return
        if self._server is not None:
            self._server.stop()
            return
        self.host.listens = False
        for peer in self.peers:
            if (node := peer.supernode) is not None:
                leave = LeaveTask(peer.config.task, peer.config.peer)
                asked = Send(ExchangeId(0), node, leave, _LEAVE_TIMEOUT_S)
                self._stage.control.ask(self, self.host, asked)

    def _lose_unsynced(self) -> None:
        """Lose what was not kept, and what was kept too shortly ago."""
        safe_s = self._stage.world.now - self._stage.scenario.disk_unsynced_s
        for replica in (peer.replica for peer in self.peers):
            for piece in list(replica.stored):
                if piece not in replica.serves or replica.kept_s.get(piece, safe_s) > safe_s:
                    replica.discard(piece)
