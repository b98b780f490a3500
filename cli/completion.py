"""Completion scripts for shells, made from the tables of a program's commands."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from .command import Command, Option

_PATHS: Final = ("FILE", "FILES", "LIST", "DIR")


def completion_script(shell: str, commands: Sequence[Command[Any]]) -> str:
    """Return what ``shell`` (``bash``, ``zsh``, ``fish``) is to read to complete ``commands``.

    The first command is the program itself, the others its sub-commands.
    """
    return "\n".join([*_SHELLS[shell](commands[0], commands[1:]), ""])


def _bash(program: Command[Any], others: Sequence[Command[Any]]) -> Iterator[str]:
    name = program.prog
    yield f"# bash completion for {name}: source <({name} completion bash)"
    yield f"_{name}() {{"
    yield '    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"'
    yield "    COMPREPLY=()"
    # bash takes --flag=value for three words.
    yield '    [ "$before" != = ] || before="${COMP_WORDS[COMP_CWORD-2]}"'
    yield '    [ "$word" != = ] || word='
    yield '    case "$((COMP_CWORD > 1)) ${COMP_WORDS[1]}" in'
    for command in others:
        yield f'        "1 {command.word}")'
        yield from _bash_case(command, command.words)
    yield "        *)"
    yield from _bash_case(program, [])
    yield "    esac"
    words = shlex.quote(" ".join([other.word for other in others]))
    yield f'    (( COMP_CWORD > 1 )) || COMPREPLY+=($(compgen -W {words} -- "$word"))'
    yield "}"
    yield f"complete -o filenames -F _{name} {name}"


def _bash_case(command: Command[Any], words: Sequence[str]) -> Iterator[str]:
    indent = " " * 12
    yield f'{indent}case "$before" in'
    for option in command.options:
        if option.metavar:
            yield f"{indent}    {'|'.join(option.names)}) {_bash_values(option)} return ;;"
    yield f"{indent}esac"
    known = " ".join([*words, *_names(command), "--help"])
    yield f'{indent}COMPREPLY=($(compgen -W {shlex.quote(known)} -- "$word")) ;;'


def _bash_values(option: Option) -> str:
    if option.words:
        return f'COMPREPLY=($(compgen -W {shlex.quote(" ".join(option.words))} -- "$word"));'
    return 'COMPREPLY=($(compgen -f -- "$word"));' if option.metavar in _PATHS else ""


def _zsh(program: Command[Any], others: Sequence[Command[Any]]) -> Iterator[str]:
    name = program.prog
    yield f"#compdef {name}"
    yield f"# zsh completion for {name}: source <({name} completion zsh)"
    yield f"_{name}() {{"
    yield '    case "$(( CURRENT > 2 )) ${words[2]}" in'
    for command in others:
        yield f'        "1 {command.word}")'
        yield "            shift words; (( CURRENT-- ))"
        first = [f"1: :({' '.join(command.words)})"] if command.words else []
        yield from _zsh_arguments([*first, *_zsh_options(command)])
    yield "        *)"
    commands = f"1: :({' '.join([other.word for other in others])})"
    yield from _zsh_arguments([commands, *_zsh_options(program)])
    yield "    esac"
    yield "}"
    # Sourced, it has to be announced; found by the shell itself, it is being called.
    yield f'if [ "$funcstack[1]" = "_{name}" ]; then _{name} "$@"; else compdef _{name} {name}; fi'


def _zsh_arguments(specs: Iterable[str]) -> Iterator[str]:
    yield "            _arguments \\"
    for spec in specs:
        yield f"                {shlex.quote(spec)} \\"
    yield "                '--help[show the help]' ;;"


def _zsh_options(command: Command[Any]) -> Iterator[str]:
    for option in command.options:
        told = option.help.translate(str.maketrans({"[": "(", "]": ")", "\\": "/"}))
        value = ""
        if option.words:
            value = f":{option.metavar}:({' '.join(option.words)})"
        elif option.metavar:
            value = f":{option.metavar}:{'_files' if option.metavar in _PATHS else ' '}"
        again = "*" if option.action != "store" else ""
        for name in option.names:
            joined = ("=" if name.startswith("--") else "+") if value else ""
            yield f"{again}{name}{joined}[{told}]{value}"


def _fish(program: Command[Any], others: Sequence[Command[Any]]) -> Iterator[str]:
    name = program.prog
    words = " ".join([other.word for other in others])
    yield f"# fish completion for {name}: {name} completion fish | source"
    yield f"complete -c {name} -f"
    for command in others:
        described = f"-a {command.word} -d {_fish_quoted(command.description)}"
        yield f"complete -c {name} -n __fish_use_subcommand {described}"
        when = f"'__fish_seen_subcommand_from {command.word}'"
        if command.words:
            yield f"complete -c {name} -n {when} -a {_fish_quoted(' '.join(command.words))}"
        yield from _fish_options(name, when, command)
    yield from _fish_options(name, f"'not __fish_seen_subcommand_from {words}'", program)


def _fish_options(name: str, when: str, command: Command[Any]) -> Iterator[str]:
    for option in command.options:
        short = f" -s {option.short}" if option.short else ""
        value = ""
        if option.words:
            value = f" -x -a {_fish_quoted(' '.join(option.words))}"
        elif option.metavar:
            value = " -r -F" if option.metavar in _PATHS else " -x"
        told = f" -d {_fish_quoted(option.help)}"
        yield f"complete -c {name} -n {when} -l {option.long}{short}{value}{told}"


def _fish_quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _names(command: Command[Any]) -> list[str]:
    return [name for option in command.options for name in reversed(option.names)]


_SHELLS: Final[Mapping[str, Callable[[Command[Any], Sequence[Command[Any]]], Iterator[str]]]] = {
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
}
SHELLS: Final = tuple(_SHELLS)
