"""Sizes, rates and durations as people write them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from .errors import ConfigError
from .expressions import expression

if TYPE_CHECKING:
    from collections.abc import Mapping

_SIZE_UNITS: Final = {"": 1, "b": 1} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("kmgt", start=1)
    for suffix, base in (("b", 1000), ("ib", 1024))
}
_BIT_UNITS: Final = {"bit": 0.125} | {
    f"{letter}bit": 1000**power / 8 for power, letter in enumerate("kmgt", start=1)
}
_TIME_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER: Final = expression(r"(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-z]*)", re.ASCII)


def parse_size(text: str) -> int:
    """Return bytes: ``200MB`` is 200,000,000, ``200MiB`` 209,715,200, a bare number is bytes.

    Raises:
        ConfigError: ``text`` is not such a size.

    """
    size = _scaled(text, _SIZE_UNITS)
    if size is None:
        raise ConfigError(f"size {text!r}: expected a number and B, kB, MB, GB, KiB, MiB or GiB")
    return round(size)


def parse_rate(text: str) -> float:
    """Return bytes per second: ``200mbit`` (bits, powers of 1000) or a size a second, ``25MB/s``.

    Raises:
        ConfigError: ``text`` is not such a rate.

    """
    amount, slash, second = text.partition("/")
    bits = _scaled(amount, _BIT_UNITS)
    if bits is not None and (not slash or second == "s"):
        return bits
    size = _scaled(amount, _SIZE_UNITS)
    if size is None or second != "s":
        raise ConfigError(f"rate {text!r}: expected for example 200mbit, 2gbit, 25MB/s or 24MiB/s")
    return size


def parse_duration(text: str) -> float:
    """Return seconds: ``0.5ms``, ``30s``, ``5m``; a unit is required.

    Raises:
        ConfigError: ``text`` is not such a duration.

    """
    seconds = _scaled(text, _TIME_UNITS)
    if seconds is None:
        raise ConfigError(f"duration {text!r}: expected a number and us, ms, s, m or h")
    return seconds


def _scaled(text: str, units: Mapping[str, float]) -> float | None:
    match = _NUMBER.fullmatch(text.strip())
    unit = units.get(match[2].lower()) if match else None
    return float(match[1]) * unit if match and unit is not None else None
