"""Scenarios as YAML files: the keys are the fields of ``Scenario``, and nothing else is allowed.

Numbers are in the unit that a key's name ends in; a string with a unit is as good: ``200MB``,
``200mbit``, ``0.5ms``.  What is wrong in a file is told with its name, line and key.
"""

from __future__ import annotations

import dataclasses
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any, Final, cast

import yaml

from ..engine.errors import ConfigError
from .scenario import Scenario
from .yaml_reader import Place, Reader

_SHIPPED: Final = Path(__file__).parent / "scenarios"


def names() -> list[str]:
    """Return the names of the scenarios that come with this package."""
    return sorted(path.stem for path in _SHIPPED.glob("*.yml"))


def find(name: str) -> Path:
    """Return the file that ``name`` means: a path, or the bare name of a scenario that comes along.

    Raises:
        ConfigError: there is no such file; names the nearest scenario that exists.

    """
    path, shipped = Path(name), _SHIPPED / f"{name}.yml"
    if path.is_file():
        return path
    if name and path.name == name and shipped.is_file():
        return shipped
    near = get_close_matches(path.stem, names(), n=1, cutoff=0.5)
    known = ", ".join(names())
    instead = f"did you mean {near[0]}?" if near else f"expected a file, or one of {known}"
    raise ConfigError(f"scenario {name}: there is no such file; {instead}")


def load(path: Path) -> Scenario:
    """Read a scenario.

    Raises:
        ConfigError: the file cannot be read, or what it says cannot be used; names file, line and
            key.

    """
    reader = Reader(path, "scenario")
    root = reader.root()
    return Scenario() if root is None else reader.record(Scenario, root, Place("", 1))


def dump(scenario: Scenario) -> str:
    """Return the YAML that ``load`` makes ``scenario`` of; only what is not as by default."""
    return yaml.safe_dump(  # pyright: ignore[reportUnknownMemberType]
        plain(scenario), sort_keys=False, default_flow_style=None
    )


def plain(value: Any) -> Any:
    """Return a value as YAML knows it: of dataclasses only what differs from their defaults."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [plain(item) for item in cast("tuple[Any, ...]", value)]
    if dataclasses.is_dataclass(value):
        pairs = [(field, getattr(value, field.name)) for field in dataclasses.fields(value)]
        return {field.name: plain(item) for field, item in pairs if item != field.default}
    return value
