"""``dfdaemon``: lets container engines and other HTTP clients pull through the swarm."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING

from ..engine.errors import ConfigError
from .daemon.options import DFDAEMON, DFDAEMON_COMMANDS, GEN_CA, INIT
from .daemon.values import with_status
from .status import ExitStatus, run_program
from .values import version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .daemon.options import DaemonFlags


def main(argv: Sequence[str] | None = None) -> int:
    """Run dfdaemon and return its exit status; ``argv`` without the program's name."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_program("dfdaemon", partial(_command, arguments), verbose="--verbose" in arguments)


def _command(arguments: list[str]) -> ExitStatus:
    match arguments:
        case ["help", *_]:
            print(DFDAEMON.help(), end="")
        case ["version" | "-v" | "--version", *_]:
            print(f"dfdaemon version  {version()}")
        case ["gen-ca", *rest]:
            _generate_ca(rest)
        case ["init", *rest]:
            from .daemon.init import init_engine

            for line in init_engine(INIT.parse(rest)):
                print(line)
        case _ if _describe(arguments):
            pass
        case _:
            return _run(arguments)
    return ExitStatus.SUCCESS


def _describe(arguments: list[str]) -> bool:
    from .daemon.keys import DAEMON_KEYS
    from .describe import describe

    return describe(DFDAEMON_COMMANDS, DAEMON_KEYS, arguments)


def _generate_ca(arguments: list[str]) -> None:
    from .daemon.authority import generate_ca

    certificate, key = generate_ca(GEN_CA.parse(arguments))
    print(f"certificate {certificate}, private key {key}")


def _run(arguments: list[str]) -> ExitStatus:
    flags = _parsed(arguments)

    from .daemon.settings import daemon_choice, daemon_settings

    try:
        told = daemon_settings(flags, daemon_choice(flags, os.environ))
    except ConfigError as error:
        raise with_status(error, ExitStatus.BAD_CONFIG) from error

    from .daemon.running import run_daemon

    return run_daemon(told, arguments)


def _parsed(arguments: list[str]) -> DaemonFlags:
    try:
        return DFDAEMON.parse(arguments)
    except ConfigError as error:
        raise with_status(error, ExitStatus.FAILED) from error


if __name__ == "__main__":
    sys.exit(main())
