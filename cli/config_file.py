"""Where settings come from: flag, else environment, else file (protocol 6.6 and 8.2)."""

from __future__ import annotations

import textwrap
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar, cast

from ..engine.errors import ConfigError
from ..engine.records import dataclass
from .config_keys import DFGET_KEYS, SUPERNODE_KEYS, Key, Keys, Shape
from .values import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .values import WeightedNode

T = TypeVar("T")

DFGET_FILES: Final = (Path("/etc/dragonfly/dfget.yml"), Path("/etc/dragonfly.conf"))
SUPERNODE_FILE: Final = Path("/etc/dragonfly/supernode.yml")
_WIDTH: Final = 98


@dataclass(frozen=True, slots=True)
class DfgetChoice:
    """What flags, environment and file say about dfget; what is left out, nobody said.

    ``log`` holds fields of a ``LogConfig``.
    """

    nodes: Sequence[WeightedNode] = ()
    local_limit: int = 0
    min_rate: int = 0
    total_limit: int = 0
    pieces_at_once: int = 6
    work_home: str = ""
    compat_version: str = ""
    log: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True)
class SupernodeChoice:
    """What flags, environment and file say about a supernode; what is left out, nobody said.

    ``engine``, ``bandwidth``, ``trace`` and ``log`` hold fields of a ``SupernodeConfig``, a
    ``Bandwidth``, ``TraceLimits`` and a ``LogConfig``.
    """

    port: int = 8002
    download_port: int = 8001
    home_dir: str = ""
    advertise_ip: str = ""
    profiler: bool = False
    record_dir: str = ""
    debug: bool = False
    engine: Mapping[str, object] = field(default_factory=dict[str, object])
    bandwidth: Mapping[str, object] = field(default_factory=dict[str, object])
    trace: Mapping[str, object] = field(default_factory=dict[str, object])
    log: Mapping[str, object] = field(default_factory=dict[str, object])


def dfget_choice(
    flags: object, environ: Mapping[str, str], files: Sequence[Path] = DFGET_FILES
) -> DfgetChoice:
    """Return what was chosen; of ``files`` the first that exists counts.

    Raises ``ConfigError`` that names file and key, or the variable: not readable, not YAML (or
    ini, if that is not the file's suffix), a key that is unknown, a value that makes no sense.
    Variables that are not known are somebody else's.
    """
    said: dict[str, object] = {}
    if (file := next((one for one in files if one.exists()), None)) is not None:
        is_yaml = file.suffix in (".yml", ".yaml")
        said = _said(DFGET_KEYS, file, _read_yaml(file) if is_yaml else _read_ini(file))
    return _form(DfgetChoice, DFGET_KEYS, said, environ, flags)


def supernode_choice(
    flags: object, environ: Mapping[str, str], file: Path | None
) -> SupernodeChoice:
    """Return what was chosen; raises ``ConfigError`` as ``dfget_choice`` does.

    A key of Dragonfly that has no effect here is an error that says so.
    """
    return choice(SupernodeChoice, SUPERNODE_KEYS, flags, environ, file)


def choice(
    form: type[T], keys: Keys, flags: object, environ: Mapping[str, str], file: Path | None
) -> T:
    """Return a ``form`` of what was chosen; raises ``ConfigError`` as ``dfget_choice`` does.

    Sections of the file are mappings in it, entries tuples of mappings, by the names of fields.
    """
    said = _said(keys, file, _read_yaml(file)) if file is not None else {}
    return _form(form, keys, said, environ, flags)


def default_file(keys: Keys) -> str:
    """Return a file with every key, its default and what it is for."""
    lines = [
        f"# Settings of {keys.program}. A flag goes before a variable of the environment, that"
    ]
    lines += ["# before this file, and this file before the defaults, which stand here.", ""]
    section = ""
    for key in [key for key in keys.keys if not key.is_old]:
        here, _, name = key.name.rpartition(".")
        parts = here.split(".") if here else []
        for depth in range(len(parts)):
            if not f"{section}.".startswith(".".join([*parts[: depth + 1], ""])):
                lines.append(f"{'  ' * depth}{parts[depth]}:")
        section = here
        indent = "  " * key.name.count(".")
        says = key.help
        if key.shape is not Shape.ENTRIES:
            says += f" [{keys.variable(key)}]"
        lines += textwrap.wrap(
            says, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "
        )
        lines.append(f"{indent}{name}: {key.default}".rstrip())
    return "\n".join([*lines, ""])


def _form(
    form: type[T],
    keys: Keys,
    said: dict[str, object],
    environ: Mapping[str, str],
    flags: object,
) -> T:
    fields = dict(said)
    for key in keys.keys:
        variable = keys.variable(key)
        if key.shape is not Shape.ENTRIES and (text := environ.get(variable)):
            try:
                value = key.parse(text)
            except ConfigError as error:
                raise ConfigError(f"environment variable {variable}: {error}") from error
            fields |= {key.field: value}
        flag = getattr(flags, key.flag) if key.flag else None
        if not (flag is None or flag in ("", [], ())):
            fields |= {key.field: flag}
    return form(**_grouped(fields))


