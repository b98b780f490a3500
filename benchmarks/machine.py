"""The machine under the figures, a loopback that is fit to be measured on, and CPU clocks."""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import shutil
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CONGESTION: Final = Path("/proc/sys/net/ipv4/tcp_congestion_control")
_CLONE_NEWNET: Final = 0x40000000
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1


class Missing(Exception):
    """A program that a benchmark needs is not installed; the text names it."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What the figures depend on; ``load`` is the load average of the minute before."""

    cpu: str
    cores: int
    kernel: str
    python: str
    congestion: str
    load: float

    def __str__(self) -> str:
        return (
            f"{self.cores} cores of {self.cpu}, Linux {self.kernel}, Python {self.python}, "
            f"TCP {self.congestion}, load before {self.load:.1f}"
        )


def this_machine() -> Machine:
    """Describe the machine as it is now."""
    return Machine(
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0)),
        kernel=platform.release(),
        python=platform.python_version(),
        congestion=_CONGESTION.read_text().strip(),
        load=os.getloadavg()[0],
    )


def settle() -> None:
    """Move this process, and its children to come, to a loopback of their own with TCP Reno.

    BBR, the default of some kernels, paces packets, which makes loopback swing threefold from
    run to run.  Without the right to do this everything stays as it is.
    """
    if ctypes.CDLL(None).unshare(_CLONE_NEWNET) != 0:
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        fcntl.ioctl(probe, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
    if os.access(_CONGESTION, os.W_OK):
        _CONGESTION.write_text("reno\n")


def needed(program: str, package: str) -> str:
    """Return the path of ``program``; raises ``Missing`` naming the Debian ``package``."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if path is None:
        raise Missing(f"{program} is missing (Debian package {package})")
    return path


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that all threads of a process have used so far, the ended ones too."""
    return time.clock_gettime(~pid << 3 | 2)  # clock_getcpuclockid(3)


def resident_bytes(pid: int) -> int:
    """Return how much of a process' memory is in RAM."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def busy_seconds() -> float:
    """Return the CPU time that the whole machine has spent so far on anything, in the kernel too.

    Hosts that are namespaces have their packets handled by the kernel at nobody's expense: no
    process' clock has that.
    """
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _idle, _iowait, interrupts, softly = map(int, fields[:7])
    return (user + nice + system + interrupts + softly) / os.sysconf("SC_CLK_TCK")


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
