"""Daemons' contents in this process, without a proxy before them, and clients that read them."""

from __future__ import annotations

import hashlib
import os
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

from damselfly.engine.ids import NodeAddress
from damselfly.net.dfdaemon.content import Content, ContentRequest
from damselfly.net.dfdaemon.contents import Contents
from damselfly.net.dfdaemon.settings import AuthCheck, Bounds, DaemonSettings

from .swarm_support import running_supernode

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from pathlib import Path

    from damselfly.net.http import FileSlice
    from damselfly.net.supernode import SupernodeAddress

PIECE: Final = (1 << 20) - 5
DATA: Final = random.Random(5).randbytes(8 * PIECE + 1234)
DIGEST: Final = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
BLOB: Final = f"/v2/some/image/blobs/{DIGEST}"


@asynccontextmanager
async def running_contents(
    folder: Path,
    *nodes: SupernodeAddress | NodeAddress,
    auth_check: AuthCheck = AuthCheck.ORIGIN,
    linger_s: float = 5.0,
    rate_bytes_per_s: int = 0,
    bounds: Bounds | None = None,
) -> AsyncGenerator[Contents]:
    """Run what a daemon fetches and keeps, in ``folder``."""
    settings = DaemonSettings(
        work_home=folder,
        local_repo=folder / "repo",
        supernodes=tuple([NodeAddress(node.host, node.port) for node in nodes]),
        auth_check=auth_check,
        rate_bytes_per_s=rate_bytes_per_s,
        bounds=bounds or Bounds(),
    )
    contents = Contents(settings, linger_s=linger_s)
    async with trio.open_nursery() as nursery:
        await nursery.start(contents.run)
        with trio.fail_after(60):
            yield contents
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def running_daemon(
    folder: Path, *, has_supernode: bool = True, auth_check: AuthCheck = AuthCheck.ORIGIN
) -> AsyncGenerator[Contents]:
    """Run contents in ``folder / "d"`` with a supernode of their own, or with none."""
    async with running_supernode(folder / "sn", folder / "trace") as node:
        nodes = (node,) if has_supernode else ()
        async with running_contents(folder / "d", *nodes, auth_check=auth_check) as contents:
            yield contents


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that sets no event."""
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)


def wanted(url: str, *, digest: str = "", token: str = "", strict: bool = False) -> ContentRequest:
    headers = (("Authorization", token),) if token else ()
    return ContentRequest(url, headers, digest=digest, strict=strict)


def bytes_of(part: bytes | FileSlice) -> bytes:
    return part if isinstance(part, bytes) else os.pread(part.fd, part.count, part.offset)


async def drained(
    parts: AsyncIterator[bytes | FileSlice], came: list[bytes] | None = None
) -> bytes:
    """Return all that is left; what came before a failure is in ``came``."""
    came = [] if came is None else came
    async for part in parts:
        came.append(bytes_of(part))
    return b"".join(came)


async def body_of(content: Content, first: int = 0, last: int | None = None) -> bytes:
    return await drained(content.read(first, last))


async def first_of(parts: AsyncIterator[bytes | FileSlice], count: int) -> bytes:
    """Return what comes until there are ``count`` bytes of it."""
    came = b""
    while len(came) < count:
        came += bytes_of(await anext(parts))
    return came


async def get(contents: Contents, request: ContentRequest) -> bytes:
    async with await contents.open(request) as content:
        return await body_of(content)


async def get_with_source(contents: Contents, request: ContentRequest) -> tuple[bytes, str]:
    async with await contents.open(request) as content:
        return await body_of(content), content.source


def files_in(folder: Path) -> list[str]:
    """Return the names of the blobs' data files."""
    return [path.name for path in (folder / "repo").iterdir() if path.suffix == ".service"]
