"""The flags of dfdaemon and its commands, those of Dragonfly 0.3.0 to 1.0.6 and a few of ours."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Any, Final

from ...engine.records import dataclass
from ..command import Command, Option
from ..options import WordFlags, completion, config, gen_doc
from ..values import (
    WeightedNode,
    parse_amount,
    parse_duration,
    parse_ip,
    parse_names,
    parse_nodes,
    parse_port,
)
from .values import parse_auth_check, parse_daemon_port, parse_daemon_rate

if TYPE_CHECKING:
    from ...net.dfdaemon.settings import AuthCheck


@dataclass(slots=True)
class DaemonFlags:
    """What ``dfdaemon`` was told; ``None`` or empty: nothing, so that a file may decide."""

    config: str = ""
    host_ip: str = ""
    port: int | None = None
    certpem: str = ""
    keypem: str = ""
    registry: str = ""
    node: list[WeightedNode] = field(default_factory=list[WeightedNode])
    ratelimit: int | None = None
    work_home: str = ""
    localrepo: str = ""
    local_ip: str = ""
    peer_port: int | None = None
    auth_check: AuthCheck | None = None
    dfpath: str = ""
    verbose: bool | None = None
    maxprocs: int | None = None
    stream_mode: bool | None = None
    callsystem: str = ""
    urlfilter: str = ""
    notbs: bool | None = None
    rule: list[str] = field(default_factory=list[str])
    trust_hosts: list[str] = field(default_factory=list[str])


_CONFIG: Final = Option(
    "config", "settings (default: /etc/dragonfly/dfdaemon.yml if it exists)", "FILE"
)

DAEMON_OPTIONS: Final = (
    _CONFIG,
    Option(
        "hostIp",
        "address to listen on; 0.0.0.0 lets other hosts use this one as a proxy (default:"
        " 127.0.0.1)",
        "ADDRESS",
        parse=parse_ip,
    ),
    Option("port", "port to listen on, 0: any (default: 65001)", "PORT", parse=parse_daemon_port),
    Option("certpem", "certificate to listen with; with --keypem the daemon speaks TLS", "FILE"),
    Option("keypem", "private key of --certpem", "FILE"),
    Option("registry", "upstream of the registry mirror (default: https://index.docker.io)", "URL"),
    Option(
        "node",
        "supernodes, as host[:port][=weight],...; may be repeated (default: 127.0.0.1:8002 if one"
        " is there, else no supernode and all from the origin)",
        "NODES",
        parse=parse_nodes,
        action="extend",
    ),
    Option(
        "ratelimit",
        "at most so many bytes per second for all downloads, as 20MB (default: no limit)",
        "RATE",
        parse=parse_daemon_rate,
    ),
    Option("workHome", "logs and content (default: ~/.small-dragonfly)", "DIR"),
    Option(
        "localrepo", "content; an absolute path (default: dfdaemon/data in the work home)", "DIR"
    ),
    Option(
        "localIP",
        "address on which this host serves peers (default: the one that reaches the supernode)",
        "ADDRESS",
        parse=parse_ip,
    ),
    Option("peerPort", "port for peers (default: a free one)", "PORT", parse=parse_port),
    Option(
        "authCheck",
        "who is given content that is already here: whom the origin lets (origin), whom it let"
        " recently (cached), everybody (off) (default: origin)",
        "MODE",
        parse=parse_auth_check,
        words=("origin", "cached", "off"),
    ),
    Option("dfpath", "a dfget to run for each download, instead of downloading in-process", "FILE"),
    Option("verbose", "log more, and show tracebacks"),
    Option(
        "maxprocs", "accepted for old command lines, without effect", "COUNT", parse=parse_amount
    ),
    Option("streamMode", "accepted for old command lines: streams always"),
    Option("callsystem", "of 0.4.0, without effect", "NAME"),
    Option(
        "urlfilter", "of 0.4.0: query parameters that do not tell contents apart, as a&b", "NAMES"
    ),
    Option("notbs", "of 0.4.0, without effect"),
    Option(
        "rule",
        "of 0.3.0: what is found by one of these expressions goes through the swarm",
        "REGEXES",
        parse=parse_names,
        action="extend",
    ),
    Option(
        "trust-hosts",
        "of 0.3.0: hosts that are upstreams under their own names",
        "HOSTS",
        parse=parse_names,
        action="extend",
    ),
)


@dataclass(slots=True)
class CaFlags:
    """What ``gen-ca`` was told; ``common_name`` empty: this host's name."""

    common_name: str = ""
    expire_duration: float = 87600 * 3600.0
    key_output: str = "/tmp/ca.key"
    cert_output: str = "/tmp/ca.crt"
    overwrite: bool = False


CA_OPTIONS: Final = (
    Option("common-name", "of the authority (default: this host's name)", "NAME"),
    Option(
        "expire-duration", "it is good for so long (default: 87600h)", "TIME", parse=parse_duration
    ),
    Option("key-output", "where to put the private key (default: /tmp/ca.key)", "FILE"),
    Option("cert-output", "where to put the certificate (default: /tmp/ca.crt)", "FILE"),
    Option("overwrite", "replace these files if they exist"),
)


@dataclass(slots=True)
class InitFlags:
    """What ``init`` was told; ``word`` is the engine."""

    word: str = ""
    mode: str = "mirror"
    registry: list[str] = field(default_factory=list[str])
    write: bool = False
    root: str = "/"
    config: str = ""


ENGINES: Final = ("docker", "containerd", "podman", "crio")
MODES: Final = ("mirror", "proxy")
INIT_OPTIONS: Final = (
    Option(
        "mode",
        "mirror: the engine asks this daemon before the registry; proxy: it asks through this"
        " daemon, which needs hijack_https with a CA (default: mirror)",
        "MODE",
        words=MODES,
    ),
    Option(
        "registry",
        "registries this is for, as the engine calls them (docker.io,ghcr.io); may be repeated"
        " (default: those of dfdaemon.yml)",
        "NAMES",
        parse=parse_names,
        action="extend",
    ),
    Option("write", "change the files instead of printing them; what was there is kept"),
    Option("root", "the file system's root, for images and tests (default: /)", "DIR"),
    _CONFIG,
)

DFDAEMON: Final = Command(
    "dfdaemon",
    "Let container engines and other HTTP clients of this host pull through the swarm.",
    DAEMON_OPTIONS,
    DaemonFlags,
    epilog="other commands: dfdaemon version, dfdaemon config, dfdaemon gen-ca, dfdaemon init,"
    " dfdaemon gen-doc, dfdaemon completion, dfdaemon help; each has --help",
)
GEN_CA: Final = Command(
    "dfdaemon gen-ca",
    "Make a certificate authority for hijack_https.",
    CA_OPTIONS,
    CaFlags,
)
INIT: Final = Command(
    "dfdaemon init",
    "Print, or with --write install, the settings by which a container engine uses this daemon.",
    INIT_OPTIONS,
    InitFlags,
    words=ENGINES,
)
DFDAEMON_COMMANDS: Final[tuple[Command[Any], ...]] = (
    DFDAEMON,
    Command("dfdaemon version", "Say which dfdaemon this is.", (), WordFlags),
    GEN_CA,
    INIT,
    gen_doc("dfdaemon"),
    completion("dfdaemon"),
    config("dfdaemon"),
)
