"""A supernode on loopback, and somebody who calls its REST API."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from damselfly.net.http import HttpPool

from .swarm_support import running_supernode

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from damselfly.net.supernode import SupernodeAddress


@dataclass(frozen=True, slots=True)
class Got:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json"
        assert self.body.endswith(b"\n")
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The message of an error body, whose code is the status."""
        found = self.json
        assert found.keys() == {"code", "message"}
        assert found["code"] == self.status
        return found["message"]


class Caller:
    """Calls a supernode's control port."""

    def __init__(self, node: SupernodeAddress, pool: HttpPool) -> None:
        self.node, self._pool = node, pool

    async def __call__(self, method: str, target: str, body: object = b"") -> Got:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, headers, found = await self._pool.call(
            self.node.host, self.node.port, method, target, (), data, timeout_s=10
        )
        return Got(status, dict(headers), found)

    async def get(self, target: str) -> Any:
        """Return what a GET that goes well answers."""
        got = await self("GET", target)
        assert got.status == 200, got
        return got.json

    async def ended(self, preheat: str, *statuses: str) -> Any:
        """Return a preheat once it is over, or in one of ``statuses``."""
        with trio.fail_after(20):
            while True:
                found = await self.get(f"/preheats/{preheat}")
                if found["status"] in (statuses or ("SUCCESS", "FAILED")):
                    return found
                await trio.sleep(0.02)

    async def settled(self, task: str) -> Any:
        """Return a task once its copy is complete or has failed."""
        with trio.fail_after(20):
            while True:
                found = await self.get(f"/api/v1/tasks/{task}")
                if found["cdnStatus"] not in ("WAITING", "RUNNING"):
                    return found
                await trio.sleep(0.02)


@asynccontextmanager
async def calling(
    home: Path, record_dir: Path | None = None, **config: object
) -> AsyncGenerator[Caller]:
    running = running_supernode(home, record_dir, **config)  # pyright: ignore[reportArgumentType]
    async with running as node, HttpPool() as pool:
        yield Caller(node, pool)


def registration(url: str, cid: str, **changes: object) -> dict[str, object]:
    """Return the body of a registration as dfget sends it."""
    return {
        "rawUrl": url,
        "taskUrl": url,
        "cid": cid,
        "ip": "127.0.0.1",
        "hostName": "h",
        "port": 20000,
        "path": f"/peer/file/{cid}",
        "version": "1.0.6",
        "superNodeIp": "127.0.0.1",
        **changes,
    }
