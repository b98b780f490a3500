"""``dfget_flags`` where no dfget is run: what of them means something to this process."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Final

from ...engine.records import dataclass
from ..options import DFGET, FetchFlags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..values import WeightedNode

_USED: Final = frozenset(
    {"node", "filter", "ip", "port", "locallimit", "totallimit", "verbose", "dfdaemon"}
)


@dataclass(frozen=True, slots=True)
class Meant:
    """What the flags say; ``notes`` are about those that have no effect."""

    nodes: tuple[WeightedNode, ...] = ()
    dropped: tuple[str, ...] = ()
    ip: str = ""
    port: int = 0
    rate_bytes_per_s: int = 0
    verbose: bool = False
    notes: tuple[str, ...] = ()


def meant(words: Sequence[str]) -> Meant:
    """Return what flags of a dfget mean to a daemon that downloads by itself.

    Raises ``ConfigError`` for what no dfget understands.
    """
    flags, plain = DFGET.parse(words), FetchFlags()
    given = [
        one.name for one in fields(flags) if getattr(flags, one.name) != getattr(plain, one.name)
    ]
    idle = [name.replace("_", "-") for name in given if name not in _USED]
    return Meant(
        nodes=tuple(flags.node),
        dropped=flags.filter,
        ip=flags.ip,
        port=flags.port,
        rate_bytes_per_s=flags.totallimit or flags.locallimit or 0,
        verbose=flags.verbose,
        notes=tuple([f"dfget_flags: --{name} has no effect without dfpath" for name in idle]),
    )
