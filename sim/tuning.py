"""The settings of supernode engines that a scenario may turn, beside those it has knobs for."""

from __future__ import annotations

from dataclasses import fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from ..engine.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..engine.config import SupernodeConfig

_KNOBS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "up_slots": "up_slots",
        "down_slots": "down_slots",
        "cdn_up_slots": "supernode_slots",
        "policy": "policy",
        "piece_size_policy": "piece_size",
    }
)
"""Settings by the knob of the scenario that they are made from."""
_FIXED: Final = ("ip", "download_port", "cdn_pattern")
"""Not simulated: there is one address a supernode, and each keeps copies."""


def check_tuning(config: SupernodeConfig) -> None:
    """Make sure that nothing is turned that has a knob of its own, or cannot be turned.

    Raises:
        ConfigError: something is; names the setting, and the knob to be used.

    """
    for field in fields(config):
        value = getattr(config, field.name)
        if value == field.default:
            continue
        said = f"supernode_config.{field.name} is {value}"
        if field.name in _KNOBS:
            raise ConfigError(f"{said}: expected {_KNOBS[field.name]} of the scenario to say so")
        if field.name in _FIXED:
            raise ConfigError(f"{said}: expected none, a simulation cannot change it")
