"""``python -m benchmarks.soak``: 20 minutes of short downloads and kills; does anything grow?

Some 50 downloads a minute, by ``dfget`` on several addresses of loopback, each with its work home
and its peer server, of files that come and go.  Now and then a ``dfget`` or a peer server is
killed.  Open files, memory and threads of supernode and peer servers and the disk space of each
are looked at all along: what lasts must not grow.  Every file that arrives is compared with the
original.  Exit status 1 if one is wrong, if a download fails that nobody killed, or if something
grows.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .fetching import peer_servers
from .flatness import Sample, Series, disk_bytes, look_at
from .machine import Missing, settle, this_machine
from .racing import digest
from .servers import ENVIRONMENT, PYTHON, Server, fill, nginx, supernode

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

_FILES: Final = 60
_HOSTS: Final = 6
_DISK: Final = "256m"
_SUPERNODE_YML: Final = """\
base:
  gcMetaInterval: 20s
  taskExpireTime: 60s
  peerGCDelay: 60s
  gcDiskInterval: 5s
  youngGCThreshold: 128MB
  fullGCThreshold: 32MB
"""
_EXPIRE: Final = "60s"
_KILLED: Final = -signal.SIGKILL


@dataclass(frozen=True, slots=True)
class Plan:
    """How long, how often, and how rough; shares are of all downloads."""

    minutes: float
    per_minute: float
    killed_share: float
    server_killed_share: float
    sample_s: float
    seed: int


@dataclass(slots=True)
class Tally:
    """What became of the downloads; ``endings`` counts exit statuses."""

    endings: Counter[str] = field(default_factory=Counter[str])
    troubles: list[str] = field(default_factory=list[str])
    servers_killed: int = 0


class Soak:
    """One soak in ``folder`` against servers that run already."""

    def __init__(self, plan: Plan, folder: Path, node: Server, origin: Server) -> None:
        self._plan, self._folder, self._node, self._origin = plan, folder, node, origin
        self._rng = random.Random(plan.seed)
        self._digests = {path.name: digest(path) for path in (folder / "origin").iterdir()}
        self._names = sorted(self._digests)
        self._lock = threading.Lock()
        self.tally = Tally()
        self.series: dict[str, Series] = {}

    def run(self) -> None:
        """Download, kill and look until the time is over."""
        began = time.monotonic()
        end = began + 60 * self._plan.minutes
        next_sample = began
        threads: list[threading.Thread] = []
        for number, due in enumerate(self._starts(began, end)):
            time.sleep(max(0.0, due - time.monotonic()))
            work = threading.Thread(target=self._download, args=(number, self._draw(number)))
            work.start()
            threads = [thread for thread in threads if thread.is_alive()] + [work]
            if time.monotonic() >= next_sample:
                next_sample += self._plan.sample_s
                self._sample(time.monotonic() - began)
        for thread in threads:
            thread.join()
        self._sample(time.monotonic() - began)

    def _starts(self, began: float, end: float) -> Iterator[float]:
        due = began
        while due < end:
            yield due
            due += self._rng.expovariate(self._plan.per_minute / 60)

    def _draw(self, number: int) -> _Draw:
        # A window over the files wanders on, so that some are hot, and all grow old.
        window = number // 8
        name = self._names[(window + self._rng.randrange(8)) % len(self._names)]
        kill_after_s = self._rng.uniform(0.05, 0.8)
        is_killed = self._rng.random() < self._plan.killed_share
        return _Draw(
            name=name,
            host=self._rng.randrange(_HOSTS),
            kill_after_s=kill_after_s if is_killed else None,
            kills_server=self._rng.random() < self._plan.server_killed_share,
        )

    def _download(self, number: int, draw: _Draw) -> None:
        home = self._folder / f"host{draw.host}"
        target = self._folder / "out" / f"{number}"
        command = [*PYTHON, "damselfly.cli.dfget", "-u", f"http://{self._origin}/{draw.name}"]
        command += ["-o", str(target), "-n", str(self._node), "--home", str(home)]
        command += ["--ip", f"127.0.0.{draw.host + 2}", "--expiretime", _EXPIRE]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
        )
        try:
            _, errors = process.communicate(timeout=draw.kill_after_s)
        except subprocess.TimeoutExpired:
            process.kill()
            _, errors = process.communicate()
        if draw.kills_server:
            self._kill_server(home)
        self._count(number, draw, target, process.returncode, errors.decode(errors="replace"))

    def _kill_server(self, home: Path) -> None:
        for pid in peer_servers(home):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                with self._lock:
                    self.tally.servers_killed += 1

    def _count(self, number: int, draw: _Draw, target: Path, status: int, errors: str) -> None:
        trouble = ""
        if status == 0 and digest(target) != self._digests[draw.name]:
            trouble = "has wrong bytes"
        elif status not in (0, _KILLED):
            trouble = f"ended with {status}: {errors.strip()[-300:]}"
        elif status == _KILLED and target.exists() and digest(target) != self._digests[draw.name]:
            trouble = "was killed and left a wrong file"
        target.unlink(missing_ok=True)
        with self._lock:
            self.tally.endings[_name_of(status)] += 1
            if trouble:
                self.tally.troubles.append(f"download {number} of {draw.name} {trouble}")

    def _sample(self, at_s: float) -> None:
        self._add("supernode", look_at(self._node.pid, self._folder / "supernode" / "home", at_s))
        for host in range(_HOSTS):
            home = self._folder / f"host{host}"
            if servers := peer_servers(home):
                self._add(f"peer server {host}", look_at(servers[0], home, at_s))
        total = sum(disk_bytes(self._folder / f"host{host}") for host in range(_HOSTS))
        done = sum(self.tally.endings.values())
        newest = self.series["supernode"].samples[-1]
        print(
            f"{at_s / 60:5.1f} min  {done:4d} downloads, {len(self.tally.troubles)} troubles;"
            f"  supernode {newest};  peers' disks {total / 1e6:.0f} MB",
            flush=True,
        )

    def _add(self, name: str, sample: Sample | None) -> None:
        if sample is not None:
            self.series.setdefault(name, Series(name)).add(sample)


@dataclass(frozen=True, slots=True)
class _Draw:
    name: str
    host: int
    kill_after_s: float | None
    kills_server: bool


def main() -> int:
    """Soak and return the exit status."""
    plan = _plan()
    settle()
    print(f"{this_machine()}\nseed {plan.seed}\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="soak-", dir="/dev/shm") as name:
        folder = Path(name)
        _prepare(folder, plan.seed)
        try:
            with (
                _small_disk(folder / "supernode" / "home"),
                nginx(folder / "nginx", folder / "origin") as origin,
                supernode(folder / "supernode", "--config", str(folder / "supernode.yml")) as node,
            ):
                soak = Soak(plan, folder, node, origin)
                try:
                    soak.run()
                except KeyboardInterrupt:
                    print("interrupted; the figures so far:")
                finally:
                    for host in range(_HOSTS):
                        for pid in peer_servers(folder / f"host{host}"):
                            os.kill(pid, signal.SIGTERM)
        except Missing as missing:
            print(f"soak: skipped: {missing}")
            return 0
    return _verdict(soak)


def _verdict(soak: Soak) -> int:
    tally = soak.tally
    endings = ", ".join(f"{count} {name}" for name, count in sorted(tally.endings.items()))
    print(f"\ndownloads: {endings}; peer servers killed: {tally.servers_killed}")
    grows = False
    for series in soak.series.values():
        print(f"{series.name}: {series.summary()}")
        grows |= not series.is_flat
    for trouble in tally.troubles:
        print(f"trouble: {trouble}")
    print("flat" if not grows else "GROWS: see above")
    return int(grows or bool(tally.troubles))


def _plan() -> Plan:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--per-minute", type=float, default=50.0)
    parser.add_argument("--killed", type=float, default=0.2, help="share of dfgets killed")
    parser.add_argument(
        "--servers-killed", type=float, default=0.02, help="peer servers killed per download"
    )
    parser.add_argument("--sample", type=float, default=10.0, help="seconds between looks")
    parser.add_argument("--seed", type=int, default=1)
    flags = parser.parse_args()
    return Plan(
        minutes=flags.minutes,
        per_minute=flags.per_minute,
        killed_share=flags.killed,
        server_killed_share=flags.servers_killed,
        sample_s=flags.sample,
        seed=flags.seed,
    )


def _prepare(folder: Path, seed: int) -> None:
    for name in ("origin", "out", "supernode"):
        (folder / name).mkdir()
    (folder / "supernode.yml").write_text(_SUPERNODE_YML)
    rng = random.Random(seed)
    for number in range(_FILES):
        with (folder / "origin" / f"file-{number}").open("wb") as out:
            fill(out, round(10 ** rng.uniform(4, 7.3)))


@contextlib.contextmanager
def _small_disk(home: Path) -> Generator[None]:
    """Put a small file system under ``home``, so that old copies have to go; else print why not."""
    home.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(home)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        print(f"the supernode's disk is not bounded: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        if not mounted.returncode:
            subprocess.run(["umount", "-l", str(home)], check=False)


def _name_of(status: int) -> str:
    if status == _KILLED:
        return "killed"
    return "finished" if status == 0 else f"failed with {status}"


if __name__ == "__main__":
    sys.exit(main())
