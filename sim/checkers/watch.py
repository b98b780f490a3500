"""All checkers together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .accounts import Accounts
from .answers import Answers
from .checker import Call, Checker, Violation
from .content import RightBytes, Wanted, Whole
from .course import Endings, LastWord, Livelock
from .fetches import Fetches
from .limits import Rates, Slots
from .origin import OriginBudget
from .parents import Parents
from .trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...engine.ids import TaskId
    from ..host import Content
    from ..scenario import Scenario
    from .limits import Beliefs


class Checkers:
    """All rules; a ``Watch`` for nodes.

    ``rates`` gives up and down of each address, ``beliefs`` what supernodes take to be under way.
    A ``Violation`` tells when and where, and names the checker that objected.
    """

    def __init__(
        self,
        scenario: Scenario,
        contents: Mapping[TaskId, Content],
        rates: Mapping[str, tuple[float, float]],
        beliefs: Beliefs,
    ) -> None:
        fetches, trouble, wanted = Fetches(), Trouble(), Wanted(contents)
        endings = Endings(trouble, scenario.horizon_s, back_to_source=scenario.back_to_source)
        self._checkers: tuple[Checker, ...] = (
            fetches,
            trouble,
            wanted,
            endings,
            RightBytes(wanted),
            Whole(wanted),
            Answers(),
            Parents(),
            Slots(scenario, fetches, beliefs),
            Rates(scenario, fetches, rates),
            Accounts(scenario, fetches, trouble, beliefs),
            OriginBudget(trouble),
            LastWord(fetches),
            Livelock(scenario.peers),
        )

    def __call__(
        self, now: float, node: str, event: object | None, effects: Sequence[object]
    ) -> None:
        """Show one call to every checker."""
        call = Call(now, node, event, effects)
        for checker in self._checkers:
            try:
                checker.see(call)
            except Violation as violation:
                raise _placed(violation, checker, f"at {now!r} s, {node}") from None

    def crashed(self, node: str) -> None:
        """Tell every checker that a node died."""
        for checker in self._checkers:
            checker.crashed(node)

    def ended(self, now: float) -> None:
        """Let every checker say its last word on a run that is over."""
        for checker in self._checkers:
            try:
                checker.ended(now)
            except Violation as violation:
                raise _placed(violation, checker, f"at the end, {now!r} s") from None


def _placed(violation: Violation, checker: Checker, where: str) -> Violation:
    return Violation(f"{where}: {violation}", type(checker).__name__)
