"""What a program is to do, decided before anything runs: flag, else file, else default."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..engine.config import SupernodeConfig
from ..engine.errors import ConfigError
from ..engine.ids import NodeAddress, sign
from .config_file import SUPERNODE_FILE
from .options import PATTERNS
from .status import ExitError, ExitStatus
from .values import file_name_of, parse_url, version

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..net.peer_server import PeerServerConfig
    from ..net.request import FetchRequest
    from ..net.supernode import SupernodeSettings
    from .config_file import DfgetChoice, SupernodeChoice
    from .options import FetchFlags, ServerFlags, SupernodeFlags
    from .values import WeightedNode

LOCAL_NODE: Final = NodeAddress("127.0.0.1")
V1_SUPERNODE_HOME: Final = Path("/home/admin/supernode")
_PROBE_S: Final = 0.3


def answers(node: NodeAddress) -> bool:
    """Tell whether something accepts connections at ``node``; takes at most 0.3 s."""
    import socket

    try:
        socket.create_connection((node.host, node.port), _PROBE_S).close()
    except OSError:
        return False
    return True


def fetch_request(
    flags: FetchFlags,
    chosen: DfgetChoice,
    *,
    is_there: Callable[[NodeAddress], bool] = answers,
) -> FetchRequest:
    """Return what dfget is to do; raises ``ConfigError``.

    An unknown pattern is as good as ``cdn`` (protocol 4.3).
    Without supernodes among what was ``chosen`` the local one is used: if it ``is_there``, or if
    going back to the source is forbidden, so that the failure names it.
    """
    _check_consistent(flags)
    url = parse_url(flags.url)
    target = _target(flags.output or file_name_of(url))
    nodes = by_weight(chosen.nodes)
    if not nodes and flags.pattern != "source" and (flags.notbs or is_there(LOCAL_NODE)):
        nodes = (LOCAL_NODE,)

    from ..net.request import FetchRequest, Pattern

    return FetchRequest(
        url=url,
        target=target,
        home=work_home(chosen.work_home),
        sign=sign(os.getpid(), time.time()),
        nodes=nodes,
        pattern=Pattern(flags.pattern if flags.pattern in PATTERNS else Pattern.CDN),
        native=flags.protocol != "v1",
        md5=flags.md5,
        sha256=flags.digest,
        identifier="" if flags.md5 else flags.identifier,
        call_system=flags.callsystem,
        dfdaemon=flags.dfdaemon,
        dropped=flags.filter,
        headers=tuple(flags.header),
        back_to_source=not flags.notbs,
        local_limit_bytes_per_s=chosen.local_limit,
        total_limit_bytes_per_s=chosen.total_limit,
        pieces_at_once=chosen.pieces_at_once,
        timeout_s=flags.timeout,
        min_rate_bytes_per_s=chosen.min_rate,
        alive_s=flags.alivetime,
        expire_s=flags.expiretime,
        ip=flags.ip,
        port=flags.port,
        insecure=flags.insecure,
        root_cas=tuple([_root_ca(path) for path in flags.cacerts]),
        version=chosen.compat_version,
        verbose=flags.verbose,
    )


def batch_requests(
    flags: FetchFlags,
    chosen: DfgetChoice,
    *,
    is_there: Callable[[NodeAddress], bool] = answers,
) -> tuple[FetchRequest, ...]:
    """Return what a dfget with ``--urls`` is to do; raises ``ConfigError``."""
    for name in ("url", "md5", "digest"):
        if getattr(flags, name):
            raise ConfigError(f"--urls and --{name} exclude each other: leave one of them out")

    from .batch import read_wishes, same_target

    wishes, folder = read_wishes(flags.urls), absolute(flags.output or ".")
    targets = [_target(str(folder / (wish.output or file_name_of(wish.url)))) for wish in wishes]
    if (twice := same_target(targets)) is not None:
        raise ConfigError(f"{flags.urls} names {twice} twice: give each URL a file of its own")
    one = replace(flags, url=wishes[0].url, output=str(targets[0]))
    request = fetch_request(one, chosen, is_there=is_there)
    # What tells one process' downloads apart is a time; no two here have the same.
    signs = [sign(os.getpid(), time.time() + 0.001 * number) for number in range(len(wishes))]
    return tuple(
        [
            replace(request, url=parse_url(wish.url), target=target, sign=one_sign)
            for wish, target, one_sign in zip(wishes, targets, signs, strict=True)
        ]
    )


def by_weight(nodes: Sequence[WeightedNode]) -> tuple[NodeAddress, ...]:
    """Return each supernode as often as its weight says, as ``engine.ring`` takes them."""
    weights: dict[NodeAddress, int] = {}
    for node in nodes:
        weights[node.address] = weights.get(node.address, 0) + node.weight
    unit = gcd(*weights.values())
    return tuple([node for node, weight in weights.items() for _ in range(weight // unit)])


def peer_server_config(flags: ServerFlags) -> PeerServerConfig:
    """Return how ``dfget server`` is to run; raises ``ConfigError``."""
    if not flags.ip:
        raise ConfigError("no address to serve on: give one of this host's with --ip")

    from ..engine.uploads import UploadPolicy
    from ..net.peer_meta import WorkHome
    from ..net.peer_server import PeerServerConfig

    home = WorkHome(work_home(flags.home))
    return PeerServerConfig(
        ip=flags.ip,
        port=flags.port,
        meta_path=absolute(flags.meta) if flags.meta else home.meta_path,
        policy=UploadPolicy(
            data_dir=str(absolute(flags.data) if flags.data else home.data_dir),
            version=flags.compat_version or version(),
            expire_s=flags.expiretime,
            alive_s=flags.alivetime,
        ),
    )


def supernode_file(flags: SupernodeFlags, usual: Path = SUPERNODE_FILE) -> Path | None:
    """Return the file to read: the one that was named, else the usual one if it exists."""
    if flags.config:
        return absolute(flags.config)
    return usual if usual.exists() else None


def supernode_settings(
    flags: SupernodeFlags, chosen: SupernodeChoice, *, v1_home: Path = V1_SUPERNODE_HOME
) -> SupernodeSettings:
    """Return how the supernode is to run; raises ``ConfigError``."""
    from ..net.pacing import Bandwidth
    from ..net.recorder import TraceLimits
    from ..net.supernode import SupernodeSettings

    return SupernodeSettings(
        home=absolute(chosen.home_dir) if chosen.home_dir else _supernode_home(v1_home),
        port=chosen.port,
        download_port=chosen.download_port,
        advertise_ip=chosen.advertise_ip,
        record_dir=absolute(chosen.record_dir) if chosen.record_dir else None,
        trace=replace(TraceLimits(), **chosen.trace),
        engine=replace(SupernodeConfig(), **chosen.engine),
        bandwidth=replace(Bandwidth(), **chosen.bandwidth),
        profiles=chosen.profiler or chosen.debug,
    )


def work_home(named: str) -> Path:
    """Return the work home of dfget; raises ``ExitError`` if nobody knows the user's."""
    return absolute(named) if named else _home() / ".small-dragonfly"


