"""Proxy mode, which is much the same for all engines: environment, and a CA to trust."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .plan import Change, Plan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .plan import Wanted

NO_PROXY = "localhost,127.0.0.1,::1"


def environment(wanted: Wanted) -> tuple[str, ...]:
    """Return the variables by which Go programs use a proxy, as ``NAME=value``."""
    return (f"HTTP_PROXY={wanted.url}", f"HTTPS_PROXY={wanted.url}", f"NO_PROXY={NO_PROXY}")


def service_plan(wanted: Wanted, service: str, certs: str) -> Plan:
    """Return the plan for an engine that systemd runs; ``certs`` has a folder for each registry."""
    lines = ["[Service]", *[f'Environment="{one}"' for one in environment(wanted)], ""]
    drop_in = Change(f"/etc/systemd/system/{service}.service.d/dfdaemon.conf", "\n".join(lines))
    return Plan(
        (drop_in, *trusted(wanted, certs)),
        ("systemctl daemon-reload", f"systemctl restart {service}"),
    )


def trusted(wanted: Wanted, certs: str) -> Iterator[Change]:
    """Yield the files by which clients trust the CA for these registries and no others."""
    for upstream in wanted.upstreams:
        yield Change(f"{certs}/{upstream.name}/dfdaemon.crt", wanted.authority)
