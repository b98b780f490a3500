"""Names of tasks, peers and supernodes, and the formulas behind them (protocol 5.1 to 5.3)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NewType

from .records import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable

TaskId = NewType("TaskId", str)
"""64 lower-case hex digits."""
PeerId = NewType("PeerId", str)
"""Dragonfly's cid: one download of one process, ``<ip>-<sign>``."""
NO_PEER: Final = PeerId("")
PieceIndex = NewType("PieceIndex", int)
ExchangeId = NewType("ExchangeId", int)
"""One request and its answer; unique per engine."""
FetchId = NewType("FetchId", int)
"""One attempt to get one piece, or one read of an origin; unique per engine."""

CDN_PREFIX: Final = "cdnnode:"
_TASK_SALT: Final = ">I$pg-~AS~sP'rqu_`Oh&lz#9]\"=;nE%"


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """Where a supernode's control port listens; sorted by host, then by port."""

    host: str
    port: int = 8002

    def __lt__(self, other: NodeAddress) -> bool:
        return (self.host, self.port) < (other.host, other.port)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def task_id(task_url: str, *, md5: str = "", identifier: str = "", byte_range: str = "") -> TaskId:
    """Return the id under which a supernode knows this content.

    ``byte_range`` is the value of a ``Range`` header that belongs to the task, empty for none.
    """
    text = f"{_TASK_SALT}{task_url}{md5 or identifier}{byte_range}{_TASK_SALT}"
    return TaskId(hashlib.sha256(text.encode()).hexdigest())


def range_of(headers: Iterable[str]) -> str:
    """Return the value of the ``Range`` header among ``k:v`` lines, empty without one.

    It makes the task another one; only a name spelt just so does, as in 1.0.6 (protocol 5.1).
    """
    for line in headers:
        name, _, value = line.partition(":")
        if name.strip() == "Range":
            return value.strip()
    return ""


def task_url(raw_url: str, dropped: tuple[str, ...]) -> str:
    """Return ``raw_url`` without the query parameters named in ``dropped``."""
    base, mark, query = raw_url.partition("?")
    if not dropped or not query:
        return raw_url
    kept = [part for part in query.split("&") if part.partition("=")[0] not in dropped]
    return f"{base}{mark}{'&'.join(kept)}" if kept else base


def sign(pid: int, wall_clock_s: float) -> str:
    """Return what makes the names of one process' download unique."""
    return f"{pid}-{wall_clock_s:.3f}"


def peer_id(ip: str, sign: str) -> PeerId:
    """Return the cid of a download; ``ip`` may be empty when no supernode could be probed."""
    return PeerId(f"{ip}-{sign}")


def cdn_peer_id(supernode_ip: str, task: TaskId) -> PeerId:
    """Return the cid under which a supernode offers its own copy."""
    return PeerId(f"{CDN_PREFIX}{supernode_ip}~{task}")


def is_cdn(peer: PeerId) -> bool:
    """Tell whether ``peer`` names a supernode's own copy."""
    return peer.startswith(CDN_PREFIX)


def task_file_name(output_name: str, sign: str) -> str:
    """Return the name under which a peer server serves one download."""
    return f"{output_name}-{sign}"
