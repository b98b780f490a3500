"""Which pieces are under way, from whom to whom; what several checkers look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...engine.effects import CancelFetch, FetchPiece, Send
from ...engine.events import PieceFailed, PieceFetched, Started
from ...engine.messages import Register
from .checker import Checker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...engine.ids import FetchId, PieceIndex
    from .checker import Call


@dataclass(eq=False, slots=True)
class Fetch:
    """One piece under way; ``parent_ip`` and ``child_ip`` are whose links it crosses."""

    child: str
    child_ip: str
    parent: str
    parent_ip: str
    piece: PieceIndex
    since: float
    excused: bool = False
    """The supernode may be forgiven for not knowing of it."""


class Fetches(Checker):
    """Follows every fetch from beginning to end.

    ``began`` and ``ended`` are those of the latest call; of the ended the bytes that came.
    """

    def __init__(self) -> None:
        self._open: dict[str, dict[FetchId, Fetch]] = {}
        self._from: dict[str, dict[Fetch, None]] = {}
        self._ips: dict[str, str] = {}
        self.began: list[Fetch] = []
        self.ended_now: list[tuple[Fetch, int]] = []

    def __iter__(self) -> Iterator[Fetch]:
        for fetches in self._open.values():
            yield from fetches.values()

    def to(self, child: str) -> list[Fetch]:
        """Return what ``child`` is fetching."""
        return list(self._open.get(child, {}).values())

    def of(self, parent: str) -> list[Fetch]:
        """Return what others fetch from ``parent``."""
        return list(self._from.get(parent, ()))

    def see(self, call: Call) -> None:
        """Follow one call."""
        self._turn_the_page()
        node, event = call.node, call.event
        if isinstance(event, PieceFetched):
            self._end(node, event.fetch, event.size)
        elif isinstance(event, PieceFailed):
            self._end(node, event.fetch)
        elif isinstance(event, Started):
            self._end_all(node)
        for effect in call.effects:
            match effect:
                case CancelFetch(fetch):
                    self._end(node, fetch)
                case FetchPiece():
                    self._begin(call.now, node, effect)
                case Send(request=Register(ip=ip)):
                    self._ips[node] = ip
                case _:
                    pass

    def crashed(self, node: str) -> None:
        """End all that ``node`` was fetching."""
        self._turn_the_page()
        self._end_all(node)

    def _turn_the_page(self) -> None:
        self.began.clear()
        self.ended_now.clear()

    def _end_all(self, node: str) -> None:
        for fetch in list(self._open.get(node, ())):
            self._end(node, fetch)

    def _begin(self, now: float, node: str, effect: FetchPiece) -> None:
        offer = effect.offer
        ip = self._ips.get(node, "")
        fetch = Fetch(node, ip, offer.parent, offer.host, offer.piece, now)
        self._open.setdefault(node, {})[effect.fetch] = fetch
        self._from.setdefault(offer.parent, {})[fetch] = None
        self.began.append(fetch)

    def _end(self, node: str, number: FetchId, size: int = 0) -> None:
        fetch = self._open.get(node, {}).pop(number, None)
        if fetch is not None:
            del self._from[fetch.parent][fetch]
            if fetch in self.began:
                self.began.remove(fetch)  # nothing of it ever moved
            else:
                self.ended_now.append((fetch, size))
