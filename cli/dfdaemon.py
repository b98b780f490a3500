"""``dfdaemon``: a proxy that lets container engines pull through the swarm; not built yet."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .status import ExitError, ExitStatus, run_program

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Say that there is nothing to run, and what to do instead."""
    del argv
    return run_program("dfdaemon", _refuse, verbose=False)


def _refuse() -> ExitStatus:
    raise ExitError(
        "not built yet: let the container engine use its registry directly, and dfget for files",
        ExitStatus.FAILED,
    )


if __name__ == "__main__":
    sys.exit(main())
