"""What a program is to do, decided before anything runs: flag, else file, else default."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from ..engine.effects import NodeAddress
from ..engine.errors import ConfigError
from ..engine.ids import sign
from ..engine.piece import PieceSizePolicy
from .config_file import SupernodeFile, read_dfget_file, read_supernode_file
from .status import ExitError, ExitStatus
from .values import file_name_of, parse_url, suggestion, version

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from ..net.fetch import FetchRequest
    from ..net.peer_server import PeerServerConfig
    from ..net.supernode import SupernodeSettings
    from .options import FetchFlags, ServerFlags, SupernodeFlags
    from .values import WeightedNode

T = TypeVar("T")

DFGET_FILE: Final = Path("/etc/dragonfly/dfget.yml")
SUPERNODE_FILE: Final = Path("/etc/dragonfly/supernode.yml")
LOCAL_NODE: Final = NodeAddress("127.0.0.1")
V1_SUPERNODE_HOME: Final = Path("/home/admin/supernode")
_PATTERNS: Final = ("p2p", "cdn", "source")
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
    rng: Random,
    *,
    file: Path = DFGET_FILE,
    is_there: Callable[[NodeAddress], bool] = answers,
) -> FetchRequest:
    """Return what dfget is to do; raises ``ConfigError``.

    Without supernodes in flags or ``file`` the local one is used: if it ``is_there``, or if going
    back to the source is forbidden, so that the failure names it.
    """
    _check_consistent(flags)
    url = parse_url(flags.url)
    target = _target(flags.output or file_name_of(url))
    found = read_dfget_file(file)
    nodes = in_weighted_order(flags.node or found.nodes, rng)
    if not nodes and flags.pattern != "source" and (flags.notbs or is_there(LOCAL_NODE)):
        nodes = (LOCAL_NODE,)

    from ..net.fetch import FetchRequest, Pattern

    return FetchRequest(
        url=url,
        target=target,
        home=work_home(flags.home or found.work_home),
        sign=sign(os.getpid(), time.time()),
        nodes=nodes,
        pattern=Pattern(flags.pattern),
        md5=flags.md5,
        identifier="" if flags.md5 else flags.identifier,
        dropped=flags.filter,
        headers=tuple(flags.header),
        back_to_source=not flags.notbs,
        local_limit_bytes_per_s=_first(0, flags.locallimit, found.local_limit),
        total_limit_bytes_per_s=_first(0, flags.totallimit, found.total_limit),
        timeout_s=flags.timeout,
        alive_s=flags.alivetime,
        expire_s=flags.expiretime,
        ip=flags.ip,
        port=flags.port,
        insecure=flags.insecure,
        verbose=flags.verbose,
    )


def in_weighted_order(nodes: Sequence[WeightedNode], rng: Random) -> tuple[NodeAddress, ...]:
    """Return each supernode once, in random order, the heavier ones more often in front.

    This spreads the hosts of a fleet over its supernodes in proportion to the weights.
    """
    weights: dict[NodeAddress, int] = {}
    for node in nodes:
        weights[node.address] = weights.get(node.address, 0) + node.weight
    # Efraimidis and Spirakis: the largest of u ** (1 / w) is a draw in proportion to w.
    draws = {address: rng.random() ** (1 / weight) for address, weight in weights.items()}
    return tuple(sorted(draws, key=lambda address: draws[address], reverse=True))


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
        meta_path=_absolute(flags.meta) if flags.meta else home.meta_path,
        policy=UploadPolicy(
            data_dir=str(_absolute(flags.data) if flags.data else home.data_dir),
            version=version(),
            expire_s=flags.expiretime,
            alive_s=flags.alivetime,
        ),
    )


def supernode_settings(
    flags: SupernodeFlags, *, file: Path = SUPERNODE_FILE, v1_home: Path = V1_SUPERNODE_HOME
) -> SupernodeSettings:
    """Return how the supernode is to run; raises ``ConfigError``."""
    if flags.config or file.exists():
        found = read_supernode_file(_absolute(flags.config) if flags.config else file)
    else:
        found = SupernodeFile()
    home = flags.home_dir or found.home_dir

    from ..net.supernode import SupernodeSettings

    return SupernodeSettings(
        home=_absolute(home) if home else _supernode_home(v1_home),
        port=_first(8002, flags.port, found.port),
        download_port=_first(8001, flags.download_port, found.download_port),
        advertise_ip=flags.advertise_ip or found.advertise_ip,
        record_dir=_absolute(flags.record) if flags.record else None,
        piece_size_policy=_first(PieceSizePolicy.ADAPTIVE, found.piece_size_policy),
        up_slots=_first(2, found.up_slots),
        down_slots=_first(2, found.down_slots),
    )


def work_home(named: str) -> Path:
    """Return the work home of dfget; raises ``ExitError`` if nobody knows the user's."""
    return _absolute(named) if named else _home() / ".small-dragonfly"


# --- flags ----------------------------------------------------------------------------------------


def _check_consistent(flags: FetchFlags) -> None:
    if not flags.url:
        raise ConfigError("no URL given: say what to download with -u URL")
    if flags.pattern not in _PATTERNS:
        near = suggestion(flags.pattern, _PATTERNS)
        raise ConfigError(f"unknown pattern {flags.pattern!r}{near}")
    if flags.pattern == "source" and flags.notbs:
        raise ConfigError(
            "-p source downloads from the source, --notbs forbids it: leave one of them out"
        )
    if flags.json and flags.console:
        raise ConfigError("--json and --console both want the standard output: leave one out")


def _target(output: str) -> Path:
    target = _absolute(output)
    if output.endswith("/") or target.is_dir():
        raise ConfigError(f"output {output!r} is a directory: give the name of a file in it")
    return target


def _absolute(path: str) -> Path:
    try:
        return Path(path).expanduser().absolute()
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"path {path!r} leads nowhere: {error}; give an absolute one") from error


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


def _first(default: T, *wishes: T | None) -> T:
    return next((wish for wish in wishes if wish is not None), default)
