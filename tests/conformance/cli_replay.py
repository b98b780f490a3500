"""The recorded command lines, given to our dfget: exit statuses, the last line, all lines."""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .dfget_replay import VERSION, level_lines, run_dfget
from .findings import Difference, Finding, compare
from .origin import Origin
from .recorded import Command, commands

if TYPE_CHECKING:
    from collections.abc import Iterator

BATTERY: Final = "08-cli-battery.txt"

_NOBODY: Final = "127.0.0.3:9"
"""Where no supernode listens."""
_LOGGED: Final = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} (?:DEBU|INFO|WARN|ERRO) sign:\d+-\d{10}\.\d{3} : .+"
)
_ENDED: Final = re.compile(
    r"download (SUCCESS|FAIL)(?:\((\d+)\))? cost:\S+ length:(-?\d+) reason:(\d+)"
)


@cache
def replay_commands() -> tuple[Finding, ...]:
    """Run every recorded command line."""
    findings: list[Finding] = []
    with Origin().running(), tempfile.TemporaryDirectory() as folder:
        for number, command in enumerate(commands(BATTERY), 1):
            here = Path(folder) / str(number)
            differences = tuple(_run(command, here))
            label = f"{number} dfget {command.version} {' '.join(command.arguments)}".strip()
            findings.append(Finding(BATTERY, label, differences))
    return tuple(findings)


def _run(command: Command, here: Path) -> Iterator[Difference]:
    out = here / "cli"
    out.mkdir(parents=True)
    arguments = [_here(word, here) for word in command.arguments]
    if "-u" in arguments:
        arguments += ["--home", str(here / "home"), "--compat-version", VERSION]
    elif arguments[:1] == ["version"]:
        arguments += ["--compat-version", VERSION]
    with contextlib.chdir(out):
        printed, status = run_dfget(arguments)
    yield from compare("exit status", command.exit_status, status)
    yield from compare("the end", _end_of(command.output), _end_of(printed))
    if command.version == "106" and command.exit_status != 1:
        yield from _compare_lines(
            command.output, [line.replace(str(here / "home"), _HOME) for line in printed]
        )


_HOME: Final = "/root/.small-dragonfly"


def _here(word: str, folder: Path) -> str:
    """Return a word of a command line with folders and supernodes of this test."""
    if word == "127.0.0.1":
        return _NOBODY
    word = re.sub(r"^/tmp/", f"{folder}/", word)
    return re.sub(r"^/nonexistent/", f"{folder}/nonexistent/", word)


def _end_of(lines: list[str] | tuple[str, ...]) -> object:
    found = [match.groups() for line in lines if (match := _ENDED.match(line))]
    return [[word, code or "0", length, reason] for word, code, length, reason in found]


def _compare_lines(recorded: tuple[str, ...], ours: list[str]) -> Iterator[Difference]:
    """Compare what dfget 1.0.6 prints with ours, without usage texts and what a log says."""
    then, now = _spoken(recorded), _spoken(ours)
    if any("usage text removed" in line for line in then):  # a help text of its own making
        then, now = [], []
    if then[:1] == ["dfget version  1.0.6"]:  # what follows tells how it was built
        then, now = then[:1], now[:1]
    yield from compare("logs to stdout", _logs(recorded), _logs(ours))
    if then != now:
        yield Difference("stdout", json.dumps(then), json.dumps(now))


def _spoken(lines: list[str] | tuple[str, ...]) -> list[str]:
    return level_lines([line for line in lines if not _LOGGED.match(line)], [])


def _logs(lines: list[str] | tuple[str, ...]) -> bool:
    return any(_LOGGED.match(line) for line in lines)
