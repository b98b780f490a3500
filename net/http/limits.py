"""How much a server takes from strangers, and how long it waits for them."""

from __future__ import annotations

from dataclasses import fields
from typing import Final

from ...engine.errors import ConfigError
from ...engine.records import dataclass


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds of one ``serve_http``; a client that exceeds one gets a 4xx and is cut off.

    ``head_bytes`` bounds request line and headers together (414, 431), ``body_bytes`` a request's
    body (413).  A head must be complete ``head_timeout_s`` after its first byte (408).  A body
    must bring a KiB, or its end, every ``body_timeout_s`` (408).  A response must move every
    ``send_timeout_s``.  A connection may be idle for ``idle_timeout_s``; when there are
    ``connections`` of them, the one idle for longest makes room for the next.
    """

    head_bytes: int = 32 << 10
    body_bytes: int = 1 << 20
    head_timeout_s: float = 10.0
    body_timeout_s: float = 10.0
    send_timeout_s: float = 30.0
    idle_timeout_s: float = 120.0
    connections: int = 10_000

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value < 0 or (value == 0 and field.name != "body_bytes"):
                raise ConfigError(f"server limit {field.name} is {value}: expected more than 0")


DEFAULT_LIMITS: Final = ServerLimits()
