"""One rule between nodes, and what it says when it is broken."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ...engine.errors import DamselflyError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Violation(DamselflyError):
    """The swarm did what it must never do; the message says when, who and what.

    ``checker`` is the name of the rule.
    """

    def __init__(self, message: str, checker: str = "") -> None:
        super().__init__(message)
        self.checker = checker


class Call(NamedTuple):
    """One call of one engine; ``event`` ``None`` is a tick."""

    now: float
    node: str
    event: object | None
    effects: Sequence[object]

    @property
    def is_supernode(self) -> bool:
        """Tell whether the engine is a supernode's."""
        return is_supernode(self.node)

    @property
    def is_download(self) -> bool:
        """Tell whether the engine is that of a download."""
        return not self.is_supernode and not self.node.endswith(" server")


def is_supernode(node: str) -> bool:
    """Tell a supernode by the name of its node."""
    return node.startswith("supernode")


class Checker:
    """One rule.  It sees every engine call; what it minds, it raises as ``Violation``."""

    def see(self, call: Call) -> None:
        """Take in one engine call, before its effects are performed."""

    def crashed(self, node: str) -> None:
        """``node`` died; it may come back, and then it begins anew."""

    def ended(self, now: float) -> None:
        """The run is over, and for a moment nobody has had anything to say."""
