"""What a comparison found, and which differences are meant.

A ``Finding`` is one recorded item (an exchange, a run, a command) and everything in which ours is
another.  A ``Change`` explains differences; a finding whose differences are all explained is no
failure.  Explanations that explain nothing are one.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ABSENT: Final = "(absent)"
_SHOWN: Final = 400


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is not as recorded; both values as JSON, or ``ABSENT``."""

    where: str
    recorded: str
    ours: str

    def __str__(self) -> str:
        return f"{self.where}: recorded {self.recorded[:_SHOWN]}, ours {self.ours[:_SHOWN]}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One recorded item of the file ``source``, compared."""

    source: str
    label: str
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """Why some differences are right; the patterns say which, and match anywhere.

    ``source`` and ``label`` are those of the finding.  ``is_pending``: not meant to stay so.
    """

    key: str
    reason: str
    source: str = ""
    label: str = ""
    where: str = ""
    recorded: str = ""
    ours: str = ""
    is_pending: bool = False

    def explains(self, finding: Finding, difference: Difference) -> bool:
        pairs = (
            (self.source, finding.source),
            (self.label, finding.label),
            (self.where, difference.where),
            (self.recorded, difference.recorded),
            (self.ours, difference.ours),
        )
        return all(re.search(pattern, text, re.DOTALL) is not None for pattern, text in pairs)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A finding with the explanations of its differences, and what nobody explains."""

    finding: Finding
    changes: tuple[Change, ...]
    unexplained: tuple[Difference, ...]

    @property
    def is_same(self) -> bool:
        return not self.finding.differences

    @property
    def is_pending(self) -> bool:
        return any(change.is_pending for change in self.changes)

    def __str__(self) -> str:
        return "\n  ".join([self.finding.label, *map(str, self.unexplained)])


def judge(finding: Finding, changes: Iterable[Change]) -> Verdict:
    """Find an explanation for every difference."""
    known = tuple(changes)
    used: dict[str, Change] = {}
    unexplained: list[Difference] = []
    for difference in finding.differences:
        found = next((change for change in known if change.explains(finding, difference)), None)
        if found is None:
            unexplained.append(difference)
        else:
            used[found.key] = found
    return Verdict(finding, tuple(used.values()), tuple(unexplained))


def unexplained(verdicts: Iterable[Verdict]) -> str:
    """Return what is to be shown when a test fails; empty if all is explained."""
    return "\n".join([str(verdict) for verdict in verdicts if verdict.unexplained])


def counted(verdicts: Sequence[Verdict]) -> Counter[str]:
    """Count what is the same, changed on purpose, and pending."""
    return Counter(
        "same" if one.is_same else "pending" if one.is_pending else "changed" for one in verdicts
    )


def compare(where: str, recorded: object, ours: object) -> list[Difference]:
    """Compare two JSON values field by field; order of keys does not matter here."""
    if isinstance(recorded, dict) and isinstance(ours, dict):
        then, now = cast("dict[str, object]", recorded), cast("dict[str, object]", ours)
        return [
            difference
            for key in sorted({*then, *now})
            for difference in compare(
                f"{where}.{key}" if where else key, then.get(key, ABSENT), now.get(key, ABSENT)
            )
        ]
    if isinstance(recorded, list) and isinstance(ours, list):
        items, others = cast("list[object]", recorded), cast("list[object]", ours)
        if len(items) == len(others):
            return [
                difference
                for i, (item, other) in enumerate(zip(items, others, strict=True))
                for difference in compare(f"{where}[{i}]", item, other)
            ]
    one, other = cast("object", recorded), cast("object", ours)
    if one == other and type(one) is type(other):
        return []
    return [Difference(where, _shown(one), _shown(other))]


def _shown(value: object) -> str:
    return ABSENT if value is ABSENT else json.dumps(value)
