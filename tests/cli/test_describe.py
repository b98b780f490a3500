from __future__ import annotations

import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from damselfly.cli import dfdaemon, dfget, supernode
from damselfly.cli.completion import completion_script
from damselfly.cli.daemon.options import DFDAEMON_COMMANDS
from damselfly.cli.options import DFGET_COMMANDS, SUPERNODE_COMMANDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from damselfly.cli.command import Command

PROGRAMS = [
    (dfget.main, DFGET_COMMANDS),
    (supernode.main, SUPERNODE_COMMANDS),
    (dfdaemon.main, DFDAEMON_COMMANDS),
]


@pytest.mark.parametrize(("main", "commands"), PROGRAMS, ids=["dfget", "supernode", "dfdaemon"])
def test_each_command_gets_a_page_that_names_its_flags(
    main: Callable[[Sequence[str]], int], commands: Sequence[Command[Any]], tmp_path: Path
) -> None:
    assert main(["gen-doc", "-p", str(tmp_path)]) == 0
    pages = {path.name for path in tmp_path.iterdir()}
    assert pages == {f"{command.prog.replace(' ', '_')}.md" for command in commands}
    for command in commands:
        text = (tmp_path / f"{command.prog.replace(' ', '_')}.md").read_text()
        assert text.startswith(f"# {command.prog}\n")
        for option in command.options:
            assert f"`--{option.long}`" in text


def test_the_pages_of_dragonfly_are_among_them(tmp_path: Path) -> None:
    assert dfget.main(["gen-doc", "--path", str(tmp_path)]) == 0
    pages = {path.name for path in tmp_path.iterdir()}
    assert pages >= {"dfget.md", "dfget_server.md", "dfget_version.md", "dfget_gen-doc.md"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["gen-doc", "-p", "/no/where"], "/no/where is no directory"),
        (["completion"], "bash|zsh|fish"),
        (["completion", "tcsh"], "invalid choice: 'tcsh'"),
        (["config", "init"], "invalid choice: 'init'"),
    ],
)
def test_words_that_make_no_sense(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dfget.main(arguments) == 1
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("dfget --loc", ["--locallimit"]),
        ("dfget comp", ["completion"]),
        ("dfget completion f", ["fish"]),
        ("dfget -p ", ["p2p", "cdn", "source"]),
        ("dfget -u http://h/f --pattern c", ["cdn"]),
        ("dfget --pattern =", ["p2p", "cdn", "source"]),
        ("dfget -u x --pattern = c", ["cdn"]),
        ("dfget -u ", []),
        ("dfget server --al", ["--alivetime"]),
        ("dfget server --home ./d", ["./dir"]),
        ("dfget gen-doc -p ./d", ["./dir"]),
        ("dfget config ", ["default", "--help"]),
    ],
)
def test_bash_completes(line: str, expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    words = line.split(" ")
    script = "\n".join(
        [
            completion_script("bash", DFGET_COMMANDS),
            f"COMP_WORDS=({' '.join(map(shlex.quote, words))})",
            f"COMP_CWORD={len(words) - 1}",
            '_dfget; printf "%s\\n" "${COMPREPLY[@]}"',
        ]
    )
    done = subprocess.run(
        ["bash", "-uc", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout.split() == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(("main", "commands"), PROGRAMS, ids=["dfget", "supernode", "dfdaemon"])
def test_scripts_know_every_flag(
    main: Callable[[Sequence[str]], int],
    commands: Sequence[Command[Any]],
    shell: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for command in commands:
        for option in command.options:
            assert f"-l {option.long} " in script or f"--{option.long}" in script


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_shell_itself_finds_no_fault(shell: str, tmp_path: Path) -> None:
    file = tmp_path / "script"
    file.write_text(completion_script(shell, DFGET_COMMANDS))
    assert in_shell(shell, "-n", str(file)) == ""


def in_shell(shell: str, *words: str) -> str:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed here")
    done = subprocess.run([shell, *words], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("dfget --loc", ["--locallimit"]),
        ("dfget comp", ["completion"]),
        ("dfget completion ", ["bash", "fish", "zsh"]),
        ("dfget -p ", ["cdn", "p2p", "source"]),
        ("dfget --pattern=c", ["--pattern=cdn"]),
        ("dfget server --al", ["--alivetime"]),
        ("dfget server --notb", []),
    ],
)
def test_fish_completes(line: str, expected: list[str], tmp_path: Path) -> None:
    file = tmp_path / "script"
    file.write_text(completion_script("fish", DFGET_COMMANDS))
    printed = in_shell("fish", "-c", f"source {file}; complete -C {shlex.quote(line)}")
    assert [one.split("\t")[0] for one in printed.splitlines()] == expected


def test_zsh_knows_who_completes(tmp_path: Path) -> None:
    file = tmp_path / "script"
    file.write_text(completion_script("zsh", DFGET_COMMANDS))
    text = f"autoload -Uz compinit; compinit -u -D; source {file}; print $_comps[dfget]"
    assert in_shell("zsh", "-f", "-c", text) == "_dfget\n"


def test_config_default_prints_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert dfget.main(["config", "default"]) == 0
    assert "\nlocalLimit: 0\n" in capsys.readouterr().out
    assert supernode.main(["config", "default"]) == 0
    assert "\n  listenPort: 8002\n" in capsys.readouterr().out
