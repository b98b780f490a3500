"""The flags of every program as tables; see ``command``."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Any, Final

from ..engine.records import dataclass
from ..engine.rules import POLICY_NAMES
from .command import Command, Option
from .config_keys import (
    COPIES_IN_REPO,
    NO_POOL,
    parse_bandwidth,
    parse_cdn_pattern,
    parse_scheduling,
)
from .units import parse_v1_rate, parse_v1_size
from .values import (
    PROTOCOLS,
    WeightedNode,
    parse_count,
    parse_digest,
    parse_duration,
    parse_filter,
    parse_header,
    parse_ip,
    parse_lifetime,
    parse_names,
    parse_nodes,
    parse_port,
    parse_protocol,
    parse_version,
)

if TYPE_CHECKING:
    from ..engine.config import CdnPattern


@dataclass(slots=True)
class FetchFlags:
    """What ``dfget`` was told; ``None``: nothing, so that a configuration file may decide."""

    url: str = ""
    urls: str = ""
    jobs: int = 4
    output: str = ""
    node: list[WeightedNode] = field(default_factory=list[WeightedNode])
    md5: str = ""
    digest: str = ""
    identifier: str = ""
    filter: tuple[str, ...] = ()
    header: list[str] = field(default_factory=list[str])
    insecure: bool = False
    cacerts: list[str] = field(default_factory=list[str])
    pattern: str = "p2p"
    protocol: str = "native"
    notbs: bool = False
    locallimit: int | None = None
    totallimit: int | None = None
    minrate: int | None = None
    timeout: float = 0.0
    callsystem: str = ""
    dfdaemon: bool = False
    clientqueue: int | None = None
    ip: str = ""
    port: int = 0
    home: str = ""
    alivetime: float = 300.0
    expiretime: float = 180.0
    compat_version: str = ""
    showbar: bool = False
    console: bool = False
    json: bool = False
    verbose: bool = False


PATTERNS: Final = ("p2p", "cdn", "source")
_IP = Option(
    "ip",
    "address on which this host serves others (default: the one that reaches the supernode)",
    "ADDRESS",
    parse=parse_ip,
)
_PORT = Option("port", "port of the peer server (default: a free one)", "PORT", parse=parse_port)
_HOME = Option("home", "work home (default: ~/.small-dragonfly)", "DIR")
_ALIVE = Option(
    "alivetime",
    "the peer server ends when not needed for so long, 0: never (default: 5m)",
    "TIME",
    parse=parse_lifetime,
)
_EXPIRE = Option(
    "expiretime",
    "a download is served for so long after its last use (default: 3m)",
    "TIME",
    parse=parse_duration,
)
_COMPAT = Option(
    "compat-version",
    "say to supernodes, peer servers and people that this is dfget of that version, as 1.0.6, so"
    " that such a dfget and this one use the same peer server",
    "VERSION",
    parse=parse_version,
)
_VERBOSE = Option("verbose", "log more, and show tracebacks")

FETCH_OPTIONS: Final = (
    Option("url", "what to download; http or https", "URL", short="u"),
    Option(
        "urls",
        "download all URLs of this file, - for the standard input: one a line, perhaps followed by"
        " the name of the file to make; -o then names the directory they go to",
        "LIST",
    ),
    Option("jobs", "so many of --urls at a time (default: 4)", "COUNT", parse=parse_count),
    Option("output", "where to put it (default: the URL's last part, here)", "FILE", short="o"),
    Option(
        "node",
        "supernodes, as host[:port][=weight],...; may be repeated (default: 127.0.0.1:8002 if one"
        " is there, else no supernode and all from the origin)",
        "NODES",
        short="n",
        parse=parse_nodes,
        action="extend",
    ),
    Option("md5", "MD5 of the whole file", "HEX", short="m", parse=str.lower),
    Option(
        "digest",
        "sha256:HEX of the whole file, verified at the end; unlike --md5 it does not make the"
        " content another one to the supernode",
        "DIGEST",
        parse=parse_digest,
    ),
    Option(
        "identifier",
        "tells contents with one URL apart; without effect beside --md5",
        "TEXT",
        short="i",
    ),
    Option(
        "filter",
        "query parameters that do not tell contents apart, as a&b",
        "NAMES",
        short="f",
        parse=parse_filter,
    ),
    Option(
        "header",
        "name:value to send to the origin; may be repeated",
        "HEADER",
        parse=parse_header,
        action="append",
    ),
    Option("insecure", "do not verify the origin's TLS certificate"),
    Option(
        "cacerts",
        "PEM files, as a,b, with certificates to trust the origin by, here and at the supernode;"
        " may be repeated",
        "FILES",
        parse=parse_names,
        action="extend",
    ),
    Option(
        "pattern",
        "p2p, cdn (serve nobody) or source (origin only)",
        "PATTERN",
        short="p",
        words=PATTERNS,
    ),
    Option(
        "protocol",
        "native, our own with supernodes that speak it, or v1, as Dragonfly's programs talk"
        " (default: native)",
        "NAME",
        parse=parse_protocol,
        words=PROTOCOLS,
    ),
    Option("notbs", "never go back to the source: fail when the supernodes cannot help"),
    Option(
        "locallimit",
        "at most so many bytes per second for this download, as 20M (default: no limit)",
        "RATE",
        short="s",
        parse=parse_v1_rate,
    ),
    Option(
        "totallimit",
        "at most so many bytes per second for this host's uploads and downloads",
        "RATE",
        parse=parse_v1_rate,
    ),
    Option(
        "minrate",
        "without --timeout: give up where the file would come faster at this rate, and 10 s more"
        " (default: never)",
        "RATE",
        parse=parse_v1_rate,
    ),
    Option(
        "timeout",
        "give up after so long, as 30s, 5m or 1h30m; a bare number is seconds (default: never)",
        "TIME",
        short="e",
        parse=parse_duration,
    ),
    Option("callsystem", "who downloads, for the supernode's statistics", "NAME"),
    Option("dfdaemon", "tell the supernode that dfdaemon downloads"),
    Option(
        "clientqueue",
        "so many pieces are received and written at a time (default: 6)",
        "COUNT",
        parse=parse_count,
    ),
    _IP,
    _PORT,
    _HOME,
    _ALIVE,
    _EXPIRE,
    _COMPAT,
    Option("showbar", "show progress even where stderr is no terminal", short="b"),
    Option("console", "print the log on the standard output as well"),
    Option("json", "print JSON objects on the standard output, one a line, and nothing else"),
    _VERBOSE,
)


@dataclass(slots=True)
class ServerFlags:
    """What ``dfget server`` was told; ``data`` and ``meta`` empty: in the work home."""

    ip: str = ""
    port: int = 0
    home: str = ""
    data: str = ""
    meta: str = ""
    alivetime: float = 300.0
    expiretime: float = 180.0
    compat_version: str = ""
    verbose: bool = False


SERVER_OPTIONS: Final = (
    Option("ip", "address to listen on; required", "ADDRESS", parse=parse_ip),
    _PORT,
    _HOME,
    Option("data", "the downloads to serve (default: data in the work home)", "DIR"),
    Option("meta", "file that tells dfget the port (default: meta/host.meta there)", "FILE"),
    _ALIVE,
    _EXPIRE,
    _COMPAT,
    _VERBOSE,
)


@dataclass(slots=True)
class VersionFlags:
    """What ``dfget version`` was told."""

    compat_version: str = ""


@dataclass(slots=True)
class GenDocFlags:
    """What ``gen-doc`` was told."""

    path: str = "/tmp"


@dataclass(slots=True)
class WordFlags:
    """What a command was told that takes one word."""

    word: str = ""


@dataclass(slots=True)
class SupernodeFlags:
    """What ``supernode`` was told; ``None`` or empty: nothing."""

    home_dir: str = ""
    port: int | None = None
    download_port: int | None = None
    advertise_ip: str = ""
    cdn_pattern: CdnPattern | None = None
    policy: str | None = None
    up_limit: int | None = None
    down_limit: int | None = None
    max_bandwidth: int | None = None
    system_bandwidth: int | None = None
    fail_access_interval: float | None = None
    gc_initial_delay: float | None = None
    gc_meta_interval: float | None = None
    task_expire_time: float | None = None
    peer_gc_delay: float | None = None
    config: str = ""
    record: str = ""
    record_size: int | None = None
    record_files: int | None = None
    profiler: bool | None = None
    debug: bool | None = None
    verbose: bool = False


def _duration(name: str, what: str, default: str) -> Option:
    text = f"{what} for so long (default: {default})"
    return Option(name, text, "TIME", parse=parse_duration)


SUPERNODE_OPTIONS: Final = (
    Option(
        "home-dir",
        "keeps copies and logs (default: /home/admin/supernode if that can be written, else"
        " ~/.damselfly/supernode)",
        "DIR",
    ),
    Option("port", "control port, 0: any (default: 8002)", "PORT", parse=parse_port),
    Option("download-port", "download port, 0: any (default: 8001)", "PORT", parse=parse_port),
    Option(
        "advertise-ip",
        "address under which peers reach it (default: the one this host uses towards others)",
        "ADDRESS",
        parse=parse_ip,
    ),
    Option(
        "cdn-pattern",
        "local: read origins once and keep copies; source: have peers read them (default: local)",
        "PATTERN",
        parse=parse_cdn_pattern,
        words=("local", "source"),
    ),
    Option(
        "policy",
        "who decides what moves next (default: damselfly)",
        "NAME",
        parse=parse_scheduling,
        words=POLICY_NAMES,
    ),
    Option("up-limit", "pieces a peer uploads at a time (default: 2)", "COUNT", parse=parse_count),
    Option(
        "down-limit", "pieces a peer downloads at a time (default: 2)", "COUNT", parse=parse_count
    ),
    Option(
        "max-bandwidth",
        "bytes per second for all reads of origins, and again for all uploads, as 200MB (default:"
        " no limit)",
        "RATE",
        parse=parse_bandwidth,
    ),
    Option(
        "system-bandwidth",
        "of --max-bandwidth, what is left to others (default: nothing)",
        "RATE",
        parse=parse_bandwidth,
    ),
    _duration("fail-access-interval", "an origin that refused is not asked again", "3m"),
    _duration("gc-initial-delay", "the first collection waits", "6s"),
    _duration("gc-meta-interval", "from one collection of tasks and peers to the next", "2m"),
    _duration("task-expire-time", "a task that nobody asked for is remembered", "3m"),
    _duration("peer-gc-delay", "a silent peer is remembered", "3m"),
    Option("config", "settings (default: /etc/dragonfly/supernode.yml if it exists)", "FILE"),
    Option("record", "write a trace of all decisions to this directory", "DIR"),
    Option(
        "record-size",
        "a file of the trace is followed by another when it has so much (default: 64MB)",
        "SIZE",
        parse=parse_v1_size,
    ),
    Option(
        "record-files",
        "files of traces in that directory; the oldest go (default: 8)",
        "COUNT",
        parse=parse_count,
    ),
    Option("profiler", "have /debug/pprof on the control port"),
    Option("debug", "log more, and --profiler", short="D"),
    _VERBOSE,
)

DFGET: Final = Command(
    "dfget",
    "Download one file through peers, a supernode, or straight from its origin; or many.",
    FETCH_OPTIONS,
    FetchFlags,
    epilog="other commands: dfget server, dfget version, dfget gen-doc, dfget completion,"
    " dfget config, dfget help; each has --help",
)
DFGET_SERVER: Final = Command(
    "dfget server",
    "Serve this host's downloads to other peers, in the foreground; dfget starts one by itself.",
    SERVER_OPTIONS,
    ServerFlags,
)
DFGET_VERSION: Final = Command(
    "dfget version", "Say which dfget this is.", (_COMPAT,), VersionFlags
)
SUPERNODE: Final = Command(
    "supernode",
    "Fetch each file from its origin once and tell every peer which piece to take from whom.",
    SUPERNODE_OPTIONS,
    SupernodeFlags,
    ineffective={"--pool-size": NO_POOL, "--download-path": COPIES_IN_REPO},
    epilog="other commands: supernode version, supernode gen-doc, supernode completion,"
    " supernode config, supernode help; each has --help",
)


def gen_doc(program: str) -> Command[GenDocFlags]:
    """Return the command that writes the reference pages of ``program``."""
    path = Option("path", "where to; must exist (default: /tmp)", "DIR", short="p")
    text = "Write reference pages in Markdown, one for each command."
    return Command(f"{program} gen-doc", text, (path,), GenDocFlags)


def completion(program: str) -> Command[WordFlags]:
    """Return the command that prints completion scripts for ``program``."""
    text = "Print a script that makes a shell complete commands, flags and their values."
    return Command(f"{program} completion", text, (), WordFlags, words=("bash", "zsh", "fish"))


def config(program: str) -> Command[WordFlags]:
    """Return the command that prints the configuration file of ``program``."""
    text = "Print a configuration file with every key, its default and what it is for."
    return Command(f"{program} config", text, (), WordFlags, words=("default",))


DFGET_COMMANDS: Final[tuple[Command[Any], ...]] = (
    DFGET,
    DFGET_SERVER,
    DFGET_VERSION,
    gen_doc("dfget"),
    completion("dfget"),
    config("dfget"),
)
SUPERNODE_COMMANDS: Final[tuple[Command[Any], ...]] = (
    SUPERNODE,
    Command("supernode version", "Say which supernode this is.", (), WordFlags),
    gen_doc("supernode"),
    completion("supernode"),
    config("supernode"),
)
