"""Which supernode is a task's own: the same for every peer that knows of the same ones.

Were each peer to choose for itself, a file would be read from its origin by every supernode, and
its peers would be in as many swarms.
"""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from math import log
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .ids import NodeAddress, TaskId


def in_order_for(task: TaskId, nodes: Iterable[NodeAddress]) -> tuple[NodeAddress, ...]:
    """Return each supernode once, in the order in which to ask for ``task``.

    One that is named ``n`` times comes first for ``n`` times as many tasks as one that is named
    once.  If one comes or goes, only tasks whose first it is, or was, move (rendezvous hashing:
    Thaler and Ravishankar 1998; with weights: Schindelhauer and Schomaker 2005).
    """
    weights = Counter(nodes)
    return tuple(sorted(weights, key=lambda node: _distance(task, node) / weights[node]))


def _distance(task: TaskId, node: NodeAddress) -> float:
    drawn = int.from_bytes(sha256(f"{task} {node}".encode()).digest()[:7])
    return -log((drawn + 1) / (1 << 56))
