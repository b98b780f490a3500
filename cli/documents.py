"""Reference pages in Markdown, made from the tables of a program's commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..engine.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .command import Command


def write_documents(commands: Sequence[Command[Any]], folder: Path) -> None:
    """Write one page for each command into ``folder``, as ``dfget_server.md``.

    Raises ``ConfigError`` if there is no such directory or it cannot be written.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no directory: make it, or name another with -p")
    for command in commands:
        path = folder / _file_name(command)
        try:
            path.write_text(document(command, commands), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def document(command: Command[Any], commands: Sequence[Command[Any]]) -> str:
    """Return the page of one command, with links to the pages of the others."""
    lines = [f"# {command.prog}", "", command.description, "", f"    {command.usage}", ""]
    lines += ["## Flags", "", "| flag | value | meaning |", "|---|---|---|"]
    for option in command.options:
        names = ", ".join([f"`{name}`" for name in option.names])
        meaning = option.help.replace("|", "\\|")
        lines.append(f"| {names} | {option.metavar} | {meaning} |")
    lines.append("| `-h`, `--help` | | show the help |")
    lines += ["", "## See also", ""]
    lines += [
        f"- [{other.prog}]({_file_name(other)}): {other.description}"
        for other in commands
        if other is not command
    ]
    return "\n".join([*lines, ""])


def _file_name(command: Command[Any]) -> str:
    return f"{command.prog.replace(' ', '_')}.md"
