"""The flags of every program as tables, from which parsers and help are made.

A table's flags fill the typed object beside it: a flag's long name, hyphens as underscores, is
the name of its field.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Generic, NoReturn, TypeVar

from ..engine.errors import ConfigError
from .units import as_argument, parse_v1_rate
from .values import (
    WeightedNode,
    parse_duration,
    parse_filter,
    parse_header,
    parse_ip,
    parse_md5,
    parse_nodes,
    parse_port,
    suggestion,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Option:
    """One flag: ``--long`` and perhaps ``-short``.

    ``metavar`` empty: a switch.  ``parse`` turns the text into a value and raises
    ``ConfigError``.  ``action`` ``append`` or ``extend``: may be given more than once.
    """

    long: str
    help: str
    metavar: str = ""
    short: str = ""
    parse: Callable[[str], object] = str
    action: str = "store"

    @property
    def names(self) -> tuple[str, ...]:
        """The flag as it is written, the short form first."""
        return ((f"-{self.short}",) if self.short else ()) + (f"--{self.long}",)


@dataclass(frozen=True, slots=True)
class Command(Generic[T]):
    """One thing that can be done: its flags, and the type of the object that holds them."""

    prog: str
    description: str
    options: tuple[Option, ...]
    flags: type[T]
    epilog: str = ""

    def parse(self, arguments: Sequence[str]) -> T:
        """Return the flags; ``ConfigError`` if they make no sense, ``SystemExit`` for help."""
        flags, rest = self._parser().parse_known_args(arguments, self.flags())
        if not rest:
            return flags
        if not rest[0].startswith("-"):
            raise ConfigError(f"unexpected argument {rest[0]!r}: every value belongs to a flag")
        known = [name for option in self.options for name in option.names]
        unknown = rest[0].partition("=")[0]
        raise ConfigError(f"unknown flag {unknown}{suggestion(unknown, known)}")

    def help(self) -> str:
        """Return the help text."""
        return self._parser().format_help()

    def _parser(self) -> argparse.ArgumentParser:
        parser = _Parser(
            prog=self.prog,
            description=self.description,
            epilog=self.epilog,
            usage=f"{self.prog} [flags]",
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
        )
        for option in self.options:
            if option.metavar:
                parser.add_argument(
                    *option.names,
                    metavar=option.metavar,
                    help=option.help,
                    action=option.action,
                    type=as_argument(option.parse),
                )
            else:
                parser.add_argument(*option.names, help=option.help, action="store_true")
        return parser


@dataclass(slots=True)
class FetchFlags:
    """What ``dfget`` was told; ``None``: nothing, so that a configuration file may decide."""

    url: str = ""
    output: str = ""
    node: list[WeightedNode] = field(default_factory=list[WeightedNode])
    md5: str = ""
    identifier: str = ""
    filter: tuple[str, ...] = ()
    header: list[str] = field(default_factory=list[str])
    insecure: bool = False
    pattern: str = "p2p"
    notbs: bool = False
    locallimit: int | None = None
    totallimit: int | None = None
    timeout: float = 0.0
    ip: str = ""
    port: int = 0
    home: str = ""
    alivetime: float = 300.0
    expiretime: float = 180.0
    showbar: bool = False
    console: bool = False
    json: bool = False
    verbose: bool = False


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
    parse=parse_duration,
)
_EXPIRE = Option(
    "expiretime",
    "a download is served for so long after its last use (default: 3m)",
    "TIME",
    parse=parse_duration,
)
_VERBOSE = Option("verbose", "log more, and show tracebacks")

FETCH_OPTIONS: Final = (
    Option("url", "what to download; http or https", "URL", short="u"),
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
    Option("md5", "MD5 of the whole file", "HEX", short="m", parse=parse_md5),
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
    Option("pattern", "p2p, cdn (serve nobody) or source (origin only)", "PATTERN", short="p"),
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
        "timeout",
        "give up after so long, as 30s, 5m or 1h30m; a bare number is seconds (default: never)",
        "TIME",
        short="e",
        parse=parse_duration,
    ),
    _IP,
    _PORT,
    _HOME,
    _ALIVE,
    _EXPIRE,
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
    verbose: bool = False


SERVER_OPTIONS: Final = (
    Option("ip", "address to listen on; required", "ADDRESS", parse=parse_ip),
    _PORT,
    _HOME,
    Option("data", "the downloads to serve (default: data in the work home)", "DIR"),
    Option("meta", "file that tells dfget the port (default: meta/host.meta there)", "FILE"),
    _ALIVE,
    _EXPIRE,
    _VERBOSE,
)


@dataclass(slots=True)
class SupernodeFlags:
    """What ``supernode`` was told; ``None`` or empty: nothing."""

    home_dir: str = ""
    port: int | None = None
    download_port: int | None = None
    advertise_ip: str = ""
    config: str = ""
    record: str = ""
    verbose: bool = False


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
    Option("config", "settings (default: /etc/dragonfly/supernode.yml if it exists)", "FILE"),
    Option("record", "write a trace of all decisions to this directory", "DIR"),
    _VERBOSE,
)

DFGET: Final = Command(
    "dfget",
    "Download one file through peers, a supernode, or straight from its origin.",
    FETCH_OPTIONS,
    FetchFlags,
    epilog="other commands: dfget server, dfget version, dfget help",
)
DFGET_SERVER: Final = Command(
    "dfget server",
    "Serve this host's downloads to other peers, in the foreground; dfget starts one by itself.",
    SERVER_OPTIONS,
    ServerFlags,
)
SUPERNODE: Final = Command(
    "supernode",
    "Fetch each file from its origin once and tell every peer which piece to take from whom.",
    SUPERNODE_OPTIONS,
    SupernodeFlags,
    epilog="other commands: supernode version, supernode help",
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)
