"""Events, effects and what they are made of, as plain values that any serialiser takes."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from msgspec import Struct

from . import config, effects, events, ids, messages, outcomes, piece, uploads
from .config import DownloadConfig
from .errors import ConfigError, LocalProtocolError, RemoteProtocolError
from .messages import Register

if TYPE_CHECKING:
    from types import ModuleType

    from .redact import Redactor

Plain: TypeAlias = bool | int | float | str | bytes | list["Plain"] | dict[str, "Plain"] | None

_CLASS: Final = "@"
_MEMBER: Final = "="
_HEADERS: Final = "headers"
_INT_RANGE: Final = range(-(1 << 63), 1 << 64)


class Vocabulary:
    """The structs, dataclasses and enums of some modules, known by name.

    A struct or dataclass becomes ``{"@": its name, field: value, ...}``, a member of an enum
    ``{"=": "Name.MEMBER"}``, a tuple a list.  Secrets are taken out on the way.
    """

    def __init__(self, *modules: ModuleType) -> None:
        self._classes: dict[str, type] = {}
        self._fields: dict[type, tuple[str, ...]] = {}
        self._enums: dict[str, type[Enum]] = {}
        for module in modules:
            for found in cast("dict[str, object]", vars(module)).values():
                if isinstance(found, type) and found.__module__ == module.__name__:
                    self._add(cast("type[object]", found))

    def encode(self, value: object, redactor: Redactor) -> Plain:
        """Return ``value`` in plain form.

        Raises ``LocalProtocolError`` for a value that is not of this vocabulary.
        """
        names = self._fields.get(type(value))
        if names is not None:
            return self._encode_fields(value, names, redactor)
        match value:
            case Enum() if type(value).__name__ in self._enums:
                return {_MEMBER: f"{type(value).__name__}.{value.name}"}
            case None | bool() | float() | bytes():
                return value
            case int() if value in _INT_RANGE and not isinstance(value, Enum):
                return value
            case str() if not isinstance(value, Enum):
                return redactor.text(value)
            case tuple() | list():
                return [self.encode(item, redactor) for item in cast("list[object]", value)]
            case dict():
                found = cast("dict[str, object]", value)
                return {key: self.encode(item, redactor) for key, item in found.items()}
            case _:
                shown = f"{type(value).__name__} {value!r}"[:100]
                raise LocalProtocolError(f"{shown}: not in the vocabulary of traces")

    def decode(self, plain: Plain) -> object:
        """Return what ``encode`` was given, secrets apart.

        The types of the fields are not checked.  Raises ``RemoteProtocolError`` for names that
        this vocabulary does not have.
        """
        match plain:
            case list():
                return tuple(self.decode(item) for item in plain)
            case {"@": str(name)}:
                return self._decode_fields(name, plain)
            case {"=": str(name)}:
                class_name, _, member = name.partition(".")
                try:
                    return self._enums[class_name][member]
                except KeyError:
                    raise RemoteProtocolError(f"trace: no such enum member: {name!r}") from None
            case dict():
                return {key: self.decode(item) for key, item in plain.items()}
            case _:
                return plain

    def _add(self, found: type[object]) -> None:
        name = found.__name__
        known = self._enums.get(name) or self._classes.get(name)
        assert known is None, f"two classes named {name} in the vocabulary"
        if issubclass(found, Enum):
            self._enums[name] = found
        elif issubclass(found, Struct):
            self._classes[name] = found
            self._fields[found] = found.__struct_fields__
        elif is_dataclass(found):
            self._classes[name] = found
            self._fields[found] = tuple(field.name for field in fields(found))

    def _encode_fields(self, value: object, names: tuple[str, ...], redactor: Redactor) -> Plain:
        if isinstance(value, Register | DownloadConfig):
            redactor.learn(value)
        plain: dict[str, Plain] = {_CLASS: type(value).__name__}
        for name in names:
            item = getattr(value, name)
            if name == _HEADERS:
                plain[name] = [redactor.header_line(line) for line in item]
            else:
                plain[name] = self.encode(item, redactor)
        return plain

    def _decode_fields(self, name: str, plain: dict[str, Plain]) -> object:
        found = self._classes.get(name)
        if found is None:
            raise RemoteProtocolError(f"trace: no such class: {name!r}")
        values = {key: self.decode(item) for key, item in plain.items() if key != _CLASS}
        try:
            return found(**values)
        except (TypeError, ConfigError) as error:
            raise RemoteProtocolError(f"trace: {name}: {error}") from None


VOCABULARY: Final = Vocabulary(ids, piece, outcomes, messages, events, effects, uploads, config)
"""All that engines are told and tell, and their settings."""
