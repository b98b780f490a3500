"""One number for all that happened in a run: equal digests mean equal runs."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

_BATCH_BYTES: Final = 1 << 16


class CallCount:
    """Counts engine calls, and does nothing else."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(
        self, now: float, node: str, event: object | None, effects: Sequence[object]
    ) -> None:
        """Take in one engine call."""
        self.calls += 1

    def hexdigest(self) -> str:
        """Return the digest that there is not: empty."""
        return ""


class TraceDigest:
    """Hashes every ``(time, node, event, effects)``; the process' hash seed has no part in it.

    Structs are packed by msgspec as maps of their fields, at a fraction of what their ``repr``
    costs.  No two events, and no two effects, have the same fields, so class names can stay out.
    """

    def __init__(self) -> None:
        self.calls = 0
        self._hash = blake2b(digest_size=16)
        self._encoder = msgspec.msgpack.Encoder()
        self._pending = bytearray()

    def __call__(
        self, now: float, node: str, event: object | None, effects: Sequence[object]
    ) -> None:
        """Take in one engine call."""
        self.calls += 1
        pending = self._pending
        self._encoder.encode_into((now, node, event, effects), pending, -1)
        if len(pending) > _BATCH_BYTES:
            self._hash.update(pending)
            pending.clear()

    def hexdigest(self) -> str:
        """Return the digest of all calls so far."""
        self._hash.update(self._pending)
        self._pending.clear()
        return self._hash.hexdigest()
