"""A parser of flags whose errors are those of our programs."""

from __future__ import annotations

import argparse
from typing import NoReturn

from ..engine.errors import ConfigError


class Parser(argparse.ArgumentParser):
    """One that raises ``ConfigError`` where argparse would print and exit."""

    def error(self, message: str) -> NoReturn:
        """Raise the error."""
        raise ConfigError(message)
