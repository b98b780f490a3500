"""How a download goes and ends, as people and the programs around it are told."""

from __future__ import annotations

from enum import Enum, IntEnum, auto


class Milestone(Enum):
    """What a person watching a download wants to know."""

    CONNECTED = auto()
    """Registered with a supernode; the text is its address."""
    MIGRATED = auto()
    """Registered with another supernode in mid-flight; the text is its address."""
    BACK_TO_SOURCE = auto()
    """The rest comes from the origin; the text says why."""
    PARENT_FAILED = auto()
    """A piece must come from elsewhere; the text names piece, parent and cause."""
    RESUMED = auto()
    """Pieces of an earlier run are kept; the text counts them."""
    ORIGIN_RETRY = auto()
    """The origin failed and will be asked again; the text says why."""


class FailCode(IntEnum):
    """Result codes of dfget (protocol 8.4); the exit status is the code modulo 256."""

    SUCCESS = 0
    SERVER_FAILED = 1100
    PREPARE_FAILED = 1101
    USER_UNKNOWN = 1102
    NEED_AUTH = 1103
    DOWNLOAD_FAILED = 1104


class BackSourceReason(IntEnum):
    """Why a download went, or would have gone, back to the source (protocol 8.4)."""

    NONE = 0
    REGISTER_FAILED = 1
    MD5_NOT_MATCH = 2
    DOWNLOAD_FAILED = 3
    NO_SPACE = 4
    INIT_FAILED = 5
    WRITE_FAILED = 6
    HOST_FAILED = 7
    NO_NODE = 8
    SOURCE_FAILED = 10
    USER_ASKED = 100
