"""What goes wrong, and when: processes that die and disks that rot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..engine.ids import PieceIndex
    from .scenario import Scenario


class Victims(Protocol):
    """What faults are done to."""

    def crash_peer(self, peer: int) -> None:
        """Kill one peer's processes."""
        ...

    def crash_supernode(self) -> None:
        """Kill the supernode."""
        ...


def deaths(scenario: Scenario, victims: Victims) -> Iterator[float]:
    """Tell the story of all crashes of a scenario, for ``World.play``."""
    due = [(crash.at_s, crash.peer) for crash in scenario.crashes]
    if scenario.supernode_crash_s is not None:
        due.append((scenario.supernode_crash_s, -1))
    now = 0.0
    for at_s, peer in sorted(due):
        yield at_s - now
        now = at_s
        if peer < 0:
            victims.crash_supernode()
        else:
            victims.crash_peer(peer)


class Rot:
    """Which pieces go bad on which disk, once their owner has verified and kept them."""

    def __init__(self, scenario: Scenario) -> None:
        self._rotten = {(rot.peer, rot.piece): None for rot in scenario.corruptions}

    def spoils(self, peer: int, piece: PieceIndex) -> bool:
        """Tell whether ``piece`` goes bad on the disk of peer number ``peer``."""
        return (peer, piece) in self._rotten or (peer, None) in self._rotten
