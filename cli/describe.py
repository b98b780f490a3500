"""The commands by which a program tells about itself: gen-doc, completion, config."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .options import completion, config, gen_doc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .command import Command
    from .config_keys import Keys


def describe(commands: Sequence[Command[Any]], keys: Keys, arguments: Sequence[str]) -> bool:
    """Do what ``arguments`` say if that is one of these commands, else return False."""
    program = commands[0].prog
    match arguments:
        case ["gen-doc", *rest]:
            from .documents import write_documents

            write_documents(commands, Path(gen_doc(program).parse(rest).path))
        case ["completion", *rest]:
            from .completion import completion_script

            print(completion_script(completion(program).parse(rest).word, commands), end="")
        case ["config", *rest]:
            from .config_file import default_file

            config(program).parse(rest)
            print(default_file(keys), end="")
        case _:
            return False
    return True
