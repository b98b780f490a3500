"""One limit for all downloads of a host, divided so that together they never exceed it.

A download says how much it would like and how much it takes, and its question is held until it
should take more or less.  Whoever has to give way is told at once, and what it gives up goes to
others when it has said, with its next question, that it takes no more than it was told to.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from .records import dataclass

if TYPE_CHECKING:
    from .ids import ExchangeId

HOLD_S: Final = 20.0
"""So long is a question held; its answer is then what the download takes already."""
_LEASE_S: Final = 5.0
"""Who was answered and does not ask again for so long is taken for dead."""
_POLLED_KEEP_S: Final = 60.0
"""The same for v1 programs, which ask when they begin a piece."""


@dataclass(slots=True)
class _Sharer:
    """One download, in bytes per second; ``asks`` is its question, if that is held.

    ``takes`` as it said itself, ``told`` as it was answered last.  ``due``: when to answer the
    question, and if there is none, when the share lapses.
    """

    wants: int
    takes: int
    told: int
    due: float
    asks: ExchangeId | None = None

    @property
    def may_take(self) -> int:
        """Until it has said that it gives way, it may not have heard of it."""
        return max(self.takes, self.told)


class Shares:
    """Divides ``total_bytes_per_s`` among downloads by what they want; 0: no limit.

    Every change is followed by ``settle``, which returns the answers that are due.
    """

    def __init__(self) -> None:
        self.total_bytes_per_s = 0
        self._sharers: dict[str, _Sharer] = {}

    @property
    def has_questions(self) -> bool:
        """Tell whether somebody waits for an answer."""
        return any(sharer.asks is not None for sharer in self._sharers.values())

    @property
    def names(self) -> tuple[str, ...]:
        """Those who have a share or wait for one."""
        return tuple(self._sharers)

    def ask(self, name: str, exchange: ExchangeId, wants: int, takes: int, now: float) -> None:
        """Hold the question of ``name``, which wants so much and takes so much already."""
        self._sharers[name] = _Sharer(wants, takes, takes, now + HOLD_S, exchange)

    def poll(self, name: str, wants: int, now: float) -> int:
        """Return at once what v1 answers: a share, whatever the others take until they ask."""
        self._sharers[name] = sharer = _Sharer(wants, 0, 0, now + _POLLED_KEEP_S)
        sharer.told = self.quote(wants)
        return sharer.told

    def quote(self, wants: int) -> int:
        """Return the share of somebody who wants so much, in whole bytes, rounded up as in v1."""
        total, asked = self.total_bytes_per_s, self._asked()
        return wants if not total or asked <= total else -(-wants * total // asked)

    def leave(self, name: str) -> ExchangeId | None:
        """Give the share of ``name`` to the others, and return its question if that is held."""
        sharer = self._sharers.pop(name, None)
        return sharer.asks if sharer is not None else None

    def drop(self, exchange: ExchangeId) -> None:
        """Whoever put this question hung up: it takes nothing any more."""
        for name, sharer in self._sharers.items():
            if sharer.asks == exchange:
                del self._sharers[name]
                return

    def settle(self, now: float) -> list[tuple[ExchangeId, int]]:
        """Return the questions to be answered now, and with which share."""
        for name, sharer in list(self._sharers.items()):
            if sharer.asks is None and sharer.due <= now:
                del self._sharers[name]
        answers: list[tuple[ExchangeId, int]] = []
        asked, free = self._asked(), self._free()
        for sharer in self._sharers.values():
            if sharer.asks is None:
                continue
            fair = self._fair(sharer.wants, asked)
            more = max(0, min(fair - sharer.takes, free))
            share = min(fair, sharer.takes + more)
            if share != sharer.takes or sharer.due <= now:
                answers.append((sharer.asks, share))
                sharer.asks, sharer.told, sharer.due = None, share, now + _LEASE_S
                free -= more
        return answers

    def deadline(self) -> float:
        """Return when ``settle`` is due though nothing has changed; ``inf``: never."""
        return min([sharer.due for sharer in self._sharers.values()], default=inf)

    def check(self) -> None:
        """Assert that every question has one owner, and that nothing is owed."""
        questions = [sharer.asks for sharer in self._sharers.values() if sharer.asks is not None]
        assert len(questions) == len({*questions})
        asked, free = self._asked(), self._free()
        for sharer in self._sharers.values():
            assert min(sharer.wants, sharer.takes, sharer.told) >= 0
            if sharer.asks is not None:
                fair = self._fair(sharer.wants, asked)
                assert sharer.takes == fair or (sharer.takes < fair and free <= 0)

    def _asked(self) -> int:
        return sum([sharer.wants for sharer in self._sharers.values()])

    def _free(self) -> int:
        total = self.total_bytes_per_s or self._asked()
        return total - sum([sharer.may_take for sharer in self._sharers.values()])

    def _fair(self, wants: int, asked: int) -> int:
        """Rounded down, so that the shares fit; but somebody who gets nothing would never end."""
        total = self.total_bytes_per_s or asked
        return wants if asked <= total else max(1, wants * total // asked)
