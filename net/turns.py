"""One at a time and in the order of asking, for each name by itself."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

K = TypeVar("K", bound="Hashable")


class Turns(Generic[K]):
    """Lines of those who want to do something about a name.

    Standing in line is done at once, unlike taking a lock, so that whoever is told first is first.
    """

    def __init__(self) -> None:
        self._lines: dict[K, deque[trio.Event]] = {}

    def __iter__(self) -> Iterator[K]:
        return iter(self._lines)

    def join(self, name: K) -> trio.Event:
        """Stand in line; the event is set when it is one's turn.  ``leave`` must follow."""
        line, turn = self._lines.setdefault(name, deque()), trio.Event()
        line.append(turn)
        if len(line) == 1:
            turn.set()
        return turn

    def leave(self, name: K, turn: trio.Event) -> None:
        """Let the next one have its turn."""
        line = self._lines[name]
        line.remove(turn)
        if line:
            line[0].set()
        else:
            del self._lines[name]