def _grouped(fields: Mapping[str, object]) -> dict[str, object]:
    """Return ``{"a": 1, "b": {"c": 2}}`` for ``{"a": 1, "b.c": 2}``."""
    grouped: dict[str, object] = {}
    for name, value in fields.items():
        group, _, rest = name.rpartition(".")
        if group:
            cast("dict[str, object]", grouped.setdefault(group, {}))[rest] = value
        else:
            grouped[name] = value
    return grouped


def _said(keys: Keys, file: Path, found: Mapping[str, object]) -> dict[str, object]:
    """Return the fields that a file's keys fill; raises ``ConfigError``."""
    return _Reader(keys.keys, keys.ineffective or {}, str(file)).fields(found)


class _Reader:
    """Understands what stands in one file, or in one entry of a list in it."""

    def __init__(self, keys: Sequence[Key], ineffective: Mapping[str, str], where: str) -> None:
        self._known = {key.name: key for key in keys}
        self._ineffective = ineffective
        self._where = where

    def fields(self, found: Mapping[str, object]) -> dict[str, object]:
        """Return the fields that the keys fill; raises ``ConfigError``."""
        return dict(self._walk("", found))

    def _walk(self, section: str, found: Mapping[str, object]) -> Iterator[tuple[str, object]]:
        for name, value in found.items():
            full = f"{section}{name}"
            if (key := self._known.get(full)) is not None and "." not in name:
                if value is not None:
                    yield key.field, self._understood(key, value)
            elif (why := self._ineffective.get(full)) is not None:
                raise ConfigError(f"{self._where}: {full} has no effect here: {why}; leave it out")
            elif any(known.startswith(f"{full}.") for known in self._known):
                yield from self._walk(f"{full}.", _mapping(self._where, full, value))
            else:
                raise ConfigError(
                    f"{self._where}: unknown key {full}{suggestion(name, self._names(section))}"
                )

    def _names(self, section: str) -> list[str]:
        """Return the names that a section can have, once each."""
        inside = [
            name.removeprefix(section)
            for name, key in self._known.items()
            if name.startswith(section) and not key.is_old
        ]
        return list(dict.fromkeys([name.partition(".")[0] for name in inside]))

    def _understood(self, key: Key, value: object) -> object:
        import msgspec

        if key.shape is Shape.ENTRIES:
            return tuple(self._entries(key, value))
        try:
            match key.shape:
                case Shape.LIST:
                    texts = [str(one) for one in msgspec.convert(value, list[str | int])]
                    return key.parse(",".join(texts)) if texts else ()
                case Shape.TEXTS:
                    return tuple(msgspec.convert(value, list[str]))
                case Shape.SWITCH:
                    return msgspec.convert(value, bool)
                case Shape.WORD if isinstance(value, bool):
                    return key.parse("on" if value else "off")
                case Shape.TEXT | Shape.WORD:
                    text = str(msgspec.convert(value, str | int))
                    return key.parse(text) if text else text
        except (msgspec.ValidationError, ConfigError) as error:
            raise ConfigError(f"{self._where}: {key.name}: {error}") from error

    def _entries(self, key: Key, value: object) -> Iterator[dict[str, object]]:
        if not isinstance(value, list):
            raise ConfigError(f"{self._where}: {key.name}: expected a list of sections")
        for number, entry in enumerate(cast("list[object]", value), 1):
            where = f"{self._where}: {key.name}, entry {number}"
            found = _mapping(where, "it", entry)
            yield _Reader(key.inner, {}, where).fields(found)


def _read_yaml(path: Path) -> dict[str, object]:
    import yaml

    try:
        return _mapping(str(path), "the file", yaml.safe_load(path.read_bytes()))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error


def _read_ini(path: Path) -> dict[str, object]:
    """Return the supernodes of ``[node] address = a,b`` as a YAML file would name them."""
    import configparser

    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (configparser.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no ini file: {' '.join(str(error).split())}") from error
    for section in parser.sections():
        if section != "node":
            raise ConfigError(f"{path}: unknown section {section}: expected node")
        for name in parser[section]:
            if name != "address":
                raise ConfigError(f"{path}: unknown key node.{name}: expected address")
    addresses = parser.get("node", "address", fallback="")
    return {"nodes": [part.strip() for part in addresses.split(",")]} if addresses else {}


def _mapping(where: str, what: str, found: object) -> dict[str, object]:
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ConfigError(f"{where}: {what}: expected keys with values, as in 'key: value'")
    return {str(key): value for key, value in cast("dict[object, object]", found).items()}