def absolute(path: str) -> Path:
    """Return a path that stays right whatever the working directory; raises ``ConfigError``."""
    try:
        return Path(path).expanduser().absolute()
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"path {path!r} leads nowhere: {error}; give an absolute one") from error


# --- flags ----------------------------------------------------------------------------------------


def _check_consistent(flags: FetchFlags) -> None:
    if not flags.url:
        raise ConfigError("no URL given: say what to download with -u URL or --urls LIST")
    if flags.json and flags.console:
        raise ConfigError("--json and --console both want the standard output: leave one out")


def _target(output: str) -> Path:
    target = absolute(output)
    if output.endswith("/") or target.is_dir():
        raise ConfigError(f"output {output!r} is a directory: give the name of a file in it")
    return target


def _root_ca(path: str) -> str:
    """Return the certificates in a PEM file in base64, as supernodes get them (protocol 1.1)."""
    import base64
    import ssl

    try:
        pem = absolute(path).read_bytes()
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem.decode())
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} holds no PEM certificates: {error}") from error
    except OSError as error:
        raise ConfigError(f"cannot read the certificates in {path}: {error.strerror}") from error
    if b"PRIVATE KEY" in pem:
        text = "has a private key, and all of it would be sent to supernodes"
        raise ConfigError(f"{path} {text}: give a file with the certificates alone")
    return base64.b64encode(pem).decode()


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:
        text = f"the home directory of this user is unknown ({error}): name a directory with --home"
        raise ExitError(text, ExitStatus.USER_UNKNOWN) from error


def _supernode_home(v1_home: Path) -> Path:
    """Return Dragonfly's home if it can be used as it is or be made, else one of the user's."""
    nearest = next(folder for folder in (v1_home, *v1_home.parents) if folder.exists())
    if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
        return v1_home
    return _home() / ".damselfly" / "supernode"
