"""What attrs compiles is kept between runs, and nothing breaks if it cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

RUN = """
import builtins, sys
from damselfly.cli import compiled
import attrs

made = []
compiled.compile = lambda *source: made.append(source) or builtins.compile(*source)

with compiled.kept_code(sys.argv[1]):
    @attrs.define
    class Point:
        x: int = 0

    @attrs.frozen
    class Name:
        text: str = ""

assert Point(3) == Point(3) != Point(4)
assert len({Name("a"), Name("a"), Name("b")}) == 2
print(len(made))
"""


def compilations(folder: Path, seed: int = 1, setting: str = "") -> int:
    """Return how much a program that defines two classes has to compile."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    given |= {"PYTHONHASHSEED": str(seed)} | ({setting: str(folder.parent)} if setting else {})
    command = [sys.executable, "-P", "-W", "error", "-c", RUN, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=given)
    assert not done.stderr
    return int(done.stdout)


def test_only_the_first_run_compiles(tmp_path: Path) -> None:
    assert compilations(tmp_path) == 2
    assert len(list(tmp_path.iterdir())) == 1
    assert compilations(tmp_path) == 0


def test_what_is_random_in_a_class_does_not_matter(tmp_path: Path) -> None:
    assert compilations(tmp_path, seed=1) == 2
    assert compilations(tmp_path, seed=2) == 0


@pytest.mark.parametrize("content", [b"", b"no code", None, b"\xa9\x02z\x01az\x01b"])
def test_a_file_that_is_damaged_or_of_another_python_is_replaced(
    tmp_path: Path, content: bytes | None
) -> None:
    compilations(tmp_path)
    (kept,) = tmp_path.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-100] if content is None else content)
    assert compilations(tmp_path) == 2
    assert compilations(tmp_path) == 0
    assert len(list(tmp_path.iterdir())) == 1


def test_without_a_place_to_keep_it_all_works(tmp_path: Path) -> None:
    folder = tmp_path / "there is none"
    assert compilations(folder) == 2
    assert compilations(folder) == 2


@pytest.mark.parametrize("setting", ["PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"])
def test_nothing_is_kept_where_python_keeps_nothing_there(tmp_path: Path, setting: str) -> None:
    assert compilations(tmp_path, setting=setting) == 2
    assert not list(tmp_path.iterdir())
