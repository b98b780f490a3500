"""Sweeps as YAML files; what is wrong in one is told with its name, line and key."""

from __future__ import annotations

import dataclasses
import re
import types
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast, get_args, get_type_hints

import yaml

from ..engine.errors import ConfigError
from .scenario import Scenario
from .scenario_file import find, load
from .sweep import Choice, Range, Sweep, turned
from .yaml_reader import Place, Reader, line_of, nearest

if TYPE_CHECKING:
    from pathlib import Path

    from .sweep import Drawn

_SECTIONS: Final = ["scenario", "set", "grid", "random", "seeds"]
_RANDOM: Final = ["draws", "seed", "over"]
_RANGE: Final = ["from", "to", "scale"]


def load_sweep(path: Path) -> Sweep:
    """Read a sweep.

    ``scenario`` is a file, as seen from this one, or the name of one that comes along; ``set`` has
    settings for all runs, ``grid`` a list of values for each setting, ``random`` has ``draws``,
    ``seed`` and ``over``: for each setting a list, or ``from``, ``to`` and ``scale`` (``linear``
    or ``log``); ``seeds`` is how many, or a list.

    Raises:
        ConfigError: it cannot be read or used; names file, line and key.

    """
    return _SweepReader(path).sweep()


class _SweepReader:
    """Makes one file into a sweep."""

    def __init__(self, path: Path) -> None:
        self._path, self._reader = path, Reader(path, "sweep")
        self._lines: dict[str, int] = {}
        """Where each setting is given."""

    def sweep(self) -> Sweep:
        root = self._reader.root()
        if root is None:
            self._reader.fail(1, "a sweep: expected keys with values")
        parts = self._sections(root, Place("", 1), _SECTIONS)
        name, scenario = self._scenario(parts.get("scenario"))
        fixed: dict[str, Any] = {}
        if "set" in parts:
            for place, key, node in self._settings(*parts["set"]):
                fixed[key] = self._reader.value(_hint(key), node, place)
        scenario = self._checked(scenario, fixed)
        grid: dict[str, tuple[Any, ...]] = {}
        if "grid" in parts:
            for place, key, node in self._settings(*parts["grid"]):
                grid[key] = self._values(key, node, place)
        ranges, draws, draw_seed = self._random(parts.get("random"))
        seeds = self._seeds(parts.get("seeds"), scenario)
        sweep = Sweep(name, scenario, grid, ranges, draws, draw_seed, seeds)
        try:
            sweep.points()
        except ConfigError as error:
            self._fail_about(error)
        return sweep

    def _scenario(self, part: tuple[yaml.Node, Place] | None) -> tuple[str, Scenario]:
        if part is None:
            return "flash crowd", Scenario()
        node, place = part
        name: str = self._reader.value(str, node, place)
        beside = self._path.parent / name
        try:
            path = beside if beside.is_file() else find(name)
        except ConfigError as error:
            self._reader.fail(place.line, str(error))
        return path.stem, load(path)

    def _random(self, part: tuple[yaml.Node, Place] | None) -> tuple[dict[str, Drawn], int, int]:
        if part is None:
            return {}, 1, 0
        inner = self._sections(*part, _RANDOM)
        if lacking := [key for key in ("draws", "over") if key not in inner]:
            self._reader.fail(part[1].line, f"random: {', '.join(lacking)} must be given")
        draws: int = self._reader.value(int, *inner["draws"])
        seed: int = self._reader.value(int, *inner["seed"]) if "seed" in inner else 0
        if draws < 1:
            line = inner["draws"][1].line
            self._reader.fail(line, f"random.draws is {draws}: expected at least 1")
        ranges = {
            key: self._drawn(key, node, place)
            for place, key, node in self._settings(*inner["over"])
        }
        return ranges, draws, seed

    def _drawn(self, key: str, node: yaml.Node, place: Place) -> Drawn:
        if isinstance(node, yaml.SequenceNode):
            return Choice(self._values(key, node, place))
        parts = self._sections(node, place, _RANGE)
        if lacking := [end for end in ("from", "to") if end not in parts]:
            self._reader.fail(place.line, f"{place.key}: {', '.join(lacking)} must be given")
        number = next((kind for kind in (float, int) if kind in _kinds(_hint(key))), None)
        if number is None:
            self._reader.fail(place.line, f"{place.key}: no number; expected a list of values")
        low, high = (
            self._reader.value(number, parts[end][0], Place(key, parts[end][1].line))
            for end in ("from", "to")
        )
        scale = self._reader.value(str, *parts["scale"]) if "scale" in parts else "linear"
        if scale not in ("linear", "log"):
            self._reader.fail(parts["scale"][1].line, f"{scale!r}: expected linear or log")
        if low > high or (scale == "log" and low <= 0):
            wanted = "from above 0, and not above to" if scale == "log" else "from not above to"
            self._reader.fail(place.line, f"{place.key} is from {low} to {high}: expected {wanted}")
        return Range(low, high, scale == "log", number is int)

    def _seeds(self, part: tuple[yaml.Node, Place] | None, scenario: Scenario) -> tuple[int, ...]:
        if part is None:
            return (scenario.seed,)
        seeds: int | tuple[int, ...] = self._reader.value(int | tuple[int, ...], *part)
        if isinstance(seeds, tuple):
            if seeds and len(set(seeds)) == len(seeds) and min(seeds) >= 0:
                return seeds
            self._reader.fail(part[1].line, "seeds: expected different numbers, at least 0")
        if seeds < 1:
            self._reader.fail(part[1].line, f"seeds is {seeds}: expected at least 1")
        return tuple(range(scenario.seed, scenario.seed + seeds))

    def _settings(self, node: yaml.Node, place: Place) -> list[tuple[Place, str, yaml.Node]]:
        """Return the settings in a section, known ones and each in one section only."""
        settings: list[tuple[Place, str, yaml.Node]] = []
        for at, key, value in self._reader.entries(node, Place(place.key, line_of(node))):
            known = _known()
            if key not in known:
                self._reader.fail(at.line, f"{at.key}: unknown key; {nearest(key, known)}")
            if key == "seed":
                self._reader.fail(at.line, f"{at.key}: expected seeds, at the top")
            if key in self._lines:
                self._reader.fail(at.line, f"{at.key}: given in line {self._lines[key]} too")
            self._lines[key] = at.line
            settings.append((Place(key, at.line), key, value))
        return settings

    def _values(self, key: str, node: yaml.Node, place: Place) -> tuple[Any, ...]:
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            self._reader.fail(place.line, f"{place.key}: expected a list of values")
        items = cast("list[yaml.Node]", node.value)
        return tuple(self._reader.value(_hint(key), item, place) for item in items)

    def _sections(
        self, node: yaml.Node, place: Place, known: list[str]
    ) -> dict[str, tuple[yaml.Node, Place]]:
        parts: dict[str, tuple[yaml.Node, Place]] = {}
        for at, key, value in self._reader.entries(node, place):
            if key not in known:
                self._reader.fail(at.line, f"{at.key}: unknown key; {nearest(key, known)}")
            parts[key] = value, at
        return parts

    def _checked(self, scenario: Scenario, settings: dict[str, Any]) -> Scenario:
        try:
            return turned(scenario, settings)
        except ConfigError as error:
            self._fail_about(error)

    def _fail_about(self, error: ConfigError) -> NoReturn:
        """Tell of settings that make no scenario, with the line of the one that is named."""
        words = re.findall(r"[\w.]+", str(error))
        told = [self._lines[word] for word in words if word in self._lines]
        inner = [line for key, line in self._lines.items() if key.rpartition(".")[2] in words]
        self._reader.fail((told or inner or [1])[0], str(error))


def _known() -> list[str]:
    """Return the names of all settings."""
    names: list[str] = []
    for name, hint in get_type_hints(Scenario).items():
        names.append(name)
        if (inner := _record_in(hint)) is not None:
            names += [f"{name}.{field.name}" for field in dataclasses.fields(inner)]
    return names


def _hint(key: str) -> Any:
    """Return the type of a known setting."""
    name, _, rest = key.partition(".")
    hint = get_type_hints(Scenario)[name]
    return get_type_hints(_record_in(hint))[rest] if rest else hint


def _record_in(hint: Any) -> type[Any] | None:
    """Return the dataclass that a field may hold."""
    kinds = [kind for kind in _kinds(hint) if dataclasses.is_dataclass(kind)]
    return cast("type[Any]", kinds[0]) if kinds else None


def _kinds(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
