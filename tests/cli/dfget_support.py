"""Running dfget, and looking at what it left."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from damselfly.cli.dfget import main

if TYPE_CHECKING:
    from pathlib import Path

DATA = random.Random(3).randbytes(3_000_000)
MD5 = hashlib.md5(DATA).hexdigest()
PATIENCE_S = 60


def fetched(folder: Path, url: str, *flags: str) -> int:
    """Run dfget in this process, from the source unless told otherwise; return its status."""
    arguments = ["-u", url, "-o", str(folder / "out" / "f"), "--home", str(folder / "home")]
    return main([*arguments, *(flags or ("-p", "source"))])


def started(folder: Path, url: str, *flags: str, stderr: int = subprocess.PIPE) -> Any:
    """Run dfget in a process of its own."""
    command = [sys.executable, "-P", "-m", "damselfly.cli.dfget", "-u", url]
    command += ["-o", str(folder / "out" / "f"), "--home", str(folder / "home"), *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)


def assert_one_error_line(err: str, *parts: str) -> None:
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("dfget: ")
    for part in parts:
        assert part in lines[0]


def assert_nothing_delivered(folder: Path) -> None:
    """No file under the user's name, nor anything else where it should be; no piece either."""
    assert not list((folder / "out").glob("*")) + list((folder / "out").glob(".*"))
    assert not list((folder / "home" / "data").glob("*"))
