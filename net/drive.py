"""One download under way: its engine, and what performs for it."""

from __future__ import annotations

import os
from random import Random
from typing import TYPE_CHECKING

import trio

from ..engine.download import DownloadEngine
from .host import Host
from .performer import Performer

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.config import DownloadConfig
    from ..engine.effects import DownloadEffect
    from ..engine.events import DownloadEvent, Started
    from .performer import Means
    from .request import Progress


async def drive(
    config: DownloadConfig,
    means: Means,
    started: Started,
    progress: Progress,
    began: Callable[[Callable[[DownloadEvent], None]], None] | None = None,
) -> Performer:
    """Run one download to its end; the performer says how it went.

    ``began`` is given what takes further events.  Cancelling keeps in the store what has come.
    """
    engine = DownloadEngine(config, Random(os.urandom(16)))
    async with trio.open_nursery() as nursery:
        performer = Performer(config, means, progress, nursery)
        host: Host[DownloadEvent, DownloadEffect] = Host(engine, performer.perform)
        performer.attach(host.tell, engine)
        host.post(started)
        if began is not None:
            began(host.post)
        nursery.start_soon(host.run)
        await performer.finished.wait()
        nursery.cancel_scope.cancel()
    return performer
