"""What a download is to be, how far it is, and how it ended: what ``fetch`` is told and tells.

Light to import, so that a program can decide what to do before it loads what it does it with.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Protocol

from ..engine.errors import DamselflyError
from ..engine.records import dataclass

if TYPE_CHECKING:
    from pathlib import Path

    from ..engine.ids import NodeAddress
    from ..engine.outcomes import FailCode, Milestone


class PrepareError(DamselflyError):
    """The download cannot begin: the work home or the target cannot be used."""


class Pattern(Enum):
    """Where a download may take pieces from (protocol 8.1)."""

    P2P = "p2p"
    """Peers and supernode; this host serves others in turn."""
    CDN = "cdn"
    """What the supernode lists; this host serves nobody."""
    SOURCE = "source"
    """The origin alone."""


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """What to fetch, and how.

    ``target`` is where the file shall appear, ``home`` the work home, ``sign`` what makes this
    run's names unique.  ``nodes`` are supernodes in any order, each as often as its weight says.
    ``dropped`` names query parameters that do not belong to the content's
    identity; neither does ``sha256``, by which the finished file is verified as by ``md5``.
    Limits in bytes per second and times in seconds, 0: none.  At most ``pieces_at_once`` pieces,
    or reads of the origin, are received and written at a time.  ``port`` 0: any.  ``root_cas`` are
    PEM certificates in base64, trusted beside the usual ones.  ``version`` is what this program
    and its peer server say they are, empty: what they are.
    """

    url: str
    target: Path
    home: Path
    sign: str
    nodes: tuple[NodeAddress, ...] = ()
    pattern: Pattern = Pattern.P2P
    md5: str = ""
    sha256: str = ""
    identifier: str = ""
    call_system: str = ""
    dfdaemon: bool = False
    dropped: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    back_to_source: bool = True
    local_limit_bytes_per_s: int = 0
    total_limit_bytes_per_s: int = 0
    pieces_at_once: int = 6
    native: bool = True
    timeout_s: float = 0.0
    min_rate_bytes_per_s: int = 0
    alive_s: float = 300.0
    expire_s: float = 180.0
    ip: str = ""
    port: int = 0
    insecure: bool = False
    root_cas: tuple[str, ...] = ()
    version: str = ""
    verbose: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a download is, in content bytes; ``length`` -1: unknown."""

    length: int = -1
    held_bytes: int = 0
    from_supernode: int = 0
    from_peers: int = 0
    from_origin: int = 0
    from_disk: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a download ended; codes and reasons as in protocol 8.4."""

    code: FailCode
    reason: int
    message: str
    length: int
    seconds: float
    progress: Progress
    task: str
    peer: str


class Watcher(Protocol):
    """Whoever wants to know how it goes; both methods must return at once."""

    def told(self, milestone: Milestone, text: str) -> None:
        """Something worth a line happened."""
        ...

    def progressed(self, progress: Progress) -> None:
        """Some piece or part came."""
        ...
