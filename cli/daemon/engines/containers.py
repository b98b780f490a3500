"""podman, buildah, skopeo and CRI-O: drop-ins for ``registries.conf`` and ``containers.conf``.

A registry that a drop-in names is as that drop-in says, whatever stands elsewhere; so what stands
elsewhere is repeated in ours, behind the daemon.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import tomlkit

from .plan import Change, Plan
from .proxying import environment, service_plan, trusted
from .toml import parse_toml, table_at, toml_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .plan import Files, Upstream, Wanted

_CERTS: Final = "/etc/containers/certs.d"
_OURS: Final = "50-dfdaemon.conf"


def podman_mirror(wanted: Wanted, files: Files) -> Plan:
    """Return the plan that puts the daemon before the registries; raises ``ConfigError``."""
    return _mirror("podman", wanted, files)


def crio_mirror(wanted: Wanted, files: Files) -> Plan:
    """Return the same for CRI-O, which has to be told to look; raises ``ConfigError``."""
    return _mirror("CRI-O", wanted, files, ("systemctl reload crio",))


def podman_proxy(wanted: Wanted, files: Files) -> Plan:
    """Return the plan that makes podman pull through the daemon; raises ``ConfigError``."""
    document, ours = tomlkit.document(), environment(wanted)
    kept: list[str] = []
    for path in _files(files, "/etc/containers/containers.conf"):
        found = parse_toml(path, files.read(path))
        kept = list(table_at(found, "engine").get("env", kept))
    names = {one.partition("=")[0] for one in ours}
    others = [one for one in kept if one.partition("=")[0] not in names]
    table_at(document, "engine")["env"] = [*ours, *others]
    path = f"/etc/containers/containers.conf.d/{_OURS}"
    return Plan((Change(path, toml_text(document)), *trusted(wanted, _CERTS)))


def crio_proxy(wanted: Wanted, files: Files) -> Plan:
    """Return the plan that makes CRI-O pull through the daemon."""
    del files
    return service_plan(wanted, "crio", _CERTS)


def _mirror(engine: str, wanted: Wanted, files: Files, then: tuple[str, ...] = ()) -> Plan:
    known = {str(one.get("prefix", one.get("location"))): one for one in _registries(files)}
    upstreams = [one for one in wanted.upstreams if one.is_default]
    tables = [_registry(one, wanted, known.get(one.name, {})) for one in upstreams]
    path = f"/etc/containers/registries.conf.d/{_OURS}"
    changes = (Change(path, toml_text({"registry": tables})),) if tables else ()
    return Plan(changes, then if tables else (), wanted.only_by_proxy(engine))


def _registry(upstream: Upstream, wanted: Wanted, known: dict[str, Any]) -> Any:
    ours: dict[str, Any] = {"location": wanted.address}
    if wanted.url.startswith("http://"):
        ours["insecure"] = True
    table = tomlkit.table()
    for name, value in ({"location": upstream.name} | known).items():
        if name != "mirror":
            table[name] = value
    others = [one for one in known.get("mirror", []) if one.get("location") != wanted.address]
    table["mirror"] = tomlkit.aot()
    for one in (ours, *others):
        table["mirror"].append(tomlkit.item(one))
    return table


def _registries(files: Files) -> Iterator[dict[str, Any]]:
    """Yield the entries of all files in the order in which they count, the last one most."""
    for path in _files(files, "/etc/containers/registries.conf"):
        yield from parse_toml(path, files.read(path)).get("registry", [])


def _files(files: Files, path: str) -> Iterator[str]:
    """Yield a file and its drop-ins, without ours."""
    yield path
    for name in files.names(f"{path}.d"):
        if name.endswith(".conf") and name != _OURS:
            yield f"{path}.d/{name}"
