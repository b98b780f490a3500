"""``supernode``: reads each file from its origin once and lets peers share it."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from .options import SUPERNODE, SUPERNODE_COMMANDS
from .status import ExitStatus, Stopped, run_program
from .values import version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..net.supernode import SupernodeSettings
    from .options import SupernodeFlags


def main(argv: Sequence[str] | None = None) -> int:
    """Run a supernode until SIGINT or SIGTERM; ``argv`` without the program's name."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_program("supernode", partial(_command, arguments), verbose="--verbose" in arguments)


def _command(arguments: list[str]) -> ExitStatus:
    match arguments:
        case ["help", *_]:
            print(SUPERNODE.help(), end="")
            return ExitStatus.SUCCESS
        case ["version", *_]:
            print(f"supernode version  {version()}")
            return ExitStatus.SUCCESS
        case _ if _describe(arguments):
            return ExitStatus.SUCCESS
        case _:
            return _run(SUPERNODE.parse(arguments))


def _describe(arguments: list[str]) -> bool:
    from .config_keys import SUPERNODE_KEYS
    from .describe import describe

    return describe(SUPERNODE_COMMANDS, SUPERNODE_KEYS, arguments)


def _run(flags: SupernodeFlags) -> ExitStatus:
    import trio

    from .config_file import supernode_choice
    from .interrupt import allow_many_connections, until_signal
    from .logs import LogConfig, logging_to
    from .settings import supernode_file, supernode_settings

    allow_many_connections()
    chosen = supernode_choice(flags, os.environ, supernode_file(flags))
    settings = supernode_settings(flags, chosen)
    path, log = settings.home / "logs" / "app.log", replace(LogConfig(), **chosen.log)
    with logging_to(path, log, verbose=flags.verbose or chosen.debug):
        try:
            trio.run(until_signal, partial(_serve, settings))
        except Stopped as stopped:
            print(stopped, flush=True)
    return ExitStatus.SUCCESS


async def _serve(settings: SupernodeSettings) -> None:
    import trio

    from ..net.supernode import serve_supernode

    async with trio.open_nursery() as nursery:
        address = await nursery.start(partial(serve_supernode, settings))
        print(
            f"supernode ready: control http://{address.host}:{address.port}"
            f" download http://{address.host}:{address.download_port} home {settings.home}",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
