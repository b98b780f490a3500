"""What a server's connection needs of the bytes below it: a socket, or TLS on one."""

from __future__ import annotations

from math import inf
from typing import Protocol


class Transport(Protocol):
    """A connection; its methods raise ``OSError``, or ``trio.TooSlowError`` past a deadline."""

    @property
    def fd(self) -> int:
        """The socket's descriptor."""
        ...

    async def receive(self, size: int, timeout_s: float = inf) -> bytes:
        """Wait, then return at most ``size`` bytes; none at the end of the stream."""
        ...

    async def send(self, data: bytes | memoryview, timeout_s: float) -> int:
        """Send some of ``data`` and return how much."""
        ...

    async def send_file(self, fd: int, offset: int, count: int, timeout_s: float) -> int:
        """Send some of a file and return how much; 0: the file ends before ``offset``."""
        ...

    def cork(self, on: bool) -> None:
        """Hold back partial segments; uncorking sends what is left."""
        ...

    async def send_eof(self) -> None:
        """Tell the other side that nothing more will come."""
        ...

    def close(self) -> None:
        """Close; what was sent still arrives."""
        ...

    def reset_on_close(self) -> None:
        """Have ``close`` reset, so that the other side cannot take what it has for all."""
        ...
