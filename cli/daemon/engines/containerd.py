"""containerd: one ``hosts.toml`` for each registry, which it reads anew for each pull."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ....engine.errors import ConfigError
from .plan import Change, Plan
from .proxying import service_plan
from .toml import parse_toml, table_at, toml_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .plan import Files, Upstream, Wanted

_SETTINGS: Final = "/etc/containerd/config.toml"
_CERTS: Final = "/etc/containerd/certs.d"
_PLUGINS: Final = {2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.images"}
_RESTART: Final = "systemctl restart containerd"


def containerd_mirror(wanted: Wanted, files: Files) -> Plan:
    """Return the plan that puts the daemon before the registries.

    Whatever has no folder of its own comes by ``_default``, and says with ``?ns=`` what it is.
    Raises ``ConfigError`` if containerd's settings cannot be understood or contradict this.
    """
    settings, folder = _with_hosts(files)
    changes = [_hosts(files, folder, None, wanted.url)]
    changes += [_hosts(files, folder, one, wanted.url) for one in wanted.upstreams]
    is_new = settings.text != files.read(_SETTINGS)
    return Plan((settings, *changes), (_RESTART,) if is_new else ())


def containerd_proxy(wanted: Wanted, files: Files) -> Plan:
    """Return the plan that makes containerd pull through the daemon; raises ``ConfigError``."""
    settings, folder = _with_hosts(files)
    service = service_plan(wanted, "containerd", folder)
    return Plan((settings, *service.changes, *_trusting(wanted, files, folder)), service.then)


def _with_hosts(files: Files) -> tuple[Change, str]:
    """Return containerd's settings with a folder for registries, and which folder that is."""
    text = files.read(_SETTINGS)
    document = parse_toml(_SETTINGS, text)
    version = int(document.setdefault("version", 2 if not text.strip() else 1))
    if (plugin := _PLUGINS.get(version)) is None:
        known = "expected version = 2 or version = 3"
        raise ConfigError(
            f"{_SETTINGS} is of version {version}: {known}; containerd config migrate"
        )
    registry = table_at(document, "plugins", plugin, "registry")
    if folders := str(registry.get("config_path", "")):
        return Change(_SETTINGS, text), folders.partition(":")[0]
    if inline := [name for name in ("mirrors", "configs") if registry.get(name)]:
        raise ConfigError(
            f"{_SETTINGS} has registry.{inline[0]}, which excludes {_CERTS}: move it there first"
        )
    registry["config_path"] = _CERTS
    return Change(_SETTINGS, toml_text(document)), _CERTS


def _hosts(files: Files, folder: str, upstream: Upstream | None, url: str) -> Change:
    path = f"{folder}/{upstream.name if upstream else '_default'}/hosts.toml"
    text = files.read(path)
    document = parse_toml(path, text)
    if next(iter(document.get("host", {})), None) == url:
        return Change(path, text)
    if upstream is not None:
        document.setdefault("server", upstream.server)
    before: dict[str, Any] = document.pop("host", {})
    ours = table_at(document, "host", url)
    ours.update(before.pop(url, None) or {"capabilities": ["pull", "resolve"]})
    for name, settings in before.items():
        document["host"][name] = settings
    return Change(path, toml_text(document))


def _trusting(wanted: Wanted, files: Files, folder: str) -> Iterator[Change]:
    for upstream in wanted.upstreams:
        path = f"{folder}/{upstream.name}/hosts.toml"
        document = parse_toml(path, files.read(path))
        document.setdefault("server", upstream.server)
        certificate = f"{folder}/{upstream.name}/dfdaemon.crt"
        known: Any = document.get("ca", [])
        others = [known] if isinstance(known, str) else list(known)
        document["ca"] = [certificate, *[one for one in others if one != certificate]]
        yield Change(path, toml_text(document))
