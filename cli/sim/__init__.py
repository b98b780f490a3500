"""The commands of ``dfsim``, one module each: ``add(commands)`` adds its parser."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import argparse

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # pyright: ignore[reportPrivateUsage]
"""Where a command adds its parser, with ``set_defaults(command=…)``."""
