"""One file to many hosts at once, by different programs: what each run took."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import threading
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar, cast

from . import servers
from .hosts import SERVER_IP
from .machine import Missing, cpu_seconds, needed
from .servers import ENVIRONMENT, PYTHON

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from .hosts import TestHost

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

_BT_PEER: Final = Path(__file__).with_name("bt_peer.py")
_BT_PORT: Final = 6881
_BT_PIECE_BYTES: Final = 1 << 20
_STALL_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Run:
    """One distribution.

    ``seconds``: from the common start until each host's program ended with the file verified.
    ``server_bytes``: what the supernode, seed or server sent; ``origin_bytes`` what it had to read
    itself.  CPU in seconds of all the hosts' programs, and of the server.
    """

    seconds: tuple[float, ...]
    server_bytes: int
    origin_bytes: int
    host_cpu_s: float
    server_cpu_s: float


def damselfly(hosts: Sequence[TestHost], file: Path, folder: Path) -> Run:
    """Run a supernode that has not seen the file, and a dfget with a peer server on each host."""
    with ExitStack() as stack:
        root = file.parent
        origin = stack.enter_context(servers.nginx(folder / "nginx", root, SERVER_IP))
        node = stack.enter_context(servers.supernode(folder / "supernode", ip=SERVER_IP))
        commands = [
            host.command(
                [
                    *(*PYTHON, "damselfly.cli.dfget", "-u", f"http://{origin}/{file.name}"),
                    *("-o", str(folder / f"out-{host.ip}"), "-n", str(node)),
                    *("--home", str(folder / f"home-{host.ip}"), "--json"),
                ]
            )
            for host in hosts
        ]
        before = cpu_seconds(node.pid)
        seconds, cpu_s = _race(commands, folder)
        cpu_s += sum(cpu_seconds(pid) for host in hosts for pid in host.pids())
        stats = cast("dict[str, int]", _json_of(f"http://{node}/damselfly/stats"))
        server_cpu_s = cpu_seconds(node.pid) - before
        for host in hosts:
            host.clear()
    _verify([folder / f"out-{host.ip}" for host in hosts], file)
    return Run(seconds, stats["upload_bytes"], stats["origin_bytes"], cpu_s, server_cpu_s)


def curl(hosts: Sequence[TestHost], file: Path, folder: Path) -> Run:
    """Have each host fetch the file from nginx: what a server without limits would be worth."""
    program = needed("curl", "curl")
    with servers.nginx(folder / "nginx", file.parent, SERVER_IP) as server:
        script = f"{program} -sfo $0 $1 && sha256sum $0"
        url = f"http://{server}/{file.name}"
        commands = [
            host.command(["sh", "-c", script, str(folder / f"out-{host.ip}"), url])
            for host in hosts
        ]
        before = cpu_seconds(server.pid)
        seconds, cpu_s = _race(commands, folder)
        server_cpu_s = cpu_seconds(server.pid) - before
    _verify([folder / f"out-{host.ip}" for host in hosts], file)
    size = file.stat().st_size
    return Run(seconds, size * len(hosts), size * len(hosts), cpu_s, server_cpu_s)


def bittorrent(hosts: Sequence[TestHost], file: Path, folder: Path) -> Run:
    """Run a libtorrent seed with the file, and a libtorrent peer on each host.

    The clock starts when all listen, and each knows the others: no tracker, no start-up counted.
    """
    python = _python_with_libtorrent()
    torrent = folder / "torrent"
    make = [python, str(_BT_PEER), "make", str(file), str(torrent), str(_BT_PIECE_BYTES)]
    subprocess.run(make, check=True, env=ENVIRONMENT)
    run = [python, str(_BT_PEER), "run", str(torrent)]
    with ExitStack() as stack:
        seed = _Torrent([*run, str(file.parent), SERVER_IP, str(_BT_PORT), "--seed"], stack)
        peers: list[_Torrent] = []
        for host in hosts:
            out = folder / f"bt-{host.ip}"
            out.mkdir()
            peers.append(_Torrent(host.command([*run, str(out), host.ip, str(_BT_PORT)]), stack))
        for one in (seed, *peers):
            one.expect("ready")
        everybody = " ".join(f"{ip}:{_BT_PORT}" for ip in (SERVER_IP, *(h.ip for h in hosts)))
        before = [cpu_seconds(one.pid) for one in (seed, *peers)]
        began = time.perf_counter()
        for one in (seed, *peers):
            one.say(everybody)
        seconds = _each(peers, lambda peer: _until_done(peer, began))
        after = [cpu_seconds(one.pid) for one in (seed, *peers)]
        seed.say("")
        uploaded = int(seed.expect_line(after="done"))
        for peer in peers:
            peer.say("")
    _verify([folder / f"bt-{host.ip}" / file.name for host in hosts], file)
    spent = [b - a for a, b in zip(before, after, strict=True)]
    return Run(tuple(seconds), uploaded, 0, sum(spent[1:]), spent[0])


class _Torrent:
    """A process of ``bt_peer``."""

    def __init__(self, command: list[str], stack: ExitStack) -> None:
        self._process = stack.enter_context(_talking(command))
        self.pid = self._process.pid

    def say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def expect(self, word: str) -> None:
        found = self.expect_line()
        if found != word:
            raise RuntimeError(f"a libtorrent peer said {found!r}, expected {word!r}")

    def expect_line(self, *, after: str = "") -> str:
        assert self._process.stdout is not None
        while (line := self._process.stdout.readline()) and line.strip() == after:
            pass
        return line.strip()


def _until_done(peer: _Torrent, began: float) -> float:
    peer.expect("done")
    return time.perf_counter() - began


@contextmanager
def _talking(command: list[str]) -> Generator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _race(commands: Sequence[Sequence[str]], folder: Path) -> tuple[tuple[float, ...], float]:
    """Start all at once; return when each ended, and the CPU time of all."""
    began = time.perf_counter()
    processes = [
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(folder / f"stderr-{number}").open("wb"),
            env=ENVIRONMENT,
            cwd=folder,
        )
        for number, command in enumerate(commands)
    ]

    def await_end(process: subprocess.Popen[bytes]) -> tuple[float, float]:
        _, status, usage = os.wait4(process.pid, 0)
        took_s = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        return took_s, usage.ru_utime + usage.ru_stime

    ends = _each(processes, await_end)
    for number, process in enumerate(processes):
        if process.returncode:
            words = (folder / f"stderr-{number}").read_text(errors="replace").strip()
            raise RuntimeError(f"{process.args} ended with {process.returncode}: {words}")
    return tuple(took_s for took_s, _ in ends), sum(cpu_s for _, cpu_s in ends)


def _each(items: Sequence[ItemT], work: Callable[[ItemT], ResultT]) -> list[ResultT]:
    """Return what ``work`` gives for each item, all at once in threads."""
    results: dict[int, ResultT] = {}

    def run(number: int, item: ItemT) -> None:
        results[number] = work(item)

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(items)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(results) < len(items):
        raise RuntimeError(f"{len(items) - len(results)} of {len(items)} did not get there")
    return [results[number] for number in range(len(items))]


def _verify(outputs: Sequence[Path], file: Path) -> None:
    want = _digest(file)
    for output in outputs:
        if _digest(output) != want:
            raise RuntimeError(f"{output} is not what was distributed")
        output.unlink()


def _digest(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _json_of(url: str) -> object:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=_STALL_S) as reply:
        return json.load(reply)


def _python_with_libtorrent() -> str:
    for name in ("/usr/bin/python3", shutil.which("python3") or ""):
        if (
            name
            and subprocess.run(
                [name, "-c", "import libtorrent"], capture_output=True, check=False
            ).returncode
            == 0
        ):
            return name
    raise Missing("libtorrent is missing (Debian package python3-libtorrent)")
