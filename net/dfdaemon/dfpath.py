"""Downloads by a dfget that the operator names, as dfdaemon 1.0.6 does: a process for each request.

The origin is asked first, with the client's own headers, so that its refusals and its headers
reach the client; then dfget fetches the whole file, and only then the first byte goes out.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import logging
import os
import stat
import subprocess
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import trio

from ...engine.ids import task_id, task_url
from ..http import FileSlice
from ..origin import OriginReader, shown_url
from .asking import OriginAsker
from .content import FROM_SWARM, ContentFailed, Unreachable, Unsuitable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from ..http import Part
    from .asking import Described
    from .content import ContentRequest
    from .headers import Headers
    from .settings import DaemonSettings

_log = logging.getLogger(__name__)
_SLICE_BYTES: Final = 8 << 20
_SWEEP_S: Final = 120.0
_NOT_PASSED: Final = frozenset({"host", "accept-encoding"})
_UNITS: Final = ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB"))


class DfgetContents:
    """What ``Contents`` is, by running ``settings.dfpath``; at most ``bounds.downloads`` at once.

    ``run`` must be running for ``open`` to work.
    """

    def __init__(self, settings: DaemonSettings, *, verbose: bool = False) -> None:
        self._settings, self._verbose = settings, verbose
        self._at_once = trio.Semaphore(settings.bounds.downloads)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be ready until cancelled; raises ``OSError`` if the directory cannot be used."""
        self._settings.local_repo.mkdir(parents=True, exist_ok=True)
        await trio.to_thread.run_sync(self._clean)
        async with AsyncExitStack() as stack:
            reader = await stack.enter_async_context(OriginReader())
            nursery = await stack.enter_async_context(trio.open_nursery())
            self._asker = OriginAsker(reader, nursery)
            nursery.start_soon(self._sweep)
            task_status.started()
            await trio.sleep_forever()

    async def open(self, request: ContentRequest) -> DfgetContent:
        """Return a content that is here as a whole.

        Raises ``OriginAnswered``, ``Unsuitable`` if dfget failed and the request may be forwarded
        directly, and ``Unreachable``.
        """
        described = await self._asker.describe(request)
        path = self._settings.local_repo / str(uuid4())
        try:
            async with self._at_once:
                code = await self._download(request, path)
            if code != 0:
                raise self._failed(request, f"dfget ended with {code}")
            fd = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise self._failed(request, f"dfget: {error.strerror or error}") from error
        finally:
            path.unlink(missing_ok=True)
        content = DfgetContent(fd, described, task_id(task_url(request.url, ())))
        try:
            await content.verify(request.digest)
        except ContentFailed as error:
            content.close()
            raise self._failed(request, str(error)) from error
        except BaseException:
            content.close()
            raise
        return content

    async def _download(self, request: ContentRequest, path: Path) -> int:
        """Run dfget; it is killed when the client leaves."""
        certificates = [self._certificate(ca) for ca in request.root_cas]
        words = dfget_arguments(self._settings, request, path, certificates, verbose=self._verbose)
        _log.info("start download url:%s to %s in repo", shown_url(request.url), path.name)
        began_s = trio.current_time()
        done = await trio.run_process(
            [str(self._settings.dfpath), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            deliver_cancel=_kill,
        )
        seconds = trio.current_time() - began_s
        verdict = "[SUCCESS]" if done.returncode == 0 else f"[FAIL {done.returncode}]"
        _log.info("dfget url:%s %s cost:%.3fs", shown_url(request.url), verdict, seconds)
        return done.returncode

    def _certificate(self, root_ca: str) -> str:
        pem = base64.b64decode(root_ca)
        path = self._settings.local_repo / f"{hashlib.sha256(pem).hexdigest()}.pem"
        path.write_bytes(pem)
        return str(path)

    def _failed(self, request: ContentRequest, why: str) -> Unsuitable | Unreachable:
        text = f"{shown_url(request.url)}: {why}"
        _log.warning("download fail: %s", text)
        return (
            Unreachable(f"{text}, and the rule is strict") if request.strict else Unsuitable(text)
        )

    async def _sweep(self) -> None:
        while True:
            await trio.sleep(_SWEEP_S)
            await trio.to_thread.run_sync(self._clean)

    def _clean(self) -> None:
        """Delete what crashes left."""
        before = time.time() - self._settings.bounds.leftover_s
        with os.scandir(self._settings.local_repo) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(found.st_mode) and found.st_mtime < before:
                        os.unlink(entry.path)


class DfgetContent:
    """A file that dfget has fetched, already without a name."""

    def __init__(self, fd: int, described: Described, task: str) -> None:
        self._fd = fd
        self.length: int | None = os.fstat(fd).st_size
        self._expected = described.length
        self.headers: Headers = described.headers
        self.source: str = FROM_SWARM
        self.task = task

    async def verify(self, digest: str) -> None:
        """Raise ``ContentFailed`` unless the file has the length and digest that it should."""
        if self._expected not in (-1, self.length):
            raise ContentFailed(f"dfget fetched {self.length} of {self._expected} bytes")
        algorithm, _, wanted = digest.partition(":")
        if wanted:
            real = await trio.to_thread.run_sync(_digest_of, self._fd, algorithm)
            if real != wanted:
                raise ContentFailed(f"dfget fetched {algorithm}:{real}, expected {digest}")

    async def read(self, first: int = 0, last: int | None = None) -> AsyncGenerator[Part]:
        """Iterate over bytes ``first`` to ``last`` (``None``: the end)."""
        assert self.length is not None
        end = self.length if last is None else min(last + 1, self.length)
        for offset in range(first, end, _SLICE_BYTES):
            yield FileSlice(self._fd, offset, min(_SLICE_BYTES, end - offset))

    async def aclose(self) -> None:
        """Let go of the file."""
        self.close()

    def close(self) -> None:
        """As ``aclose``; harmless when repeated."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def dfget_arguments(
    settings: DaemonSettings,
    request: ContentRequest,
    path: Path,
    certificates: list[str],
    *,
    verbose: bool,
) -> list[str]:
    """Return the command line of a dfget 1.0.6 as dfdaemon 1.0.6 writes it, without its name."""
    words = ["-u", request.url, "-o", str(path), *settings.dfget_flags, "--dfdaemon"]
    if verbose:
        words.append("--verbose")
    if settings.rate_bytes_per_s:
        rate = _rate(settings.rate_bytes_per_s)
        words += ["-s", rate, "--totallimit", rate]
    if settings.supernodes:
        # Twice: so dfget asks each of them twice before it gives up.
        words += [
            "--node",
            ",".join([str(node) for node in dict.fromkeys(settings.supernodes)] * 2),
        ]
    for name, value in request.headers:
        if name.lower() not in _NOT_PASSED:
            words += ["--header", f"{name}:{value}"]
    if request.insecure:
        words.append("--insecure")
    if certificates:
        words += ["--cacerts", ",".join(certificates)]
    return words


def _rate(bytes_per_s: int) -> str:
    for unit, suffix in _UNITS:
        if bytes_per_s % unit == 0:
            return f"{bytes_per_s // unit}{suffix}"
    return f"{bytes_per_s}B"


def _digest_of(fd: int, algorithm: str) -> str:
    hasher = hashlib.new(algorithm, usedforsecurity=False)
    offset = 0
    while block := os.pread(fd, 1 << 20, offset):
        hasher.update(block)
        offset += len(block)
    return hasher.hexdigest()


async def _kill(process: trio.Process) -> None:
    process.kill()
