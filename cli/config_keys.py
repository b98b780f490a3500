"""The keys of dfget and supernode: one table each, from which files, environment and text come.

Names are those of Dragonfly 1.0.6 (protocol 6.6 and 8.2), and a few of our own.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from ..engine.config import CdnPattern
from ..engine.errors import ConfigError
from ..engine.expressions import expression
from ..engine.piece import PieceSizePolicy
from ..engine.records import dataclass
from ..engine.rules import POLICY_NAMES, check_policy
from .units import parse_v1_rate, parse_v1_size
from .values import (
    parse_amount,
    parse_count,
    parse_duration,
    parse_ip,
    parse_nodes,
    parse_port,
    parse_switch,
    parse_version,
    suggestion,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Shape(Enum):
    """What a value looks like in YAML."""

    TEXT = "text"
    """Or a number."""
    WORD = "word"
    """One of a few words, such as ``off``, which YAML takes for a switch."""
    LIST = "list"
    """Of texts without commas, for ``parse`` joined by commas."""
    TEXTS = "texts"
    """A list of any texts, each kept as it is."""
    ENTRIES = "entries"
    """A list of sections, each with the ``inner`` keys; not to be had from the environment."""
    SWITCH = "switch"


@dataclass(frozen=True, slots=True)
class Key:
    """One key: where it stands in the file, the field it fills, and what it is for.

    ``name`` and ``field`` have dots where they stand in a section.  ``field`` empty: the value is
    checked, and that is all.  ``default`` as it would be written.  ``flag`` is the field of the
    flags that goes before.  ``is_old``: understood, but not shown to whom it is new.
    """

    name: str
    field: str
    parse: Callable[[str], object]
    default: str
    help: str
    flag: str = ""
    shape: Shape = Shape.TEXT
    inner: tuple[Key, ...] = ()
    is_old: bool = False


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys of one program.

    ``prefix`` begins the names of environment variables; ``section`` the names of keys, and does
    not count there.  ``ineffective``: keys of Dragonfly that would do nothing, and why.
    ``runs_together``: variables do not show where the words of a key begin.
    """

    program: str
    prefix: str
    keys: tuple[Key, ...]
    section: str = ""
    ineffective: Mapping[str, str] | None = None
    runs_together: bool = False

    def variable(self, key: Key) -> str:
        """Return the environment variable of a key: ``DFGET_LOCAL_LIMIT`` of ``localLimit``."""
        name = key.name.removeprefix(self.section).replace(".", "_")
        return self.prefix + (name if self.runs_together else _WORD_BEGINS.sub("_", name)).upper()


