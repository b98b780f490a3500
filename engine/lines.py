"""Lines before a peer server: so many pieces at a time to each host, the others wait their turn.

Who fetches many files at once would else have as many connections to the same server, and take
its uplink from those who fetch one: connections share it, not hosts.
"""

from __future__ import annotations

from collections import deque
from dataclasses import field
from typing import TYPE_CHECKING

from .records import dataclass
from .timers import Timers

if TYPE_CHECKING:
    from .ids import ExchangeId
    from .uploads import ServePiece


@dataclass(slots=True)
class _Line:
    """One host: how many pieces are being sent to it, and what else it has asked for."""

    sending: int = 0
    waiting: deque[ServePiece] = field(default_factory=deque["ServePiece"])


class Lines:
    """Sends ``at_once`` pieces to each host at a time, and lets none wait for over ``patience_s``.

    Each ``join`` and ``leave`` is followed by ``due``, which returns what is to be sent now.
    """

    def __init__(self, at_once: int, patience_s: float) -> None:
        self._at_once, self._patience_s = at_once, patience_s
        self._lines: dict[str, _Line] = {}
        self._hosts: dict[ExchangeId, str] = {}
        self._waits: Timers[ExchangeId] = Timers()
        self._touched: dict[str, None] = {}

    def join(self, host: str, wanted: ServePiece, now: float) -> None:
        """``host`` asks for one more piece."""
        self._hosts[wanted.exchange] = host
        self._lines.setdefault(host, _Line()).waiting.append(wanted)
        self._waits.set(wanted.exchange, now + self._patience_s)
        self._touched[host] = None

    def is_waiting(self, exchange: ExchangeId) -> bool:
        """Tell whether a piece is yet to be sent."""
        return exchange in self._waits

    def leave(self, exchange: ExchangeId) -> None:
        """A piece was sent, or nobody waits for it any more; one that is not here is no error."""
        host = self._hosts.pop(exchange, None)
        if host is None:
            return
        line = self._lines[host]
        if exchange in self._waits:
            self._waits.cancel(exchange)
            line.waiting = deque([one for one in line.waiting if one.exchange != exchange])
        else:
            line.sending -= 1
        if line.sending or line.waiting:
            self._touched[host] = None
        else:
            del self._lines[host]
            self._touched.pop(host, None)

    def due(self, now: float) -> list[ServePiece]:
        """Return what is to be sent: to hosts that have room, and to those who waited for long."""
        out: list[ServePiece] = []
        for host in self._touched:
            line = self._lines[host]
            while line.waiting and line.sending < self._at_once:
                out.append(self._begin(line))
        self._touched.clear()
        # All have the same patience, so it is the first of its line that has lost it.
        late = self._waits.pop_due(now)
        return out + [self._begin(self._lines[self._hosts[exchange]]) for exchange in late]

    def deadline(self) -> float:
        """Return when somebody has waited for too long; ``inf``: nobody waits."""
        return self._waits.next()

    def check(self) -> None:
        """Recount who is where, and assert that nobody waits who need not."""
        assert not self._touched
        known = sum([line.sending + len(line.waiting) for line in self._lines.values()])
        assert known == len(self._hosts)
        for host, line in self._lines.items():
            assert line.sending >= (self._at_once if line.waiting else 1)
            for wanted in line.waiting:
                assert self._hosts[wanted.exchange] == host
                assert wanted.exchange in self._waits

    def _begin(self, line: _Line) -> ServePiece:
        wanted = line.waiting.popleft()
        self._waits.cancel(wanted.exchange)
        line.sending += 1
        return wanted
