"""The YAML files in which operators of Dragonfly keep their settings (protocol 6.6 and 8.2).

One table of keys per file; only keys that have an effect are known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar, cast

from ..engine.errors import ConfigError
from ..engine.piece import PieceSizePolicy
from .units import parse_v1_rate
from .values import parse_ip, parse_nodes, parse_port, suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from .values import WeightedNode

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a file: its name there, the field it fills, and how its text is understood."""

    name: str
    field: str
    parse: Callable[[str], object]
    is_list: bool = False


@dataclass(frozen=True, slots=True)
class DfgetFile:
    """What ``dfget.yml`` says; ``None`` or empty: nothing."""

    nodes: tuple[WeightedNode, ...] = ()
    local_limit: int | None = None
    total_limit: int | None = None
    work_home: str = ""


DFGET_KEYS: Final = (
    Key("nodes", "nodes", parse_nodes, is_list=True),
    Key("localLimit", "local_limit", parse_v1_rate),
    Key("totalLimit", "total_limit", parse_v1_rate),
    Key("workHome", "work_home", str),
)


@dataclass(frozen=True, slots=True)
class SupernodeFile:
    """What the ``base`` section of ``supernode.yml`` says; ``None`` or empty: nothing."""

    port: int | None = None
    download_port: int | None = None
    home_dir: str = ""
    advertise_ip: str = ""
    up_slots: int | None = None
    down_slots: int | None = None
    piece_size_policy: PieceSizePolicy | None = None


def parse_slots(text: str) -> int:
    """Return how many pieces at once; raises ``ConfigError``."""
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"{text!r}: expected a whole number of at least 1")
    return int(text)


def parse_policy(text: str) -> PieceSizePolicy:
    """Return the piece size policy of this name; raises ``ConfigError``."""
    known = [policy.value for policy in PieceSizePolicy]
    if text not in known:
        raise ConfigError(f"unknown policy {text!r}{suggestion(text, known)}")
    return PieceSizePolicy(text)


SUPERNODE_KEYS: Final = (
    Key("listenPort", "port", parse_port),
    Key("downloadPort", "download_port", parse_port),
    Key("homeDir", "home_dir", str),
    Key("advertiseIP", "advertise_ip", parse_ip),
    Key("peerUpLimit", "up_slots", parse_slots),
    Key("peerDownLimit", "down_slots", parse_slots),
    Key("pieceSizePolicy", "piece_size_policy", parse_policy),
)


def read_dfget_file(path: Path) -> DfgetFile:
    """Return what the file says, nothing if there is none.

    Raises ``ConfigError`` that names file and key: not readable, not YAML, a key that is unknown
    or has no effect, a value that makes no sense.
    """
    return _filled(DfgetFile, DFGET_KEYS, path, "", _read(path)) if path.exists() else DfgetFile()


def read_supernode_file(path: Path) -> SupernodeFile:
    """Return what the file says; raises ``ConfigError`` as ``read_dfget_file`` does."""
    found = _read(path)
    for name in found:
        if name != "base":
            raise ConfigError(f"{path}: unknown key {name}{suggestion(name, ['base'])}")
    base = _mapping(path, "base", found.get("base"))
    return _filled(SupernodeFile, SUPERNODE_KEYS, path, "base.", base)


def _read(path: Path) -> dict[str, object]:
    import yaml

    try:
        return _mapping(path, "the file", yaml.safe_load(path.read_bytes()))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error


def _mapping(path: Path, what: str, found: object) -> dict[str, object]:
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: {what}: expected keys with values, as in 'key: value'")
    return {str(key): value for key, value in cast("dict[object, object]", found).items()}


def _filled(
    form: type[T], keys: Sequence[Key], path: Path, prefix: str, found: dict[str, object]
) -> T:
    known = {key.name: key for key in keys}
    fields: dict[str, object] = {}
    for name, value in found.items():
        if name not in known:
            raise ConfigError(f"{path}: unknown key {prefix}{name}{suggestion(name, list(known))}")
        if value is None:
            continue
        try:
            fields[known[name].field] = _understood(known[name], value)
        except ConfigError as error:
            raise ConfigError(f"{path}: {prefix}{name}: {error}") from error
    return form(**fields)


def _understood(key: Key, value: object) -> object:
    import msgspec

    try:
        if key.is_list:
            texts = msgspec.convert(value, list[str])
            return key.parse(",".join(texts)) if texts else ()
        return key.parse(str(msgspec.convert(value, str | int)))
    except msgspec.ValidationError as error:
        raise ConfigError(str(error)) from error
