"""JSON as Dragonfly's Go programs write it, and typed, bounded reading of what strangers send."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, Final, TypeAlias, cast
from urllib.parse import unquote

import msgspec

from ..errors import LocalProtocolError, RemoteProtocolError
from ..records import dataclass
from .frame import decimal

MAX_NAME: Final = 512
"""Characters in an identifier, a path, a host name."""
MAX_TEXT: Final = 16384
"""Characters in a URL, a header line, a certificate, a message."""
MAX_INT: Final = (1 << 63) - 1
CONTROLS: Final = (*range(32), 127)
"""Code points that no text of ours has: they would break heads and log lines."""
_SHOWN: Final = 60

Fail: TypeAlias = Callable[[str], RemoteProtocolError]

_CONTROL_CHARACTERS: Final = frozenset(map(chr, CONTROLS))
_decoder = msgspec.json.Decoder(dict[str, Any])


def go_json(value: Mapping[str, object], *, escapes_html: bool = True) -> bytes:
    """Return ``value`` as Go's ``encoding/json`` writes it: order kept, no blanks.

    ``&``, ``<`` and ``>`` are escaped as dfget has them; a supernode leaves them as they are.
    Raises ``LocalProtocolError`` for text that is not Unicode.
    """
    try:
        raw = msgspec.json.encode(value)
    except UnicodeEncodeError as error:
        raise LocalProtocolError(
            f"text {error.object[:_SHOWN]!r} cannot be sent: {error}"
        ) from None
    if not escapes_html:
        return raw
    return raw.replace(b"&", b"\\u0026").replace(b"<", b"\\u003c").replace(b">", b"\\u003e")


def json_object(body: bytes, where: str, fail: Fail) -> dict[str, object]:
    """Return the JSON object in ``body`` with its keys in lower case, as Go matches them."""
    try:
        found = _decoder.decode(body)
    except (ValueError, RecursionError) as error:
        raise fail(f"{where}: expected a JSON object, got {body[:_SHOWN]!r}: {error}") from None
    return lower_keys(found)


def lower_keys(found: Mapping[str, object]) -> dict[str, object]:
    """Return a copy of a decoded JSON object with its keys in lower case."""
    return {key.lower(): value for key, value in found.items()}


def query_values(query: str) -> dict[str, str]:
    """Return the first value of each name of a query string.

    Dragonfly's clients escape nothing, so ``+`` stands for itself and only a well-formed ``%41``
    is taken for an escape.
    """
    found: dict[str, str] = {}
    escaped = "%" in query
    for pair in reversed(query.split("&")):
        name, _, value = pair.partition("=")
        if escaped:
            name, value = unquote(name), unquote(value)
        found[name] = value
    return found


def form_values(form: str) -> dict[str, list[str]]:
    """Return all values of each name of a urlencoded form, the names in lower case."""
    found: dict[str, list[str]] = {}
    for pair in filter(None, form.replace("+", " ").split("&")):
        name, _, value = pair.partition("=")
        found.setdefault(unquote(name).lower(), []).append(unquote(value))
    return found


def checked_text(
    value: str, name: str, where: str, limit: int, fail: Fail, *, is_secret: bool = False
) -> str:
    """Return ``value`` if it is short enough and free of control characters.

    One that may be secret is not shown where it is refused.
    """
    if len(value) > limit:
        raise fail(f"{where}: {name} has {len(value)} characters: expected at most {limit}")
    if not value.isprintable() and not _CONTROL_CHARACTERS.isdisjoint(value):
        shown = "" if is_secret else f" {value[:_SHOWN]!r}"
        raise fail(f"{where}: {name}{shown}: expected no control characters")
    return value


@dataclass(frozen=True, slots=True)
class Fields:
    """The values of one JSON object or form by lower-case name.

    Each reader returns a value of its type within its bounds, or raises what ``fail`` makes of a
    message that names ``where`` and the field, as the caller spells it.  A JSON ``null`` counts as
    absent.
    """

    where: str
    values: Mapping[str, object]
    fail: Fail

    def text(self, name: str, *, limit: int = MAX_NAME, default: str = "") -> str:
        """Read a text."""
        value = self.values.get(name.lower())
        if value is None:
            return default
        if not isinstance(value, str):
            raise self._wrong(name, value, "a text")
        return checked_text(value, name, self.where, limit, self.fail)

    def needed_text(self, name: str, *, limit: int = MAX_NAME) -> str:
        """Read a text that must not be empty."""
        value = self.text(name, limit=limit)
        if not value:
            raise self.fail(f"{self.where}: {name} is missing or empty")
        return value

    def number(self, name: str, low: int, high: int, *, default: int | None = None) -> int:
        """Read an integer from ``low`` to ``high``, also one in digits; no default: needed."""
        value = self.values.get(name.lower())
        if value is None:
            if default is None:
                raise self.fail(f"{self.where}: {name} is missing")
            return default
        if isinstance(value, str):
            value = decimal(value)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self._wrong(name, self.values[name.lower()], f"a number from {low} to {high}")
        return value

    def real(self, name: str) -> float:
        """Read a finite number that is not negative; absent: 0."""
        value = self.values.get(name.lower())
        if value is None:
            return 0.0
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self._wrong(name, value, "a number")
        number = float(value) if abs(value) <= MAX_INT else -1.0
        if not isfinite(number) or number < 0:
            raise self._wrong(name, value, "a number that is not negative")
        return number

    def flag(self, name: str) -> bool:
        """Read a truth value, also one in words; absent: false."""
        value = self.values.get(name.lower())
        if isinstance(value, str) and value.lower() in ("true", "1", "false", "0", ""):
            return value.lower() in ("true", "1")
        if value is None or isinstance(value, bool):
            return bool(value)
        raise self._wrong(name, value, "true or false")

    def texts(self, name: str, *, most: int, limit: int = MAX_TEXT) -> tuple[str, ...]:
        """Read a list of at most ``most`` texts, which may be secret; absent: none."""
        found = self.items(name, most=most)
        for value in found:
            if not isinstance(value, str):
                raise self._wrong(name, value, "a list of texts")
        texts = cast("list[str]", found)
        return tuple(
            checked_text(text, name, self.where, limit, self.fail, is_secret=True) for text in texts
        )

    def items(self, name: str, *, most: int) -> list[object]:
        """Read a list of at most ``most`` values of any kind; absent: none."""
        value = self.values.get(name.lower())
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._wrong(name, value, "a list")
        found = cast("list[object]", value)
        if len(found) > most:
            raise self.fail(f"{self.where}: {name} has {len(found)} items: expected at most {most}")
        return found

    def nested(self, name: str, value: object) -> Fields:
        """Read ``value``, found under ``name``, as an object in its turn."""
        if not isinstance(value, dict):
            raise self._wrong(name, value, "an object")
        found = lower_keys(cast("dict[str, object]", value))
        return Fields(f"{self.where}: {name}", found, self.fail)

    def _wrong(self, name: str, value: object, expected: str) -> RemoteProtocolError:
        return self.fail(f"{self.where}: {name} is {_shown(value)}: expected {expected}")


def _shown(value: object) -> str:
    match value:
        case str():
            return repr(value[:_SHOWN])
        case list() | dict():
            return "a list" if isinstance(value, list) else "an object"
        case _:
            return repr(value)[:_SHOWN]
