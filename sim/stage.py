"""What all nodes of one run share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .control import Control
    from .faults import Rot
    from .host import Content
    from .node import Watch
    from .origin import Origin
    from .transfers import Transfers
    from .world import World


@dataclass(frozen=True, slots=True)
class Stage:
    """The world and what moves in it.

    ``peer_servers``: uploads are decided by a ``PeerServerEngine`` on each peer.  ``paranoid``:
    nodes check their engine after every call.
    """

    world: World
    control: Control
    transfers: Transfers
    origin: Origin
    content: Content
    rot: Rot
    watch: Watch
    peer_servers: bool
    paranoid: bool
