"""Running trio programs that serve many, until they end or are told to."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, TypeVar

import trio

from .status import Stopped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


async def until_signal(
    work: Callable[[], Awaitable[T]], *beside: Callable[[], Awaitable[object]]
) -> T:
    """Return what ``work`` returns, or raise what it raises; must run in the main thread.

    What runs ``beside`` it is cancelled then.  SIGINT and SIGTERM cancel everything and raise
    ``Stopped``.
    """
    caught: list[int] = []
    failures: list[Exception] = []
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                async for number in signals:
                    caught.append(number)
                    nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            for task in beside:
                nursery.start_soon(task)
            try:
                return await work()
            except Exception as error:
                failures.append(error)  # raised below, so that the nursery does not wrap it
            finally:
                nursery.cancel_scope.cancel()
    raise failures[0] if failures else Stopped(caught[0])


def allow_many_connections() -> None:
    """Raise the soft limit of open files to the hard one: each client holds connections."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