NO_POOL: Final = "there is no pool of threads to schedule with"
COPIES_IN_REPO: Final = "copies are kept in homeDir/repo"
_LEAST_BARE_RATE: Final = 10_000
"""Supernode 0.4.0 was told its bandwidth in MB; so few bytes per second nobody wants."""
_WORD_BEGINS: Final = expression(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def parse_policy(text: str) -> PieceSizePolicy:
    """Return the piece size policy of this name; raises ``ConfigError``."""
    known = [policy.value for policy in PieceSizePolicy]
    if text not in known:
        raise ConfigError(f"unknown policy {text!r}{suggestion(text, known)}")
    return PieceSizePolicy(text)


def parse_scheduling(text: str) -> str:
    """Return the name of a policy of scheduling; raises ``ConfigError``."""
    check_policy(text)
    return text


def parse_cdn_pattern(text: str) -> CdnPattern:
    """Return the CDN pattern of this name; raises ``ConfigError``."""
    known = [pattern.value for pattern in CdnPattern]
    if text not in known:
        raise ConfigError(f"unknown cdn pattern {text!r}{suggestion(text, known)}")
    return CdnPattern(text)


def parse_bandwidth(text: str) -> int:
    """Return bytes per second; raises ``ConfigError``, also for what 0.4.0 meant as MB."""
    rate = parse_v1_rate(text)
    if text.isdecimal() and 0 < rate < _LEAST_BARE_RATE:
        raise ConfigError(
            f"rate {text!r}: that is {rate} bytes per second; give a unit, as {text}MB or {text}B"
        )
    return rate


def log_keys(section: str, path: str) -> tuple[Key, ...]:
    """Return the keys of ``logConfig`` in a section; ``path`` is where the log is usually."""
    name = f"{section}logConfig."
    return (
        Key(f"{name}maxSize", "log.max_mb", parse_amount, "0", "a log is replaced at so many MB;"
            " 0: at 40"),
        Key(f"{name}maxBackups", "log.backups", parse_amount, "0", "so many old logs are kept;"
            " 0: one"),
        Key(f"{name}path", "log.path", str, '""', f"the log file; empty: {path}"),
    )  # fmt: skip


DFGET_KEYS: Final = Keys(
    "dfget",
    "DFGET_",
    (
        Key("nodes", "nodes", parse_nodes, "[]", "supernodes, as host[:port][=weight]; none: the"
            " one on 127.0.0.1:8002 if there is one", "node", Shape.LIST),
        Key("localLimit", "local_limit", parse_v1_rate, "0", "bytes per second for one download,"
            " as 20MB; 0: no limit", "locallimit"),
        Key("minRate", "min_rate", parse_v1_rate, "0", "a download that needs longer than this rate"
            " would, and 10 s more, is given up; 0: never", "minrate"),
        Key("totalLimit", "total_limit", parse_v1_rate, "0", "bytes per second for all downloads,"
            " and again for all uploads, of this host; 0: no limit", "totallimit"),
        Key("clientQueueSize", "pieces_at_once", parse_count, "6", "so many pieces of a download"
            " are received and written at a time", "clientqueue"),
        Key("workHome", "work_home", str, '""', "downloads being made and served, and logs; empty:"
            " ~/.small-dragonfly", "home"),
        Key("compatVersion", "compat_version", parse_version, "", "the version of dfget to pass"
            " for, as 1.0.6", "compat_version"),
        *log_keys("", "logs/dfclient.log in the work home"),
    ),
)  # fmt: skip

SUPERNODE_KEYS: Final = Keys(
    "supernode",
    "SUPERNODE_",
    (
        Key("base.listenPort", "port", parse_port, "8002", "control port; 0: any", "port"),
        Key("base.downloadPort", "download_port", parse_port, "8001", "download port; 0: any",
            "download_port"),
        Key("base.homeDir", "home_dir", str, '""', "keeps copies and logs; empty:"
            " /home/admin/supernode if that can be written, else ~/.damselfly/supernode",
            "home_dir"),
        Key("base.advertiseIP", "advertise_ip", parse_ip, "", "address under which peers reach it;"
            " none: the one this host uses towards others", "advertise_ip"),
        Key("base.cdnPattern", "engine.cdn_pattern", parse_cdn_pattern, "local", "local: the"
            " supernode reads origins and keeps copies; source: peers read them", "cdn_pattern"),
        Key("base.pieceSizePolicy", "engine.piece_size_policy", parse_policy, "adaptive",
            "dragonfly: 4 MB and more, as 1.0.6 cuts files; adaptive: smaller pieces of small"
            " files, and for many hosts"),
        Key("base.policy", "engine.policy", parse_scheduling, "damselfly", "who decides what moves"
            f" next: {', '.join(POLICY_NAMES)}", "policy"),
        Key("base.peerUpLimit", "engine.up_slots", parse_count, "2", "pieces that a peer uploads at"
            " a time", "up_limit"),
        Key("base.peerDownLimit", "engine.down_slots", parse_count, "2", "pieces that a peer"
            " downloads at a time", "down_limit"),
        Key("base.eliminationLimit", "engine.ban_after", parse_count, "3", "a peer that so many"
            " others complained of is offered to nobody"),
        Key("base.linkLimit", "bandwidth.link_bytes_per_s", parse_bandwidth, "0", "bytes per"
            " second for one read of an origin, as 20MB; 0: no limit"),
        Key("base.maxBandwidth", "bandwidth.total_bytes_per_s", parse_bandwidth, "0", "bytes"
            " per second for all reads of origins, and again for all uploads; 0: no limit",
            "max_bandwidth"),
        Key("base.systemReservedBandwidth", "bandwidth.reserved_bytes_per_s", parse_bandwidth, "0",
            "of maxBandwidth, what is left to others", "system_bandwidth"),
        Key("base.failAccessInterval", "engine.fail_access_s", parse_duration, "3m", "an origin"
            " that refused is not asked again for so long", "fail_access_interval"),
        Key("base.gcInitialDelay", "engine.gc_initial_delay_s", parse_duration, "6s", "the first"
            " collection comes after so long", "gc_initial_delay"),
        Key("base.gcMetaInterval", "engine.gc_meta_interval_s", parse_duration, "2m", "tasks and"
            " peers are collected every so often", "gc_meta_interval"),
        Key("base.taskExpireTime", "engine.task_expire_s", parse_duration, "3m", "a task that"
            " nobody asked for is forgotten after so long", "task_expire_time"),
        Key("base.peerGCDelay", "engine.peer_gc_delay_s", parse_duration, "3m", "a silent peer is"
            " forgotten after so long", "peer_gc_delay"),
        Key("base.gcDiskInterval", "engine.gc_disk_interval_s", parse_duration, "15s", "free space"
            " is looked at every so often; 0: never"),
        Key("base.youngGCThreshold", "engine.young_gc_bytes", parse_v1_size, "0", "with less free"
            " space some copies are deleted; 0: a quarter of the disk, at most 100GB"),
        Key("base.fullGCThreshold", "engine.full_gc_bytes", parse_v1_size, "0", "with less free"
            " space all copies not in use are deleted; 0: a twentieth of the disk, at most 5GB"),
        Key("base.cleanratio", "engine.clean_ratio", parse_count, "1", "tenths of the copies not in"
            " use that go when space gets short"),
        Key("base.IntervalThreshold", "engine.interval_threshold_s", parse_duration, "2h", "copies"
            " used regularly are kept for their interval and so long"),
        Key("base.recordDir", "record_dir", str, '""', "a trace of all decisions goes to this"
            " directory; empty: none is written", "record"),
        Key("base.recordFileSize", "trace.file_bytes", parse_v1_size, "64MB", "a file of the trace"
            " is followed by another when it has so much", "record_size"),
        Key("base.recordFiles", "trace.files", parse_count, "8", "files of traces in that"
            " directory; the oldest go", "record_files"),
        Key("base.enableProfiler", "profiler", parse_switch, "false", "have /debug/pprof on the"
            " control port", "profiler", Shape.SWITCH),
        Key("base.debug", "debug", parse_switch, "false", "log more, and enableProfiler", "debug",
            Shape.SWITCH),
        *log_keys("base.", "logs/app.log in homeDir"),
    ),
    section="base.",
    ineffective={
        "base.schedulerCorePoolSize": NO_POOL,
        "base.downloadpath": COPIES_IN_REPO,
        "base.failureCountLimit": "a peer's own failures never cut it off from other peers",
        "plugins": "there are no plugins",
        "storages": COPIES_IN_REPO,
    },
)  # fmt: skip
