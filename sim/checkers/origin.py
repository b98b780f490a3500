"""The origin gives each file once, and again what faults justify: the point of it all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...engine.effects import DeleteCopy, ForgetTask, LayOut, ReadOrigin
from ...engine.events import OriginFailed, OriginPieceStored
from .checker import Checker, Violation

if TYPE_CHECKING:
    from ...engine.ids import FetchId, PieceIndex, TaskId
    from .checker import Call
    from .trouble import Trouble


class _Copy:
    """What one node has read of one file."""

    __slots__ = ("allowed", "broken", "reads", "stored")

    def __init__(self) -> None:
        self.reads, self.allowed = 0, 1
        self.broken = False
        self.stored: dict[PieceIndex, None] = {}

    def lose(self) -> None:
        """It is gone, and may be read again."""
        self.allowed += 1
        self.stored.clear()


class OriginBudget(Checker):
    """A supernode reads a file once, and once more for each read that failed or copy it lost.

    A download reads the origin only if something went wrong before, and no piece twice unless it
    began anew or a read failed.
    """

    def __init__(self, trouble: Trouble) -> None:
        self._trouble = trouble
        self._copies: dict[tuple[str, TaskId], _Copy] = {}
        self._reads: dict[tuple[str, FetchId], _Copy] = {}

    def see(self, call: Call) -> None:
        """Look at reads, at what they bring, and at what justifies more of them."""
        node, event = call.node, call.event
        match event:
            case OriginPieceStored(fetch, piece):
                stored = self._reads[node, fetch].stored
                if piece in stored:
                    raise Violation(f"reads piece {piece} from the origin again")
                stored[piece] = None
            case OriginFailed(fetch):
                copy = self._reads[node, fetch]
                copy.allowed += 1
                copy.broken = True
            case _:
                pass
        for effect in call.effects:
            match effect:
                case ReadOrigin():
                    self._begin(call, effect)
                case DeleteCopy(task) | ForgetTask(task):
                    self._copy(node, task).lose()
                case LayOut(task=task, keep=False):
                    self._copy(node, task).stored.clear()
                case _:
                    pass

    def crashed(self, node: str) -> None:
        """What a dead node had read may be lost."""
        for (owner, _), copy in self._copies.items():
            if owner == node:
                copy.lose()

    def _begin(self, call: Call, read: ReadOrigin) -> None:
        copy = self._reads[call.node, read.fetch] = self._copy(call.node, read.task)
        copy.reads += 1
        if read.first_byte == 0 and copy.broken:
            copy.stored.clear()  # an origin without ranges is read from the start
        if call.is_supernode and copy.reads > copy.allowed:
            raise Violation("reads the origin again, though nothing was lost")
        if call.is_download and not self._trouble.kinds(call.node):
            raise Violation("reads the origin, though nothing went wrong before")

    def _copy(self, node: str, task: TaskId) -> _Copy:
        return self._copies.setdefault((node, task), _Copy())
