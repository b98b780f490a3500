"""A simulated machine: its address, links, disk and processor; and the files everybody wants."""

from __future__ import annotations

from functools import cache
from hashlib import md5, sha256
from math import inf
from typing import TYPE_CHECKING

from ..engine.ids import PieceIndex
from ..engine.piece import Digest
from .links import Link
from .topology import Place

if TYPE_CHECKING:
    from ..engine.piece import PieceLayout
    from .scenario import Scenario
    from .transfers import PieceTransfer, Server

_ANYWHERE = Place(0)


class Content:
    """One true file.  Its bytes exist only as the digests that they would have."""

    def __init__(self, layout: PieceLayout, number: int = 0) -> None:
        self.number = number
        self.length, self.piece_size = layout.length, layout.piece_size
        self.sizes = tuple(layout.size(PieceIndex(piece)) for piece in range(layout.count))
        """Content bytes of each piece."""
        self._name = f"file {number} " if number else ""
        self._sha256s = [_digest("sha256", self._name, n, False) for n in range(layout.count)]
        self.md5 = md5(f"{self._name}file".encode()).hexdigest()
        self.validator = '"v1"'

    def digest(self, piece: PieceIndex, like: Digest, *, corrupt: bool = False) -> Digest:
        """Return the digest of a piece in the form of ``like``, a SHA-256 where that is empty."""
        is_md5 = like.startswith("md5:")
        if is_md5 or corrupt:
            return _digest("md5" if is_md5 else "sha256", self._name, piece, corrupt)
        return self._sha256s[piece]

    def sha256(self, piece: PieceIndex) -> Digest:
        """Return the right SHA-256 of a piece."""
        return self._sha256s[piece]


@cache
def _digest(form: str, name: str, piece: int, corrupt: bool) -> Digest:
    text = f"{'corrupt ' if corrupt else ''}{name}piece {piece}".encode()
    return Digest(f"{form}:{(md5 if form == 'md5' else sha256)(text).hexdigest()}")


class Queue:
    """What a machine does one thing after the other: its disk, its one core."""

    __slots__ = ("free_s",)

    def __init__(self) -> None:
        self.free_s = 0.0

    def done_s(self, now: float, takes_s: float) -> float:
        """Put one more thing at the end; return when it will be done."""
        self.free_s = max(self.free_s, now) + takes_s
        return self.free_s


class Host:
    """Where bytes come from and go to.

    ``server`` answers whoever asks, while the host ``listens``; ``uploads`` are the pieces it is
    sending.  ``replicas`` are found by the path under which they are served.  ``side`` has a bit
    for each partition that cuts it off, ``room_bytes`` is the size of its disk, ``None``: enough.
    """

    __slots__ = (
        *("cpu", "disk", "down", "ip", "is_supernode", "listens", "place", "port", "replicas"),
        *("room_bytes", "server", "side", "up", "uploads", "used_bytes"),
    )

    def __init__(
        self,
        ip: str,
        port: int,
        up_bytes_per_s: float,
        down_bytes_per_s: float,
        *,
        is_supernode: bool,
        place: Place = _ANYWHERE,
        room_bytes: int | None = None,
    ) -> None:
        self.ip, self.port, self.is_supernode, self.place = ip, port, is_supernode, place
        self.up, self.down = Link(up_bytes_per_s), Link(down_bytes_per_s)
        self.disk, self.cpu = Queue(), Queue()
        self.room_bytes, self.used_bytes = room_bytes, 0
        self.listens = True
        self.side = 0
        self.server: Server
        self.replicas: dict[str, Replica] = {}
        self.uploads: dict[PieceTransfer, None] = {}

    def kept_s(self, now: float, size: int, scenario: Scenario) -> float:
        """Return when a piece that has come now is hashed and written."""
        done_s, rate = now, scenario.disk_bytes_per_s
        # Nothing on the core may be put off to when a disk is done: all else would wait for it.
        if scenario.piece_cpu_s and not self.is_supernode:
            done_s = self.cpu.done_s(done_s, scenario.piece_cpu_s)
        if rate or scenario.disk_latency_s:
            takes_s = scenario.disk_latency_s + (size / rate if rate else 0.0)
            done_s = self.disk.done_s(done_s, takes_s)
        return done_s

    def free_bytes(self) -> float:
        """Return the room that is left on the disk."""
        return inf if self.room_bytes is None else self.room_bytes - self.used_bytes


class Replica:
    """The pieces of one file on one host.

    ``stored`` tells of each whether its bytes are bad; ``serves`` are those that others may have.
    ``kept_s`` is when they were kept, where disks may lose what is young.  While its download
    ``relays``, others may ask for what is not there: it may be ``arriving``, which a piece does
    from its first byte until it is kept or not; ``awaited`` are the uploads that wait for that.
    """

    __slots__ = ("arriving", "awaited", "content", "host", "kept_s", "relays", "serves", "stored")

    def __init__(self, host: Host, content: Content) -> None:
        self.host, self.content = host, content
        self.stored: dict[PieceIndex, bool] = {}
        self.serves: dict[PieceIndex, None] = {}
        self.kept_s: dict[PieceIndex, float] = {}
        self.relays = False
        self.arriving: dict[PieceIndex, PieceTransfer] = {}
        self.awaited: dict[PieceIndex, dict[PieceTransfer, None]] = {}

    def store(self, piece: PieceIndex, *, corrupt: bool = False) -> bool:
        """Write a piece; false, and nothing is written, if the disk has no room for it."""
        if piece not in self.stored:
            size = self.content.sizes[piece]
            host = self.host
            if host.room_bytes is not None and host.used_bytes + size > host.room_bytes:
                return False
            host.used_bytes += size
        self.stored[piece] = corrupt
        return True

    def discard(self, piece: PieceIndex) -> None:
        """Remove a piece that is stored."""
        del self.stored[piece]
        self.serves.pop(piece, None)
        self.host.used_bytes -= self.content.sizes[piece]

    def clear(self) -> None:
        """Remove the file."""
        for piece in list(self.stored):
            self.discard(piece)
