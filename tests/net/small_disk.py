"""A file system of one MiB, to fill up for real."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

DISK_BYTES: Final = 1 << 20


@contextlib.contextmanager
def small_disk(mount_point: Path, *options: str) -> Generator[Path]:
    """Mount a small tmpfs for a while; skips the test where that is not allowed."""
    mount_point.mkdir()
    option = ",".join((f"size={DISK_BYTES}", *options))
    command = ["mount", "-t", "tmpfs", "-o", option, "damselfly-test", mount_point]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("a small disk: there is no mount command")
    if mounted.returncode != 0:
        pytest.skip(f"a small disk: cannot mount a tmpfs: {mounted.stderr.strip()}")
    try:
        yield mount_point
    finally:
        subprocess.run(["umount", mount_point], check=True)


def fill(disk: Path) -> Path:
    """Leave no byte free and return the file that takes them."""
    filler = disk / "filler"
    page = bytes(os.sysconf("SC_PAGE_SIZE"))
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(page)
    assert os.statvfs(disk).f_bavail == 0
    return filler
