"""Sizes, rates and durations as people write them on a command line, and as Dragonfly v1 does."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeVar

from ..engine.errors import ConfigError
from ..engine.expressions import expression
from ..engine.units import parse_duration, parse_rate, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "as_argument",
    "parse_duration",
    "parse_rate",
    "parse_size",
    "parse_v1_rate",
    "parse_v1_size",
]

T = TypeVar("T")

_V1_UNITS: Final = {"": 0, "B": 0, "k": 1, "K": 1, "KB": 1, "m": 2, "M": 2, "MB": 2} | {
    "g": 3,
    "G": 3,
    "GB": 3,
}
_WHOLE: Final = expression(r"(\d+)([A-Za-z]*)", re.ASCII)


def parse_v1_rate(text: str) -> int:
    """Return bytes per second as dfget 1.0.6 reads them (protocol 8.1): ``20M`` is 20 * 1024**2.

    Raises:
        ConfigError: ``text`` is not such a rate.

    """
    return _v1_bytes(text, f"rate {text!r}: expected a whole number of bytes per second")


def parse_v1_size(text: str) -> int:
    """Return bytes as supernode 1.0.6 reads them (protocol 6.6): ``5GB`` is 5 * 1024**3.

    Raises:
        ConfigError: ``text`` is not such a size.

    """
    return _v1_bytes(text, f"size {text!r}: expected a whole number of bytes")


def as_argument(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Return ``parse`` for use as an argparse ``type``, which then prints its own message."""

    def typed(text: str) -> T:
        try:
            return parse(text)
        except ConfigError as error:
            import argparse

            raise argparse.ArgumentTypeError(str(error)) from error

    return typed


def _v1_bytes(text: str, complaint: str) -> int:
    match = _WHOLE.fullmatch(text)
    power = _V1_UNITS.get(match[2]) if match else None
    if match is None or power is None:
        units = "or one with B, k, K, KB, m, M, MB, g, G or GB (powers of 1024)"
        raise ConfigError(f"{complaint}, {units}")
    return int(match[1]) * 1024**power
