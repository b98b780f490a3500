"""A real dfdaemon as a process, and a supernode for it to ask."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.request import urlopen

from .processes import PATIENCE_S, Running

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


_QUIET_S = 0.2


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the access log."""

    entry: str
    method: str
    url: str
    status: int
    sent_bytes: int
    source: str
    task: str
    outcome: str
    reason: str


class Daemon:
    """``dfdaemon`` with a configuration, on a free port; runs within ``with``."""

    def __init__(
        self,
        home: Path,
        config: Mapping[str, object] | None = None,
        *flags: str,
        node: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        file = home / "dfdaemon.yml"
        told = {"port": 0, "workHome": str(home), **(config or {})}
        if node:
            told["supernodes"] = [node]
        file.write_text(json.dumps(told))  # JSON is YAML
        command = [sys.executable, "-m", "damselfly.cli.dfdaemon", "--config", str(file), *flags]
        self.running = Running(command, {**os.environ, "NO_PROXY": "*", **(environment or {})})
        self.url = ""

    @property
    def address(self) -> str:
        """``host:port``."""
        return self.url.partition("://")[2]

    def __enter__(self) -> Self:
        """Start it and wait until it is ready."""
        self.running.__enter__()
        ready = self.running.wait_for(lambda line: line.startswith("dfdaemon ready"), "a port")
        self.url = ready.split()[2]
        return self

    def __exit__(self, *_: object) -> None:
        """End it as an operator does; it must end well."""
        self.running.__exit__()
        assert self.running.process.returncode == 0, self.running.text

    def get(self, path: str) -> str:
        """Return what it says at a path of its own."""
        with urlopen(self.url + path, timeout=PATIENCE_S) as answer:
            return answer.read().decode()

    def access(self) -> list[Line]:
        """Return what the access log has of requests that went upstream.

        A client may have the last byte before the line is written: so nothing new for a while.
        """
        path = self.home / "logs" / "dfdaemon-access.log"
        text, before = path.read_text(), ""
        while text != before:
            time.sleep(_QUIET_S)
            text, before = path.read_text(), text
        found: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
        names = Line.__dataclass_fields__
        return [
            Line(**{name: one[name] for name in names}) for one in found if one["entry"] != "local"
        ]

    def accessed(self, url: str) -> Line:
        """Return the line of a request for ``url``, as soon as it is there."""
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            for line in self.access():
                if line.url == url:
                    return line
        raise AssertionError(f"no line about {url} in {PATIENCE_S:g} s")

    def blobs(self) -> list[Line]:
        """Return what the access log has of blobs."""
        return [line for line in self.access() if line.method == "GET" and "/blobs/" in line.url]


class Supernode:
    """``supernode`` on free ports; runs within ``with``."""

    def __init__(self, home: Path) -> None:
        flags = ("--advertise-ip", "127.0.0.1", "--port", "0", "--download-port", "0")
        command = [sys.executable, "-m", "damselfly.cli.supernode", "--home-dir", str(home), *flags]
        self.running = Running(command)
        self.node = ""

    def __enter__(self) -> Self:
        """Start it and wait until it is ready."""
        self.running.__enter__()
        ready = self.running.wait_for(lambda line: line.startswith("supernode ready"), "a port")
        self.node = ready.split("control http://")[1].split()[0]
        return self

    def __exit__(self, *_: object) -> None:
        """End it, unless a test has done so."""
        self.running.__exit__()
