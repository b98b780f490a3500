"""The servers that benchmarks run against, each one process on loopback, ended on leaving."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from .machine import needed

if TYPE_CHECKING:
    from collections.abc import Generator

ROOT: Final = Path(__file__).parent.parent
PYTHON: Final = (sys.executable, "-P", "-m")
ENVIRONMENT: Final = {
    name: value
    for name, value in os.environ.items()
    if not name.lower().endswith("_proxy") and name != "PYTHONDONTWRITEBYTECODE"
}
"""For child processes: loopback is not reached through a proxy, and what is compiled is kept."""
_HOST: Final = "127.0.0.1"
_READY_TIMEOUT_S: Final = 20.0
_END_TIMEOUT_S: Final = 5.0
_NGINX: Final = """\
daemon off; master_process off; pid nginx.pid; error_log stderr warn;
events {{ worker_connections 512; }}
http {{
  log_format reads '$uri $body_bytes_sent'; access_log {log};
  sendfile on; tcp_nopush on; keepalive_requests 1000000000;
  client_body_temp_path temp; proxy_temp_path temp; fastcgi_temp_path temp;
  uwsgi_temp_path temp; scgi_temp_path temp;
  server {{
    listen {host}:{port}; root {root};
    location = /_ping {{ return 200 "OK"; }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A process that listens."""

    pid: int
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@contextmanager
def nginx(
    folder: Path, root: Path, ip: str = _HOST, *, log: Path | None = None
) -> Generator[Server]:
    """Run an nginx of one process that serves ``root`` with sendfile, and answers ``/_ping``.

    A line for each request goes to ``log``: its path, and how many bytes it was given.  Raises
    ``Missing``.
    """
    program = needed("nginx", "nginx-light")
    folder.mkdir()
    with socket.create_server((ip, 0)) as probe:
        port = probe.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(
        _NGINX.format(host=ip, port=port, root=root, log=f"{log} reads" if log else "off")
    )
    command = [program, "-p", str(folder), "-c", str(config), "-e", "stderr"]
    with _running(command, folder / "stderr") as process:
        _await_listener((ip, port), process, folder / "stderr")
        yield Server(process.pid, ip, port)


@contextmanager
def supernode(folder: Path, *flags: str, ip: str = _HOST) -> Generator[Server]:
    """Run a supernode with its home under ``folder``; the address is that of its control port."""
    command = [*PYTHON, "damselfly.cli.supernode", "--home-dir", str(folder / "home")]
    command += ["--port", "0", "--download-port", "0", "--advertise-ip", ip, *flags]
    with _announced(command, folder) as server:
        yield server


@contextmanager
def origin(folder: Path, file: Path) -> Generator[Server]:
    """Run an HTTP server that gives ``file`` under any path."""
    with _announced([*PYTHON, "damselfly.cli.demo_origin", str(file)], folder) as server:
        yield server


@contextmanager
def plain_server(folder: Path) -> Generator[Server]:
    """Run the reference of ``plain_server``."""
    with _announced([*PYTHON[:1], "-m", "benchmarks.plain_server"], folder) as server:
        yield server


@contextmanager
def _announced(command: list[str], folder: Path) -> Generator[Server]:
    """Run a server whose first line of output names its address as ``http://host:port``."""
    folder.mkdir(exist_ok=True)
    with _running(command, folder / "stderr") as process:
        assert process.stdout is not None
        readable, _, _ = select.select([process.stdout], [], [], _READY_TIMEOUT_S)
        line = process.stdout.readline().decode() if readable else ""
        address = line.partition("http://")[2].partition(" ")[0].strip()
        host, _, port = address.rpartition(":")
        if not port.isdecimal():
            raise _did_not_start(command, folder / "stderr")
        yield Server(process.pid, host, int(port))


@contextmanager
def _running(command: list[str], errors: Path) -> Generator[subprocess.Popen[bytes]]:
    with (
        errors.open("wb") as stderr,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=ENVIRONMENT,
            cwd=ROOT,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _await_listener(
    address: tuple[str, int], process: subprocess.Popen[bytes], errors: Path
) -> None:
    """Wait until somebody listens: nginx does not say when it is ready."""
    give_up_at = time.monotonic() + _READY_TIMEOUT_S
    while process.poll() is None and time.monotonic() < give_up_at:
        try:
            socket.create_connection(address).close()
        except ConnectionRefusedError:
            time.sleep(0.01)
        else:
            return
    raise _did_not_start(process.args, errors)


def _did_not_start(command: object, errors: Path) -> RuntimeError:
    text = errors.read_text(errors="replace").strip()
    return RuntimeError(f"{command} did not start: {text or 'no word from it'}")


def fill(out: IO[bytes], size: int) -> None:
    """Write ``size`` random bytes."""
    block = 4 << 20
    for start in range(0, size, block):
        out.write(os.urandom(min(block, size - start)))
