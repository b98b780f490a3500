"""``dfdaemon init``: prints or installs the settings by which an engine uses this daemon."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from ...engine.errors import ConfigError
from .engines.containerd import containerd_mirror, containerd_proxy
from .engines.containers import crio_mirror, crio_proxy, podman_mirror, podman_proxy
from .engines.docker import docker_mirror, docker_proxy
from .engines.plan import Files, Plan, Upstream, Wanted
from .options import MODES, DaemonFlags
from .settings import daemon_choice, daemon_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ...net.dfdaemon.settings import DaemonSettings, Mirror
    from .options import InitFlags

_PLANS: Final[dict[tuple[str, str], Callable[[Wanted, Files], Plan]]] = {
    ("docker", "mirror"): docker_mirror,
    ("docker", "proxy"): docker_proxy,
    ("containerd", "mirror"): containerd_mirror,
    ("containerd", "proxy"): containerd_proxy,
    ("podman", "mirror"): podman_mirror,
    ("podman", "proxy"): podman_proxy,
    ("crio", "mirror"): crio_mirror,
    ("crio", "proxy"): crio_proxy,
}
_HUB_HOSTS: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_HUB_SERVER: Final = "https://registry-1.docker.io"
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_PLAIN_HOST: Final = re.compile(r"\^?([A-Za-z0-9.-]+(?::[0-9]+)?)\$?")


def init_engine(flags: InitFlags) -> Iterator[str]:
    """Yield what to tell the operator; with ``flags.write`` the files are changed first.

    Raises ``ConfigError``.
    """
    if flags.mode not in MODES:
        raise ConfigError(f"unknown mode {flags.mode!r}: expected {' or '.join(MODES)}")
    files = Files(Path(flags.root))
    plan = _PLANS[flags.word, flags.mode](_wanted(flags), files)
    for change in plan.changes:
        if flags.write:
            yield files.write(change)
        else:
            yield f"# {change.path}\n{change.text}"
    for command in plan.then:
        yield f"then: {command}"
    for note in plan.notes:
        yield f"note: {note}"


def _wanted(flags: InitFlags) -> Wanted:
    plain = DaemonFlags(config=flags.config)
    chosen = daemon_choice(plain, os.environ)
    settings = daemon_settings(plain, chosen, is_there=lambda _: False).settings
    url = _url(settings)
    if flags.mode == "proxy":
        authority = _authority(settings)
        return Wanted(url, tuple(_intercepted(flags, settings)), authority=authority)
    known = {upstream.name: upstream for upstream in _mirrored(settings)}
    names = flags.registry or list(known)
    return Wanted(url, tuple([known.get(name) or _unlisted(name) for name in names]))


def _url(settings: DaemonSettings) -> str:
    host = _EVERYWHERE.get(settings.host, settings.host)
    scheme = "http" if settings.cert_pem is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}"


def _mirrored(settings: DaemonSettings) -> Iterator[Upstream]:
    yield _upstream(settings.registry_mirror, is_default=True)
    for named in settings.mirrors:
        yield _upstream(named.mirror)


def _upstream(mirror: Mirror, *, is_default: bool = False) -> Upstream:
    host = urlsplit(mirror.remote).netloc.rpartition("@")[2]
    if host in _HUB_HOSTS:
        return Upstream("docker.io", _HUB_SERVER, is_default)
    return Upstream(host, f"{urlsplit(mirror.remote).scheme}://{host}", is_default)


def _unlisted(name: str) -> Upstream:
    return Upstream(name, _HUB_SERVER if name == "docker.io" else f"https://{name}")


def _intercepted(flags: InitFlags, settings: DaemonSettings) -> Iterator[Upstream]:
    hosts = settings.hijack_https.hosts if settings.hijack_https else ()
    plain = [_PLAIN_HOST.fullmatch(host.regx.replace("\\.", ".")) for host in hosts]
    names = flags.registry or [found[1].removesuffix(":443") for found in plain if found]
    if not names:
        raise ConfigError(
            "which registries are intercepted cannot be told from hijack_https.hosts: name them"
            " with --registry"
        )
    for name in names:
        yield _unlisted(name)


def _authority(settings: DaemonSettings) -> str:
    if settings.hijack_https is None:
        raise ConfigError(
            "proxy mode needs a CA that the engine trusts: make one with dfdaemon gen-ca and set"
            " hijack_https in dfdaemon.yml"
        )
    path = settings.hijack_https.cert
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the CA {path}: {error}") from error
