"""What numbers a knob may have."""

from __future__ import annotations

from math import inf, isfinite

from ..engine.errors import ConfigError


def at_least(name: str, value: float, least: float) -> None:
    """Raise ``ConfigError`` unless ``value`` is finite and at least ``least``."""
    if not least <= value < inf:
        raise ConfigError(f"{name} is {value}: expected at least {least}")


def positive(name: str, value: float) -> None:
    """Raise ``ConfigError`` unless ``value`` is finite and more than 0."""
    if not (value > 0 and isfinite(value)):
        raise ConfigError(f"{name} is {value}: expected more than 0")


def share(name: str, value: float) -> None:
    """Raise ``ConfigError`` unless ``value`` is from 0 to 1."""
    if not 0 <= value <= 1:
        raise ConfigError(f"{name} is {value}: expected 0 to 1")


def number_below(name: str, value: int, count: int) -> None:
    """Raise ``ConfigError`` unless ``value`` numbers one of ``count`` things."""
    if not 0 <= value < count:
        raise ConfigError(f"{name} is {value}: expected 0 to {count - 1}")
