"""How dfget starts: what it loads, and what it leaves alone."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING

import pytest

from damselfly.cli.quick import no_collections
from damselfly.net.version import VERSION

from .dfget_support import DATA, PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

    from ..origin_server import OriginServer

UNUSED = {
    "cryptography", "email.message", "h11", "http.client", "http.cookiejar", "httpx",
    "importlib.metadata", "prometheus_client", "rich", "simpy", "tomlkit", "yaml",
}  # fmt: skip


def test_a_download_through_a_supernode_loads_no_more_than_it_uses(
    origin: OriginServer, tmp_path: Path
) -> None:
    python = [sys.executable, "-P"]
    command = [*python, "-m", "damselfly.cli.supernode", "--home-dir", str(tmp_path / "sn")]
    command += ["--port", "0", "--download-port", "0", "--advertise-ip", "127.0.0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supernode:
        assert supernode.stdout is not None
        node = supernode.stdout.readline().split("control http://")[1].split()[0]
        command = [*python, "-X", "importtime", "-m", "damselfly.cli.dfget", "-n", node]
        command += ["-u", origin.url("/f"), "-o", str(tmp_path / "f"), "--alivetime", "1s"]
        dfget = subprocess.run(
            [*command, "--home", str(tmp_path / "home")],
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE_S,
        )
        supernode.terminate()
    assert (tmp_path / "f").read_bytes() == DATA
    loaded = set(re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", dfget.stderr, re.MULTILINE))
    assert "damselfly.net.fetch" in loaded
    assert not loaded & UNUSED


def test_what_is_made_at_the_start_is_not_searched_for_garbage() -> None:
    before = gc.get_freeze_count()
    try:
        with no_collections():
            assert not gc.isenabled()
            made = [[number] for number in range(100)]
        assert gc.isenabled()
        assert gc.get_freeze_count() >= before + len(made)
    finally:
        gc.unfreeze()


def test_collections_go_on_after_a_start_that_fails() -> None:
    with pytest.raises(ValueError, match="a flag"), no_collections():
        raise ValueError("a flag")
    assert gc.isenabled()
    gc.unfreeze()


def test_the_version_is_that_of_the_installed_package() -> None:
    assert metadata.version("damselfly") == VERSION
