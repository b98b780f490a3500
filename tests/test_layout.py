"""What keeps the folders apart: who may import whom, and what the engine may not touch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
ARROWS = {
    "engine": {"engine"},
    "net": {"engine", "net"},
    "sim": {"engine", "sim"},
    "cli": {"engine", "net", "sim", "cli"},
}
IMPURE = {
    "asyncio", "datetime", "h11", "httpx", "io", "logging", "multiprocessing", "os", "pathlib",
    "secrets", "select", "selectors", "shutil", "simpy", "socket", "ssl", "subprocess", "sys",
    "tempfile", "threading", "time", "trio", "uuid",
}  # fmt: skip


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, int, str]]:
    """Yield line, number of leading dots and dotted name of every import in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names):
                yield from ((node.lineno, 0, alias.name) for alias in names)
            case ast.ImportFrom(module, _, level):
                yield node.lineno, level or 0, module or ""
            case _:
                pass


@pytest.mark.parametrize("path", python_files(*ARROWS, "tests", "benchmarks"), ids=str)
def test_no_folder_is_imported_by_its_bare_name(path: Path) -> None:
    bare = [
        f"{path}:{line}: say damselfly.{name}"
        for line, level, name in imports(path)
        if not level and name.partition(".")[0] in ARROWS
    ]
    assert not bare


@pytest.mark.parametrize("path", python_files(*ARROWS), ids=str)
def test_arrows_between_folders(path: Path) -> None:
    inside = path.relative_to(ROOT).parts[:-1]
    for line, level, name in imports(path):
        assert not name.startswith("damselfly"), f"{path}:{line}: packages import relatively"
        if level > len(inside):
            folder = name.partition(".")[0]
            assert folder in ARROWS[inside[0]], f"{path}:{line}: {inside[0]} must not use {folder}"


@pytest.mark.parametrize("path", python_files("engine"), ids=str)
def test_the_engine_is_pure(path: Path) -> None:
    for line, level, name in imports(path):
        assert level or name.partition(".")[0] not in IMPURE, f"{path}:{line}: {name}"
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Call(ast.Name("open" | "print" | "input")):
                raise AssertionError(f"{path}:{node.lineno}: the engine does no I/O")
            case ast.Attribute(ast.Name("random"), attribute):
                assert attribute == "Random", f"{path}:{node.lineno}: take a seeded random.Random"
            case _:
                pass


def test_the_same_engines_run_in_net_and_sim() -> None:
    for folder in ("net", "sim"):
        text = "".join(path.read_text() for path in python_files(folder))
        for engine in ("SupernodeEngine", "DownloadEngine", "PeerServerEngine"):
            assert f" import {engine}" in text, f"{folder} does not drive {engine}"


def test_only_the_world_imports_simpy() -> None:
    users = [
        path.name for path in python_files("sim") for _, _, name in imports(path) if name == "simpy"
    ]
    assert users == ["world.py"]


@pytest.mark.parametrize("program", ["dfget", "supernode", "dfdaemon", "dfsim"])
def test_help_imports_nothing_heavy(program: str) -> None:
    code = (
        f"import sys, damselfly.cli.{program} as p\n"
        "try: p.main(['--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'trio','httpx','rich','yaml','simpy','msgspec'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
