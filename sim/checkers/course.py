"""Every download comes to an end, in time, says nothing after it, and fails only for a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...engine.effects import Finish, KeepPiece
from ...engine.events import OriginPieceStored, Requested, Started
from ...engine.messages import Register
from ...engine.outcomes import FailCode
from .checker import Checker, Violation

if TYPE_CHECKING:
    from .checker import Call
    from .fetches import Fetches
    from .trouble import Trouble

_WINDOW_S: Final = 1.0
_CALLS_PER_WINDOW: Final = 300
_CALLS_PER_PIECE: Final = 60


class LastWord(Checker):
    """At ``Finish`` a download has nothing under way, and after it does nothing."""

    def __init__(self, fetches: Fetches) -> None:
        self._fetches = fetches
        self._finished: dict[str, None] = {}

    def see(self, call: Call) -> None:
        """Look for the end, and behind it."""
        if isinstance(call.event, Started):
            self._finished.pop(call.node, None)
        for effect in call.effects:
            if call.node in self._finished:
                raise Violation(f"does {type(effect).__name__} after it finished")
            if isinstance(effect, Finish):
                self._finished[call.node] = None
                if left := self._fetches.to(call.node):
                    raise Violation(f"finishes while it fetches {len(left)} pieces")


class Endings(Checker):
    """A download fails only if something went wrong that it cannot mend, and ends in time."""

    def __init__(self, trouble: Trouble, limit_s: float, *, back_to_source: bool) -> None:
        self._trouble, self._limit_s, self._back_to_source = trouble, limit_s, back_to_source
        self._running: dict[str, None] = {}

    def see(self, call: Call) -> None:
        """Judge every end."""
        if isinstance(call.event, Started):
            self._running[call.node] = None
        for effect in call.effects:
            if isinstance(effect, Finish):
                self._running.pop(call.node, None)
                self._judge(call, effect)

    def crashed(self, node: str) -> None:
        """Expect nothing of a dead node."""
        self._running.pop(node, None)

    def ended(self, now: float) -> None:
        """Nobody may still be at it."""
        if self._running:
            names = ", ".join(list(self._running)[:3])
            raise Violation(f"{len(self._running)} downloads have not ended: {names}")

    def _judge(self, call: Call, finish: Finish) -> None:
        if call.now > self._limit_s:
            raise Violation(f"ends only now, {self._limit_s:.3f} s at the latest were allowed")
        if finish.code is FailCode.SUCCESS:
            return
        kinds = self._trouble.kinds(call.node)
        mortal = ("origin", "disk", "publish")
        if not self._back_to_source:
            mortal = (*mortal, "exchange", "refusal", "piece")
        if not any(kind in mortal for kind in kinds):
            met = ", ".join(kinds) or "nothing"
            raise Violation(f"fails though it can go on, having met {met}: {finish.message}")


class Livelock(Checker):
    """Nobody is busier than what it brings about can explain, or for ever in the same instant."""

    def __init__(self, peers: int) -> None:
        self._peers = peers
        self._since = 0.0
        self._calls: dict[str, int] = {}
        self._pieces: dict[str, int] = {}
        self._allowance = 0

    def see(self, call: Call) -> None:
        """Count calls, and what they brought, within each second."""
        if call.now - self._since >= _WINDOW_S:
            self._since = call.now
            self._calls.clear()
            self._pieces.clear()
        node = call.node
        pieces = sum(isinstance(effect, KeepPiece) for effect in call.effects)
        event = call.event
        pieces += isinstance(event, OriginPieceStored)
        pieces += isinstance(event, Requested) and isinstance(event.request, Register)
        self._pieces[node] = self._pieces.get(node, 0) + pieces
        calls = self._calls[node] = self._calls.get(node, 0) + 1
        if calls > self._limit(call):
            span_s = call.now - self._since
            raise Violation(
                f"{calls} engine calls within {span_s:.3f} s, which brought it "
                f"{self._pieces[node]} pieces"
            )

    def _limit(self, call: Call) -> int:
        if call.is_download:
            return _CALLS_PER_WINDOW + _CALLS_PER_PIECE * self._pieces[call.node]
        # Others' doings make these busy, so they may do as much as all downloads together.
        return self._peers * _CALLS_PER_WINDOW + _CALLS_PER_PIECE * sum(self._pieces.values())
