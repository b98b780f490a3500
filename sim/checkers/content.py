"""Nobody keeps, and nobody publishes, what is not the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...engine.effects import (
    DropPiece,
    FetchPiece,
    Finish,
    KeepPiece,
    LayOut,
    Publish,
    ReadOrigin,
    Send,
)
from ...engine.events import OriginPieceStored, PieceFetched, Started
from ...engine.messages import Register
from ...engine.outcomes import FailCode
from ...engine.piece import PieceLayout
from .checker import Checker, Violation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...engine.ids import FetchId, PieceIndex, TaskId
    from ...engine.piece import Digest
    from ..host import Content
    from .checker import Call


class Wanted(Checker):
    """Remembers which file each download is about, and how it has laid it out."""

    def __init__(self, contents: Mapping[TaskId, Content]) -> None:
        self._contents = contents
        self._tasks: dict[str, TaskId] = {}
        self._cuts: dict[str, int] = {}

    def content(self, node: str) -> Content:
        """Return the file that a download wants."""
        return self._contents[self._tasks[node]]

    def layout(self, node: str) -> PieceLayout | None:
        """Return how a download has cut the file, if it has."""
        size = self._cuts.get(node)
        return PieceLayout(self.content(node).length, size) if size is not None else None

    def see(self, call: Call) -> None:
        """Look for what names the file, or cuts it."""
        if not call.is_download:
            return
        node, event = call.node, call.event
        if isinstance(event, Started) and event.held:
            self._cuts[node] = event.piece_size
        for effect in call.effects:
            match effect:
                case Send(request=Register() as wanted):
                    self._tasks[node] = wanted.task
                case ReadOrigin(task=task):
                    self._tasks[node] = task
                case LayOut(task=task, piece_size=size):
                    self._tasks[node], self._cuts[node] = task, size
                case _:
                    pass


class RightBytes(Checker):
    """A piece is kept with its true digest and size, and only if bytes with them have come."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._fetching: dict[tuple[str, FetchId], PieceIndex] = {}
        self._is_right: dict[tuple[str, PieceIndex], bool] = {}
        """Of what each node was last brought."""

    def see(self, call: Call) -> None:
        """Look at what comes and at what is kept."""
        if not call.is_download:
            return
        node, event = call.node, call.event
        match event:
            case PieceFetched(fetch, _, digest):
                if (piece := self._fetching.pop((node, fetch), None)) is not None:
                    self._is_right[node, piece] = self._tells_right(node, piece, digest)
            case OriginPieceStored(_, piece, _, digest):
                self._is_right[node, piece] = self._tells_right(node, piece, digest)
            case Started(held):
                for one in held:
                    self._is_right[node, one.piece] = True  # judged when it was kept
            case _:
                pass
        for effect in call.effects:
            if isinstance(effect, FetchPiece):
                self._fetching[node, effect.fetch] = effect.offer.piece
            elif isinstance(effect, KeepPiece):
                self._check(node, effect)

    def _check(self, node: str, kept: KeepPiece) -> None:
        piece, layout = kept.piece, self._wanted.layout(node)
        assert layout is not None
        if not self._tells_right(node, piece, kept.digest):
            raise Violation(f"keeps piece {piece} with the wrong digest {kept.digest}")
        if kept.size != layout.size(piece):
            raise Violation(f"keeps piece {piece} with the wrong size {kept.size}")
        if not self._is_right.get((node, piece), False):
            raise Violation(f"keeps piece {piece}, whose right bytes never came")

    def _tells_right(self, node: str, piece: PieceIndex, digest: Digest) -> bool:
        return digest == self._wanted.content(node).digest(piece, digest)


class Whole(Checker):
    """What is published has every piece; what ends well was published."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._kept: dict[str, dict[PieceIndex, None]] = {}
        self._published: dict[str, None] = {}

    def see(self, call: Call) -> None:
        """Count what is kept, and compare at the end."""
        node = call.node
        if isinstance(call.event, Started):
            self._published.pop(node, None)
            self._kept[node] = {held.piece: None for held in call.event.held}
        elif not call.is_download:
            return
        for effect in call.effects:
            self._follow(node, effect)

    def _follow(self, node: str, effect: object) -> None:
        match effect:
            case LayOut(keep=False):
                self._kept[node] = {}
            case KeepPiece(piece):
                self._kept.setdefault(node, {})[piece] = None
            case DropPiece(piece):
                self._kept[node].pop(piece, None)
            case Publish():
                layout = self._wanted.layout(node)
                kept, count = len(self._kept.get(node, ())), layout.count if layout else 0
                if kept != count:
                    raise Violation(f"publishes {kept} of {count} pieces")
                self._published[node] = None
            case Finish(FailCode.SUCCESS):
                if node not in self._published:
                    raise Violation("finishes well without having published anything")
            case _:
                pass
