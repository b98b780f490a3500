"""What can be tuned: frozen, validated when made, recorded in traces."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from .errors import ConfigError
from .ids import range_of, task_id
from .piece import PieceSizePolicy
from .records import dataclass
from .rules import MOST_DOWN_SLOTS, check_policy

if TYPE_CHECKING:
    from .ids import NodeAddress, PeerId, TaskId


class CdnPattern(Enum):
    """Who reads the origin (protocol 4.3)."""

    LOCAL = "local"
    """The supernode, once; peers get pieces from its copy and from each other."""
    SOURCE = "source"
    """The peers, each piece once if they can help it; the supernode keeps no copy."""


@dataclass(frozen=True, slots=True)
class SupernodeConfig:
    """Settings of a ``SupernodeEngine``.

    ``ip`` is where peers reach the supernode when a registration does not say by which name it
    came.  Slots: pieces a usual peer may up- and download at once, and pieces the supernode itself
    may upload at once in one task; best about ``supernode rate / (peer rate / down_slots)``
    (performance 2.2, J).  ``rare_copies``: the supernode uploads only pieces of which peers have
    at most so many copies.  ``policy`` names who decides what moves next (``policies``).
    ``hold_s``: how long a pull with nothing to do is held; v1 clients
    give up after 5 s.  Peers of ours tell what came every ``native_pace_s``; a run is what takes
    ``run_s`` at its parent's rate, ``run_bytes`` where nothing is measured, and one part in
    ``run_share`` of what is missing over the slots at most.

    Every ``gc_meta_interval_s``, for the first time after ``gc_initial_delay_s``, tasks that
    nobody asked for since ``task_expire_s`` leave memory, and so do peers without a server that
    were silent for ``peer_gc_delay_s``.  A complete copy whose task is asked for again is compared
    with the origin if that was not done for ``revalidate_s``; a registration waits at most
    ``revalidate_wait_s`` for it.  An origin that refused is not asked again for ``fail_access_s``.

    Every ``gc_disk_interval_s`` (0: never) copies go if less than ``young_gc_bytes`` are free: a
    share of ``clean_ratio`` tenths of those not in use, all of them at ``full_gc_bytes``.  0 bytes
    mean a part of the disk: a quarter, at most 100 GiB, and a twentieth, at most 5 GiB.  Copies
    used again and again go last, as long as they were idle for no more than
    ``interval_threshold_s`` beyond their usual interval.
    """

    ip: str = "127.0.0.1"
    download_port: int = 8001
    piece_size_policy: PieceSizePolicy = PieceSizePolicy.ADAPTIVE
    up_slots: int = 2
    down_slots: int = 2
    cdn_up_slots: int = 20
    rare_copies: int = 1
    policy: str = "damselfly"
    hold_s: float = 2.0
    register_hold_s: float = 4.0
    peer_silence_s: float = 15.0
    peer_gc_delay_s: float = 180.0
    task_expire_s: float = 180.0
    gc_initial_delay_s: float = 6.0
    gc_meta_interval_s: float = 120.0
    gc_disk_interval_s: float = 15.0
    young_gc_bytes: int = 0
    full_gc_bytes: int = 0
    clean_ratio: int = 1
    interval_threshold_s: float = 7200.0
    cdn_pattern: CdnPattern = CdnPattern.LOCAL
    revalidate_s: float = 60.0
    revalidate_wait_s: float = 2.0
    origin_retries: int = 5
    origin_backoff_s: float = 0.5
    fail_access_s: float = 180.0
    ban_after: int = 3
    native_pace_s: float = 0.5
    run_s: float = 0.85
    run_bytes: int = 8 << 20
    run_share: int = 2

    def __post_init__(self) -> None:
        check_policy(self.policy)
        for name in ("up_slots", "down_slots", "cdn_up_slots", "ban_after", "clean_ratio"):
            _at_least(name, getattr(self, name), 1)
        for name in ("rare_copies", "origin_retries", "young_gc_bytes", "full_gc_bytes"):
            _at_least(name, getattr(self, name), 0)
        for name in ("gc_initial_delay_s", "gc_disk_interval_s", "interval_threshold_s"):
            _at_least(name, getattr(self, name), 0)
        for name in ("hold_s", "register_hold_s", "peer_silence_s", "task_expire_s"):
            _positive(name, getattr(self, name))
        for name in ("peer_gc_delay_s", "gc_meta_interval_s", "revalidate_s", "revalidate_wait_s"):
            _positive(name, getattr(self, name))
        for name in ("origin_backoff_s", "fail_access_s"):
            _positive(name, getattr(self, name))


@dataclass(frozen=True, slots=True)
class DownloadConfig:
    """Settings of a ``DownloadEngine``: one file on one peer.

    ``port`` 0: this peer serves nobody.  ``nodes`` empty: no supernode, all comes from the
    origin; ``source_only``: because the user wants it so.  ``down_slots`` is what the peer itself
    allows; a supernode may give less.  ``origin_streams`` parallel reads of ``origin_span_bytes``
    each when the origin honours ranges.  ``idle_s``: with no piece in flight and none arriving for
    so long, the swarm is given up.  When all supernodes have stopped answering in mid-flight, they
    are asked again for ``rejoin_s``: one may be being restarted.  ``timeout_s`` limits the swarm's
    part and then the origin's part, 0: no limit; but then, with a ``min_rate_bytes_per_s``, what
    that rate takes for the file and 10 s more is the limit, and 5 min while its length is unknown
    (protocol 8.5).
    ``root_cas`` are PEM certificates in base64.  ``native``: talk so to supernodes that can.
    ``relays``: whoever serves this download's pieces passes on those that are still arriving.
    """

    url: str
    task_url: str
    peer: PeerId
    nodes: tuple[NodeAddress, ...] = ()
    ip: str = "127.0.0.1"
    port: int = 0
    path: str = ""
    host_name: str = "localhost"
    version: str = ""
    md5: str = ""
    identifier: str = ""
    call_system: str = ""
    headers: tuple[str, ...] = ()
    dfdaemon: bool = False
    insecure: bool = False
    root_cas: tuple[str, ...] = ()
    back_to_source: bool = True
    source_only: bool = False
    native: bool = True
    relays: bool = False
    down_slots: int = MOST_DOWN_SLOTS
    exchange_timeout_s: float = 5.0
    stall_timeout_s: float = 10.0
    wait_auth_s: float = 1.0
    piece_failures: int = 20
    idle_s: float = 60.0
    rejoin_s: float = 5.0
    timeout_s: float = 0.0
    min_rate_bytes_per_s: int = 0
    origin_streams: int = 4
    origin_span_bytes: int = 16 << 20
    origin_piece_size: int = 4 << 20
    origin_retries: int = 5
    origin_backoff_s: float = 0.5

    @property
    def task(self) -> TaskId:
        """The id of the task it is (protocol 5.1)."""
        identity, byte_range = self.md5 or self.identifier, range_of(self.headers)
        return task_id(self.task_url, identifier=identity, byte_range=byte_range)

    def __post_init__(self) -> None:
        for name in ("down_slots", "origin_streams", "origin_span_bytes", "piece_failures"):
            _at_least(name, getattr(self, name), 1)
        _at_least("origin_retries", self.origin_retries, 0)
        for name in ("exchange_timeout_s", "stall_timeout_s", "wait_auth_s", "origin_backoff_s"):
            _positive(name, getattr(self, name))
        _positive("idle_s", self.idle_s)
        _at_least("rejoin_s", self.rejoin_s, 0)
        _at_least("timeout_s", self.timeout_s, 0)
        _at_least("min_rate_bytes_per_s", self.min_rate_bytes_per_s, 0)


def _at_least(name: str, value: float, least: int) -> None:
    if not value >= least:
        raise ConfigError(f"{name} is {value}: expected at least {least}")


def _positive(name: str, value: float) -> None:
    if not value > 0:
        raise ConfigError(f"{name} is {value}: expected more than 0")
