"""How a command of ``dfsim`` ends, and how it says why."""

from __future__ import annotations

import sys
from enum import IntEnum


class ExitStatus(IntEnum):
    """How dfsim ends."""

    OK = 0
    FAILED = 1
    USAGE = 2
    INCOMPLETE = 3
    """Of a trace only a part could be read; what could be is well."""
    INTERRUPTED = 130


def complain(message: str, status: ExitStatus) -> ExitStatus:
    """Print one line to stderr; return ``status``."""
    print(f"dfsim: {message}", file=sys.stderr)
    return status
