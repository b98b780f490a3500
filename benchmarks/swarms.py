"""One file to many hosts at once, by damselfly and by a web server: what each run took."""

from __future__ import annotations

import json
import urllib.request
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, cast

from . import servers
from .hosts import SERVER_IP
from .machine import cpu_seconds, needed
from .racing import Run, race, verify
from .servers import PYTHON

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .hosts import TestHost
    from .servers import Server

_STALL_S: Final = 120.0


def damselfly(
    hosts: Sequence[TestHost], file: Path, folder: Path, *, flags: Sequence[str] = ()
) -> Run:
    """Run a supernode that has not seen the file, and a dfget with a peer server on each host.

    ``flags`` are more of dfget's, such as those that choose a form of the protocol.
    """
    with ExitStack() as stack:
        origin = stack.enter_context(servers.nginx(folder / "nginx", file.parent, SERVER_IP))
        node = stack.enter_context(servers.supernode(folder / "supernode", ip=SERVER_IP))
        commands = [
            host.command(
                [
                    *(*PYTHON, "damselfly.cli.dfget", "-u", f"http://{origin}/{file.name}"),
                    *("-o", str(folder / f"out-{host.ip}"), "-n", str(node)),
                    *("--home", str(folder / f"home-{host.ip}"), "--json", *flags),
                ]
            )
            for host in hosts
        ]
        before_s = _spent(node, origin)
        ended = race(commands, folder)
        giving_cpu_s = sum(cpu_seconds(pid) for host in hosts for pid in host.pids())
        stats = stats_of(node)
        server_cpu_s = _spent(node, origin) - before_s
        for host in hosts:
            host.clear()
    verify([folder / f"out-{host.ip}" for host in hosts], file)
    return Run(
        seconds=ended.seconds,
        server_bytes=stats["upload_bytes"],
        origin_bytes=stats["origin_bytes"],
        host_cpu_s=ended.cpu_s + giving_cpu_s,
        giving_cpu_s=giving_cpu_s,
        server_cpu_s=server_cpu_s,
        machine_cpu_s=ended.machine_cpu_s,
    )


def curl(hosts: Sequence[TestHost], file: Path, folder: Path, *, is_checked: bool = True) -> Run:
    """Have each host fetch the file from nginx: what a server without limits would be worth.

    That the hosts hash what they get is part of their time, unless it is not ``is_checked``.
    """
    program, check = needed("curl", "curl"), needed("sha256sum", "coreutils")
    script = f"{program} -sfo $0 $1" + (f" && {check} $0" if is_checked else "")
    with servers.nginx(folder / "nginx", file.parent, SERVER_IP) as server:
        url = f"http://{server}/{file.name}"
        commands = [
            host.command(["/bin/sh", "-c", script, str(folder / f"out-{host.ip}"), url])
            for host in hosts
        ]
        before_s = _spent(server)
        ended = race(commands, folder)
        server_cpu_s = _spent(server) - before_s
    verify([folder / f"out-{host.ip}" for host in hosts], file)
    size = file.stat().st_size
    return Run(
        seconds=ended.seconds,
        server_bytes=size * len(hosts),
        origin_bytes=size * len(hosts),
        host_cpu_s=ended.cpu_s,
        giving_cpu_s=None,
        server_cpu_s=server_cpu_s,
        machine_cpu_s=ended.machine_cpu_s,
    )


def stats_of(node: Server) -> dict[str, int]:
    """Return what a supernode tells of itself: its tasks, bytes from the origin, bytes sent."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{node}/damselfly/stats", timeout=_STALL_S) as reply:
        return cast("dict[str, int]", json.load(reply))


def _spent(*running: Server) -> float:
    return sum(cpu_seconds(server.pid) for server in running)
