"""Hosts of one's own on one machine: network namespaces on a bridge, each link shaped both ways."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .machine import Missing, needed

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

SERVER_IP: Final = "10.98.0.1"
"""Where the hosts find what runs outside of them; that side is not shaped."""
_BRIDGE: Final = "dmfbr"
_BURST: Final = "256kb"
_QUEUE: Final = "100ms"
_PROGRAMS: Final = (("ip", "iproute2"), ("tc", "iproute2"), ("sysctl", "procps"))


@dataclass(frozen=True, slots=True)
class TestHost:
    """One host; ``ip`` is its address, ``namespace`` the name of its network namespace."""

    namespace: str
    ip: str

    def command(self, words: Sequence[str]) -> list[str]:
        """Return the command that runs ``words`` on this host."""
        return [_ip(), "netns", "exec", self.namespace, *words]

    def pids(self) -> list[int]:
        """Return what still runs on it, such as a peer server."""
        return [int(pid) for pid in _try(f"{_ip()} netns pids {self.namespace}").stdout.split()]

    def clear(self) -> None:
        """Kill what still runs on it."""
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def hosts(count: int, rate: str | None) -> Generator[tuple[TestHost, ...]]:
    """Set up ``count`` hosts of ``rate`` (as ``tc`` writes it, ``None``: unshaped) each way.

    They live in this process's network namespace, which must be one of its own (``settle``), and
    what still runs on them at the end is killed.  Raises ``Missing`` without root, iproute2, procps
    or the right to make namespaces, which root does not have in most containers.
    """
    if os.geteuid() != 0:
        raise Missing("hosts need network namespaces, and those root")
    for program, package in _PROGRAMS:
        needed(program, package)
    prefix = f"dmf{os.getpid()}-"
    found = tuple(TestHost(f"{prefix}{n}", f"10.98.0.{10 + n}") for n in range(1, count + 1))
    try:
        _make(found, rate)
        yield found
    finally:
        for host in found:
            host.clear()
            _try(f"{_ip()} netns del {host.namespace}")
        _try(f"{_ip()} link del {_BRIDGE}")


def _make(found: Sequence[TestHost], rate: str | None) -> None:
    try:
        _run(f"{_ip()} link add {_BRIDGE} type bridge")
        _run(f"{_ip()} addr add {SERVER_IP}/24 dev {_BRIDGE}")
        _run(f"{_ip()} link set {_BRIDGE} up")
        for number, host in enumerate(found):
            _set_up(host, f"dmfv{number}", rate)
    except RuntimeError as error:
        raise Missing(f"hosts cannot be made here: {error}") from error


def _set_up(host: TestHost, link: str, rate: str | None) -> None:
    name, (ip, tc, sysctl) = host.namespace, [needed(*pair) for pair in _PROGRAMS]
    _run(f"{ip} netns add {name}")
    _run(f"{ip} link add {link} type veth peer name eth0 netns {name}")
    _run(f"{ip} link set {link} master {_BRIDGE} up")
    _run(f"{ip} -n {name} addr add {host.ip}/24 dev eth0")
    _run(f"{ip} -n {name} link set eth0 up")
    _run(f"{ip} -n {name} link set lo up")
    _run(f"{ip} netns exec {name} {sysctl} -qw net.ipv4.tcp_congestion_control=reno")
    if rate is not None:
        shape = f"root tbf rate {rate} burst {_BURST} latency {_QUEUE}"
        _run(f"{tc} qdisc add dev {link} {shape}")
        _run(f"{tc} -n {name} qdisc add dev eth0 {shape}")


def _ip() -> str:
    return needed("ip", "iproute2")


def _run(command: str) -> None:
    done = _try(command)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stderr.strip()}")


def _try(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command.split(), capture_output=True, text=True, check=False)
