"""One file to many hosts at once by BitTorrent: by libtorrent, and by aria2."""

from __future__ import annotations

import select
import shutil
import signal
import subprocess
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .hosts import SERVER_IP
from .machine import Missing, busy_seconds, cpu_seconds, needed
from .racing import Run, each, verify
from .servers import ENVIRONMENT
from .tracker import tracker, write_torrent

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from .hosts import TestHost

_BT_PEER: Final = Path(__file__).with_name("bt_peer.py")
_PORT: Final = 6881
_PIECE_BYTES: Final = 1 << 20
_PATIENCE_S: Final = 180.0
"""How long a peer may take to say the next thing, such as that it has everything."""
_ARIA2_FLAGS: Final = (
    *("--no-conf", "--quiet", "--file-allocation=none", "--seed-ratio=0", "--bt-max-peers=0"),
    *("--enable-dht=false", "--enable-dht6=false", "--bt-enable-lpd=false", "--disable-ipv6"),
    "--bt-request-peer-speed-limit=1000M",
    f"--listen-port={_PORT}",
)
"""Peers never have enough of each other, and find each other through the tracker alone."""


def libtorrent(hosts: Sequence[TestHost], file: Path, folder: Path) -> Run:
    """Run a libtorrent seed with the file, and a libtorrent peer on each host.

    The clock starts when all listen, and are told of each other: no tracker, no start-up counted.
    Of each two one connects: where both do at the same time, both connections may end.
    """
    python = _python_with_libtorrent()
    torrent = folder / "torrent"
    write_torrent(torrent, file, _PIECE_BYTES)
    run = [python, str(_BT_PEER), str(torrent)]
    with ExitStack() as stack:
        seed = _Talking([*run, str(file.parent), SERVER_IP, str(_PORT), "--seed"], stack)
        peers = [
            _Talking(host.command([*run, str(_folder(folder, host)), host.ip, str(_PORT)]), stack)
            for host in hosts
        ]
        for one in (seed, *peers):
            one.expect("ready")
        places = [f"{ip}:{_PORT}" for ip in (SERVER_IP, *(host.ip for host in hosts))]
        start = _Start.of(seed, peers)
        for number, one in enumerate((seed, *peers)):
            one.say(" ".join(places[:number]))
        taken = start.until_spoken(seed, peers)
        seed.expect("done")
        uploaded, *_ = [one.ended() for one in (seed, *peers)]
    verify([_folder(folder, host) / file.name for host in hosts], file)
    return replace(taken, server_bytes=uploaded)


def aria2(hosts: Sequence[TestHost], file: Path, folder: Path) -> Run:
    """Run an aria2 seed with the file, a tracker, and aria2 on each host.

    The clock starts with the processes on the hosts; seed and tracker are there before.
    """
    run = [needed("aria2c", "aria2"), *_ARIA2_FLAGS]
    run.append(f"--on-bt-download-complete={needed('echo', 'coreutils')}")
    torrent = str(folder / "torrent")
    with tracker(SERVER_IP) as found, ExitStack() as stack:
        write_torrent(Path(torrent), file, _PIECE_BYTES, found.url)
        seeding = ("--bt-seed-unverified", f"--interface={SERVER_IP}", f"--dir={file.parent}")
        seed = _Talking([*run, *seeding, torrent], stack)
        found.await_start(SERVER_IP, _PATIENCE_S)
        start = _Start.of(seed)
        peers = [
            _Talking(host.command([*run, f"--dir={_folder(folder, host)}", torrent]), stack)
            for host in hosts
        ]
        taken = start.until_spoken(seed, peers)
        seed.interrupt()
        uploaded = found.uploaded(SERVER_IP)
    verify([_folder(folder, host) / file.name for host in hosts], file)
    return replace(taken, server_bytes=uploaded)


class _Talking:
    """A process of a swarm, ended with ``stack``; it is told lines, and says some."""

    def __init__(self, command: Sequence[str], stack: ExitStack) -> None:
        self._process = stack.enter_context(_running(command))
        self.pid = self._process.pid

    def say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    def expect(self, word: str) -> None:
        found = self.heard()
        if found != word:
            raise RuntimeError(f"a BitTorrent peer said {found!r}, expected {word!r}")

    def heard(self) -> str:
        """Return the next line; raises ``RuntimeError`` if there is none in time."""
        stdout = self._process.stdout
        assert stdout is not None
        readable, _, _ = select.select([stdout], [], [], _PATIENCE_S)
        if not readable or not (line := stdout.readline()):
            why = "ended" if readable else f"said nothing for {_PATIENCE_S:g} s"
            raise RuntimeError(f"a BitTorrent peer {why}: {self._process.args}")
        return line.decode().strip()

    def ended(self) -> int:
        """Let a libtorrent peer end; return the bytes that it uploaded."""
        self.say("")
        return int(self.heard())

    def interrupt(self) -> None:
        """End it in its own way, with a last word to its tracker."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(_PATIENCE_S)


@dataclass(frozen=True, slots=True)
class _Start:
    """The clocks at the common start."""

    at: float
    seed_cpu_s: float
    peers_cpu_s: float
    machine_cpu_s: float

    @classmethod
    def of(cls, seed: _Talking, peers: Sequence[_Talking] = ()) -> _Start:
        spent_s = sum(cpu_seconds(peer.pid) for peer in peers)
        return cls(time.perf_counter(), cpu_seconds(seed.pid), spent_s, busy_seconds())

    def until_spoken(self, seed: _Talking, peers: Sequence[_Talking]) -> Run:
        """Wait until each peer says that it has it all; who takes gives as well."""

        def heard_after_s(peer: _Talking) -> float:
            peer.heard()
            return time.perf_counter() - self.at

        seconds = tuple(each(peers, heard_after_s))
        return Run(
            seconds=seconds,
            server_bytes=0,
            origin_bytes=0,
            host_cpu_s=sum(cpu_seconds(peer.pid) for peer in peers) - self.peers_cpu_s,
            giving_cpu_s=None,
            server_cpu_s=cpu_seconds(seed.pid) - self.seed_cpu_s,
            machine_cpu_s=busy_seconds() - self.machine_cpu_s,
        )


@contextmanager
def _running(command: Sequence[str]) -> Generator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT, bufsize=0
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _folder(folder: Path, host: TestHost) -> Path:
    """Return where the peer on ``host`` keeps its files."""
    found = folder / f"bt-{host.ip}"
    found.mkdir(exist_ok=True)
    return found


def _python_with_libtorrent() -> str:
    for name in ("/usr/bin/python3", shutil.which("python3") or ""):
        if name:
            look = [name, "-c", "import libtorrent"]
            if not subprocess.run(look, capture_output=True, check=False).returncode:
                return name
    raise Missing("libtorrent is missing (Debian package python3-libtorrent)")
