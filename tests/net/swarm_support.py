"""A supernode in this process, and downloads that watch themselves."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from damselfly.engine.config import SupernodeConfig
from damselfly.engine.ids import NodeAddress
from damselfly.engine.outcomes import Milestone
from damselfly.net.fetch import fetch
from damselfly.net.http import HttpPool
from damselfly.net.pacing import Bandwidth
from damselfly.net.request import FetchRequest, Outcome, Pattern, Progress
from damselfly.net.supernode import SupernodeAddress, SupernodeSettings, serve_supernode

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path


@dataclass(slots=True)
class Notes:
    """A watcher that remembers; ``when_held`` is called with the bytes held, at each step."""

    told_of: list[tuple[Milestone, str]] = field(default_factory=list[tuple[Milestone, str]])
    when_held: Callable[[int], None] | None = None

    def told(self, milestone: Milestone, text: str) -> None:
        self.told_of.append((milestone, text))

    def progressed(self, progress: Progress) -> None:
        if self.when_held is not None:
            self.when_held(progress.held_bytes)

    def text_of(self, milestone: Milestone) -> str:
        return next(text for kind, text in self.told_of if kind is milestone)


@asynccontextmanager
async def running_supernode(
    home: Path,
    record_dir: Path | None = None,
    *,
    at: SupernodeAddress | None = None,
    bandwidth: Bandwidth | None = None,
    profiles: bool = False,
    **config: object,
) -> AsyncGenerator[SupernodeAddress]:
    """Run a supernode, on the ports of an earlier one if ``at`` says so."""
    settings = SupernodeSettings(
        home=home,
        port=at.port if at else 0,
        download_port=at.download_port if at else 0,
        advertise_ip="127.0.0.1",
        record_dir=record_dir,
        paranoid=True,
        engine=SupernodeConfig(**config),  # pyright: ignore[reportArgumentType]
        bandwidth=bandwidth or Bandwidth(),
        profiles=profiles,
    )
    async with trio.open_nursery() as nursery:
        yield await nursery.start(serve_supernode, settings)
        nursery.cancel_scope.cancel()


async def stats_of(address: SupernodeAddress) -> dict[str, int]:
    async with HttpPool() as pool:
        _, _, body = await pool.call(
            address.host, address.port, "GET", "/damselfly/stats", timeout_s=5
        )
    return json.loads(body)


def request(folder: Path, url: str, name: str, *nodes: SupernodeAddress, **changes: object):
    """Return a request for a download that serves nobody, with a work home of its own."""
    values: dict[str, object] = {
        "url": url,
        "target": folder / f"{name}.out",
        "home": folder / f"{name}.home",
        "sign": f"1-{name}",
        "nodes": tuple(NodeAddress(node.host, node.port) for node in nodes),
        "pattern": Pattern.CDN,
    }
    return FetchRequest(**{**values, **changes})  # pyright: ignore[reportArgumentType]


async def get(wanted: FetchRequest, notes: Notes | None = None) -> Outcome:
    return await fetch(wanted, notes or Notes())
