"""YAML as dataclasses: what is wrong in a file is told with its name, line and key.

Numbers are in the unit that a key's name ends in; a string with a unit is as good: ``200MB``,
``200mbit``, ``0.5ms``.
"""

from __future__ import annotations

import dataclasses
import re
import types
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NoReturn, Union, cast, get_args, get_type_hints
from typing import get_origin as origin_of

import yaml

from ..engine.errors import ConfigError
from ..engine.units import parse_duration, parse_rate, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_UNITS: Final[tuple[tuple[str, Callable[[str], float]], ...]] = (
    ("_bytes_per_s", parse_rate),
    ("_bytes", parse_size),
    ("piece_size", parse_size),
    ("_s", parse_duration),
)
_NUMBER: Final = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Place:
    """A value's name as far as units are concerned, and where it stands."""

    key: str
    line: int


class Reader:
    """Reads one file; ``what`` is what it describes."""

    def __init__(self, path: Path, what: str) -> None:
        self._path, self._what = path, what
        self._loader = yaml.SafeLoader("")

    def root(self) -> yaml.Node | None:
        """Return what the file consists of; ``None``: nothing.

        Raises:
            ConfigError: it cannot be read, or is no YAML.

        """
        try:
            return yaml.compose(self._path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self._what} {self._path}: cannot be read: {error}") from error
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            self.fail(mark.line + 1 if mark is not None else 1, f"no valid YAML: {error.problem}")
        except yaml.YAMLError as error:
            self.fail(1, f"no valid YAML: {' '.join(str(error).split())}")

    def value(self, wanted: Any, node: yaml.Node, place: Place) -> Any:
        """Return ``node`` as the type ``wanted``, one that a field of a dataclass may have."""
        place = Place(place.key, line_of(node))
        kinds: tuple[Any, ...] = get_args(wanted) if _is_union(wanted) else (wanted,)
        if isinstance(node, yaml.MappingNode):
            records = [kind for kind in kinds if dataclasses.is_dataclass(kind)]
            if records:
                return self.record(cast("type[Any]", records[0]), node, place)
        elif isinstance(node, yaml.SequenceNode):
            rows = [kind for kind in kinds if origin_of(kind) is tuple]
            if rows:
                items = cast("list[yaml.Node]", node.value)
                return tuple(self.value(get_args(rows[0])[0], item, place) for item in items)
        else:
            value: Any = self._loader.construct_object(node)  # pyright: ignore[reportUnknownMemberType]
            for kind in kinds:
                if (made := _scalar(kind, value, place.key)) is not None:
                    return made[0]
        shape = "[...]" if isinstance(node, yaml.SequenceNode) else "{...}"
        text = str(node.value) if isinstance(node, yaml.ScalarNode) else shape
        self.fail(place.line, f"{place.key} is {text!r}: expected {_expected(kinds, place.key)}")

    def record(self, kind: type[Any], node: yaml.Node, place: Place) -> Any:
        """Return the dataclass that a mapping describes."""
        hints, values, lines = get_type_hints(kind), dict[str, Any](), dict[str, int]()
        for at, key, value_node in self.entries(node, place):
            if key not in hints:
                self.fail(at.line, f"{at.key}: unknown key; {nearest(key, list(hints))}")
            lines[key] = at.line
            values[key] = self.value(hints[key], value_node, at)
        required = [f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING]
        if lacking := [name for name in required if name not in values]:
            self.fail(line_of(node), f"{place.key}: {_list(lacking)} must be given")
        try:
            return kind(**values)
        except ConfigError as error:
            names_told = re.findall(r"\w+", str(error).partition(" ")[0])
            told = [lines[name] for name in names_told if name in lines]
            self.fail(told[0] if told else line_of(node), str(error))

    def entries(self, node: yaml.Node, place: Place) -> Iterator[tuple[Place, str, yaml.Node]]:
        """Yield each key of a mapping with where it stands and its value."""
        if not isinstance(node, yaml.MappingNode):
            self.fail(line_of(node), f"{place.key or f'a {self._what}'}: expected keys with values")
        seen: dict[str, int] = {}
        for key_node, value in cast("list[tuple[yaml.Node, yaml.Node]]", node.value):
            key, line = str(key_node.value), line_of(key_node)
            where = f"{place.key}.{key}" if place.key else key
            if key in seen:
                self.fail(line, f"{where}: given twice, first in line {seen[key]}")
            seen[key] = line
            yield Place(where, line), key, value

    def fail(self, line: int, message: str) -> NoReturn:
        """Raise ``ConfigError`` about a line."""
        raise ConfigError(f"{self._path}:{line}: {message}")


def _scalar(kind: Any, value: Any, key: str) -> tuple[Any] | None:
    """Return ``value`` as ``kind``, in a tuple, or nothing if it is not one."""
    if kind is types.NoneType:
        return (None,) if value is None else None
    if kind in (bool, str):
        return (value,) if isinstance(value, kind) else None
    if isinstance(kind, type) and issubclass(kind, Enum):
        return next(((member,) for member in kind if member.value == value), None)
    if kind not in (int, float) or isinstance(value, bool):
        return None
    number = _number(value, key)
    if number is None or (kind is int and number != int(number)):
        return None
    return (kind(number),)


def _number(value: Any, key: str) -> float | None:
    if isinstance(value, (int, float)):
        return value if value - value == 0 else None  # neither infinite nor no number
    if not isinstance(value, str):
        return None
    if _NUMBER.fullmatch(value):
        return float(value)
    for ending, parse in _UNITS:
        if key.endswith(ending):
            try:
                return parse(value)
            except ConfigError:
                return None
    return None


def _expected(kinds: tuple[Any, ...], key: str) -> str:
    """Say what a value may be."""
    said: list[str] = []
    for kind in kinds:
        if dataclasses.is_dataclass(kind):
            said.append("keys with values")
        elif origin_of(kind) is tuple:
            said.append("a list")
        elif kind in (bool, str):
            said.append("true or false" if kind is bool else "a name")
        elif isinstance(kind, type) and issubclass(kind, Enum):
            said += [str(member.value) for member in kind]
        elif kind in (int, float):
            said.append(_EXAMPLES.get(_ending(key), "a number" if kind is float else "an integer"))
    return " or ".join(dict.fromkeys(said))


_EXAMPLES: Final = {
    "_bytes_per_s": "a rate like 200mbit or 25MB/s",
    "_bytes": "a size like 200MB",
    "piece_size": "a size like 1MiB",
    "_s": "a duration like 0.5ms or 2s",
}


def _ending(key: str) -> str:
    return next((ending for ending, _ in _UNITS if key.endswith(ending)), "")


def nearest(key: str, known: list[str]) -> str:
    """Say which known key may have been meant."""
    near = get_close_matches(key, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"expected one of {_list(known)}"


def _list(words: list[str]) -> str:
    return ", ".join(words)


def line_of(node: yaml.Node) -> int:
    """Return the line, from 1, where a node begins."""
    return node.start_mark.line + 1


def _is_union(kind: Any) -> bool:
    return origin_of(kind) in (Union, types.UnionType)
