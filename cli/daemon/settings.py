"""What a dfdaemon is to do, decided before anything runs: flag, environment, file, default."""

from __future__ import annotations

from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ...engine.records import dataclass
from ...net.dfdaemon.settings import (
    DEFAULT_PORT,
    AllowedUpstream,
    AuthCheck,
    BasicAuth,
    Bounds,
    DaemonSettings,
    Hijack,
    HijackHost,
    Mirror,
    NamedMirror,
    ProxyRule,
)
from ..config_file import choice
from ..settings import LOCAL_NODE, absolute, answers, by_weight
from ..status import ExitError, ExitStatus
from .dfget_flags import Meant, meant
from .keys import DAEMON_KEYS
from .older import older_mirrors, older_notes, older_rules
from .values import CodedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ...engine.ids import NodeAddress
    from ..values import WeightedNode
    from .options import DaemonFlags

DAEMON_FILE: Final = Path("/etc/dragonfly/dfdaemon.yml")


@dataclass(frozen=True, slots=True)
class DaemonChoice:
    """What flags, environment and file say; what is left out, nobody said.

    Mappings have the fields of the class of that name, ``older`` those of earlier versions.
    """

    mirror: Mapping[str, Any] = field(default_factory=dict[str, Any])
    mirrors: Sequence[Mapping[str, Any]] = ()
    ns_upstreams: bool = True
    dynamic: bool = False
    proxies: Sequence[Mapping[str, Any]] = ()
    hijack: Mapping[str, Any] = field(default_factory=dict[str, Any])
    auth_check: AuthCheck = AuthCheck.ORIGIN
    whitelist: Sequence[Mapping[str, Any]] = ()
    basic_auth: Mapping[str, Any] = field(default_factory=dict[str, Any])
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    cert_pem: str = ""
    key_pem: str = ""
    nodes: Sequence[WeightedNode] = ()
    rate_limit: int = 0
    local_ip: str = ""
    peer_port: int = 0
    dfpath: str = ""
    dfget_flags: tuple[str, ...] = ()
    work_home: str = ""
    local_repo: str = ""
    verbose: bool = False
    log: Mapping[str, Any] = field(default_factory=dict[str, Any])
    bounds: Mapping[str, Any] = field(default_factory=dict[str, Any])
    older: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Told:
    """The settings, how to log, and what the operator should know about what was written."""

    settings: DaemonSettings
    verbose: bool
    log: Mapping[str, Any]
    notes: tuple[str, ...]


def daemon_choice(
    flags: DaemonFlags, environ: Mapping[str, str], usual: Path = DAEMON_FILE
) -> DaemonChoice:
    """Return what was chosen; ``usual`` is read if it exists and ``flags`` name no file.

    Raises ``ConfigError``.
    """
    file = absolute(flags.config) if flags.config else usual
    exists = bool(flags.config) or usual.exists()
    return choice(DaemonChoice, DAEMON_KEYS, flags, environ, file if exists else None)


def daemon_settings(
    flags: DaemonFlags,
    chosen: DaemonChoice,
    *,
    is_there: Callable[[NodeAddress], bool] = answers,
) -> Told:
    """Return how the daemon is to run; raises ``ConfigError`` and ``ExitError``."""
    home = _work_home(chosen.work_home)
    flagged = Meant() if chosen.dfpath else meant(chosen.dfget_flags)
    named = chosen.nodes or chosen.older.get("node", ()) or flagged.nodes
    nodes = by_weight(named)
    settings = DaemonSettings(
        work_home=home,
        local_repo=_local_repo(chosen.local_repo, home),
        host=chosen.host,
        port=chosen.port,
        cert_pem=_path(chosen.cert_pem),
        key_pem=_path(chosen.key_pem),
        registry_mirror=Mirror(**_trust(chosen.mirror)),
        mirrors=(*map(_named_mirror, chosen.mirrors), *older_mirrors(flags, chosen.older)),
        ns_upstreams=chosen.ns_upstreams,
        dynamic=chosen.dynamic,
        proxies=(*[_entry(ProxyRule, one) for one in chosen.proxies], *older_rules(flags)),
        hijack_https=_hijack(chosen.hijack),
        whitelist=tuple([_entry(AllowedUpstream, one) for one in chosen.whitelist]),
        basic_auth=_basic_auth(chosen.basic_auth),
        auth_check=chosen.auth_check,
        supernodes=nodes or ((LOCAL_NODE,) if is_there(LOCAL_NODE) else ()),
        local_ip=chosen.local_ip or flagged.ip,
        peer_port=chosen.peer_port or flagged.port,
        rate_bytes_per_s=chosen.rate_limit or flagged.rate_bytes_per_s,
        dropped=(*chosen.older.get("urlfilter", ()), *flagged.dropped),
        dfpath=_path(chosen.dfpath),
        dfget_flags=chosen.dfget_flags,
        bounds=replace(Bounds(), **chosen.bounds),
    )
    notes = (*older_notes(flags, chosen.older), *flagged.notes)
    return Told(settings, chosen.verbose or flagged.verbose, chosen.log, notes)


def _work_home(named: str) -> Path:
    if named:
        return absolute(named)
    try:
        return Path.home() / ".small-dragonfly"
    except RuntimeError as error:
        text = f"the home directory of this user is unknown ({error}): name one with --workHome"
        raise ExitError(text, ExitStatus.NO_HOME) from error


def _local_repo(named: str, home: Path) -> Path:
    if not named:
        return home / "dfdaemon" / "data"
    if not Path(named).is_absolute():
        text = f"localrepo {named!r}: expected an absolute path"
        raise CodedError(text, ExitStatus.REPO_NOT_ABSOLUTE)
    return Path(named)


def _path(named: str) -> Path | None:
    return absolute(named) if named else None


def _trust(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields with paths where the file has names of certificates."""
    return {**said, "certs": tuple([absolute(name) for name in said.get("certs", ())])}


def _named_mirror(said: Mapping[str, Any]) -> NamedMirror:
    fields = _trust(said)
    chosen_by = {name: fields.pop(name) for name in ("regx", "path") if name in fields}
    if not fields.get("remote"):
        raise CodedError("mirrors: an entry has no remote: name its URL", ExitStatus.BAD_CONFIG)
    return NamedMirror(Mirror(**fields), **chosen_by)


def _hijack(said: Mapping[str, Any]) -> Hijack | None:
    cert, key = _path(said.get("cert", "")), _path(said.get("key", ""))
    hosts = tuple([_entry(HijackHost, _trust(host)) for host in said.get("hosts", ())])
    if cert is None and key is None and not hosts:
        return None
    if cert is None or key is None:
        text = "hijack_https: cert and key go together; dfdaemon gen-ca makes both"
        raise CodedError(text, ExitStatus.BAD_CONFIG)
    return Hijack(cert, key, hosts)


def _basic_auth(said: Mapping[str, Any]) -> BasicAuth | None:
    user, password = said.get("user", ""), said.get("password", "")
    if not user and not password:
        return None
    if not user or not password:
        text = "basicAuth: username and password go together"
        raise CodedError(text, ExitStatus.BAD_CONFIG)
    return BasicAuth(user, password)


def _entry(form: Callable[..., Any], said: Mapping[str, Any]) -> Any:
    if form in (ProxyRule, HijackHost) and not said.get("regx"):
        what = "proxies" if form is ProxyRule else "hijack_https.hosts"
        raise CodedError(f"{what}: an entry has no regx", ExitStatus.BAD_CONFIG)
    return form(**said)
