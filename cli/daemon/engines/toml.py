"""TOML files that people wrote: what they have stays, comments as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from ....engine.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import MutableMapping


def parse_toml(path: str, text: str) -> MutableMapping[str, Any]:
    """Return what stands in a file; ``ConfigError`` if that is no TOML."""
    try:
        return tomlkit.parse(text)
    except TOMLKitError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}; correct it first") from error


def toml_text(document: MutableMapping[str, Any]) -> str:
    """Return the text of a file."""
    return tomlkit.dumps(document)


def table_at(document: MutableMapping[str, Any], *names: str) -> MutableMapping[str, Any]:
    """Return the table at a dotted name, made where there is none."""
    found = document
    for number, name in enumerate(names):
        if name not in found:
            found[name] = tomlkit.table(is_super_table=number < len(names) - 1)
        found = found[name]
    return found
