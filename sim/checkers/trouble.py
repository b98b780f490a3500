"""What went wrong at each node, so that what it does about that is no surprise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...engine.effects import Finish, Send
from ...engine.events import (
    ExchangeFailed,
    OriginFailed,
    PieceFailed,
    PublishFailed,
    Replied,
    Started,
)
from ...engine.messages import Code, Refused, Register
from .checker import Checker

if TYPE_CHECKING:
    from ...engine.ids import ExchangeId
    from .checker import Call

_NO_TROUBLE = (Code.PEER_WAIT, Code.PEER_LIMITED, Code.SUCCESS)


class Trouble(Checker):
    """Remembers, for each download, since its start: when exchanges, pieces, origin reads failed.

    ``kinds`` of a node are the names of the failures that it met.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, dict[str, None]] = {}
        self._asked: dict[str, dict[ExchangeId, None]] = {}
        self._heard: dict[str, float] = {}
        self.dead: dict[str, None] = {}

    def kinds(self, node: str) -> tuple[str, ...]:
        """Return what has gone wrong at ``node``."""
        return tuple(self._kinds.get(node, ()))

    def said_at(self, node: str) -> float:
        """Return when ``node`` last said something to a supernode, 0 if never."""
        return self._heard.get(node, 0.0)

    def see(self, call: Call) -> None:
        """Look for failures; an exchange that is still open at the end counts as one."""
        node, event = call.node, call.event
        match event:
            case Started():
                self._kinds.pop(node, None)
                self._asked.pop(node, None)
                self.dead.pop(node, None)
            case ExchangeFailed(exchange):
                self._asked.get(node, {}).pop(exchange, None)
                self._note(node, "exchange")
            case Replied(exchange, reply):
                self._asked.get(node, {}).pop(exchange, None)
                if isinstance(reply, Refused) and reply.code not in _NO_TROUBLE:
                    self._note(node, "refusal")
            case OriginFailed():
                self._note(node, "origin")
            case PieceFailed(_, failure):
                self._note(node, "disk" if failure.is_ours else "piece")
            case PublishFailed():
                self._note(node, "publish")
            case _:
                pass
        for effect in call.effects:
            if isinstance(effect, Send):
                self._heard[node] = call.now
                self._asked.setdefault(node, {})[effect.exchange] = None
                if isinstance(effect.request, Register):
                    self._kinds.setdefault(node, {})
            elif isinstance(effect, Finish) and self._asked.get(node):
                self._note(node, "exchange")

    def crashed(self, node: str) -> None:
        """A dead node is nothing but trouble."""
        self.dead[node] = None

    def _note(self, node: str, kind: str) -> None:
        self._kinds.setdefault(node, {})[kind] = None
