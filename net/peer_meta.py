"""What the processes of one work home share: its layout, the meta file, and locks.

``<home>/meta/host.meta`` tells dfgets on which port the home's peer server listens (protocol 3.1);
v1 programs read and write the same file.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from typing import TYPE_CHECKING, Final, cast

from ..engine.records import dataclass

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path

_MAX_META_BYTES: Final = 4096
_META_MODE: Final = 0o755


@dataclass(frozen=True, slots=True)
class WorkHome:
    """Where the programs of one user keep their files (protocol 8.6)."""

    path: Path

    @property
    def data_dir(self) -> Path:
        """Downloads, while they last and while they are served."""
        return self.path / "data"

    @property
    def meta_path(self) -> Path:
        """The meta file."""
        return self.path / "meta" / "host.meta"

    @property
    def server_log(self) -> Path:
        """What the peer server says."""
        return self.path / "logs" / "dfserver.log"


class HostMeta:
    """The meta file; the port in it is 0 while no peer server listens."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read_port(self) -> int:
        """Return the port; 0 also for a file that is missing or makes no sense."""
        try:
            with self._path.open("rb") as file:
                found = json.loads(file.read(_MAX_META_BYTES))
        except (OSError, ValueError, RecursionError):
            return 0
        port = cast("dict[str, object]", found).get("servicePort") if _is_dict(found) else 0
        return port if type(port) is int and 0 < port < 65536 else 0

    def write_port(self, port: int) -> None:
        """Say that the peer server listens on ``port``; makes the directory; ``OSError``."""
        with self._locked():
            self._replace(port)

    def clear_port(self, port: int) -> None:
        """Say that no peer server listens, unless another than ``port`` has taken over."""
        with self._locked():
            if self.read_port() == port:
                self._replace(0)

    def _replace(self, port: int) -> None:
        fresh = self._path.with_name(f"{self._path.name}.new")
        fresh.write_bytes(b'{"servicePort":%d}' % port)
        fresh.chmod(_META_MODE)
        fresh.replace(self._path)

    @contextlib.contextmanager
    def _locked(self) -> Generator[None]:
        """Keep other writers out; waits only for as long as one of them writes."""
        fd = _open_lock(self._path.with_name(f"{self._path.name}.lock"))
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


class FileLock:
    """A lock that the kernel lets go when its holder dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def try_acquire(self) -> bool:
        """Take the lock unless another process has it; makes the directory; ``OSError``."""
        assert self._fd < 0, "the lock is held already"
        fd = _open_lock(self._path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        return True

    def release(self) -> None:
        """Let go; harmless when repeated."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @contextlib.asynccontextmanager
    async def held(self, timeout_s: float) -> AsyncGenerator[None]:
        """Hold the lock inside; raises ``trio.TooSlowError`` if it does not come in time."""
        if not self.try_acquire():
            self._fd = await self._wait(timeout_s)
        try:
            yield
        finally:
            self.release()

    async def _wait(self, timeout_s: float) -> int:
        import trio  # not needed by who only starts a server

        fd = _open_lock(self._path)
        try:
            with trio.fail_after(timeout_s):
                await trio.to_thread.run_sync(
                    fcntl.flock, fd, fcntl.LOCK_EX, abandon_on_cancel=True
                )
        except BaseException:
            os.close(fd)
            raise
        return fd


class Registration:
    """One process' claim to be the home's peer server on one address: a lock, and the meta file."""

    def __init__(self, meta_path: Path, ip: str) -> None:
        self._meta = HostMeta(meta_path)
        self._lock = FileLock(meta_path.with_name(f"server-{ip}.lock"))
        self._port = 0

    def try_claim(self) -> bool:
        """Become the only one; false if another process is it.  ``OSError``."""
        return self._lock.try_acquire()

    def announce(self, port: int) -> None:
        """Let dfgets find this server; ``OSError``."""
        self._port = port
        self._meta.write_port(port)

    def withdraw(self) -> None:
        """Let the next dfget start another server; harmless when repeated.  ``OSError``."""
        port, self._port = self._port, 0
        try:
            if port:
                self._meta.clear_port(port)
        finally:
            self._lock.release()


def _open_lock(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _is_dict(found: object) -> bool:
    return isinstance(found, dict)
