"""Running trio programs until they end or are told to."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, TypeVar

import trio

from .status import Stopped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


async def until_signal(work: Callable[[], Awaitable[T]]) -> T:
    """Return what ``work`` returns; SIGINT and SIGTERM cancel it and raise ``Stopped``."""
    caught: list[int] = []
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                async for number in signals:
                    caught.append(number)
                    nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            result = await work()
            nursery.cancel_scope.cancel()
            return result
    raise Stopped(caught[0])
