"""Whether a supernode has few hosts to serve or many, as far as it has seen."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

FEW_HOSTS: Final = 16
"""So many are few."""
_REMEMBERED_S: Final = 3600.0


class Fleet:
    """The hosts that have registered for anything within the last hour; some of them will do."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, float] = OrderedDict()

    def saw(self, host: str, now: float) -> None:
        """Remember that this host asks for something."""
        self._seen[host] = now
        self._seen.move_to_end(host)
        if len(self._seen) > FEW_HOSTS + 1:
            self._seen.popitem(last=False)

    def is_small(self, now: float) -> bool:
        """Tell whether there are few."""
        seen = self._seen
        return len(seen) <= FEW_HOSTS or now - next(iter(seen.values())) > _REMEMBERED_S
