"""Programs as children of a test: what they say is waited for, and they are ended."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PATIENCE_S: Final = 60


class Running:
    """A program that runs until the end of the ``with``; its output is read as it comes."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        self.command = command
        self.lines: list[str] = []
        self._environment = environment
        self._changed = threading.Condition()
        self._has_ended = False

    def __enter__(self) -> Self:
        """Start it."""
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=self._environment,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ask it to end; then insist."""
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()
            self.process.wait()
            self._reader.join()
            assert self.process.stdout is not None
            self.process.stdout.close()

    @property
    def text(self) -> str:
        """All that it said."""
        return "\n".join(self.lines)

    def wait_for(self, wanted: Callable[[str], bool], what: str) -> str:
        """Return the first line that is ``wanted``; fails if it ends or is silent for long."""
        until, at = monotonic() + PATIENCE_S, 0
        with self._changed:
            while True:
                for line in self.lines[at:]:
                    if wanted(line):
                        return line
                at = len(self.lines)
                assert not self._has_ended, f"{self.command[0]} ended without {what}:\n{self.text}"
                left = until - monotonic()
                assert self._changed.wait(left), f"no {what} from {self.command[0]}:\n{self.text}"

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()


def peak_memory_bytes(pid: int) -> int:
    """Return the most memory that a process ever had in RAM."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10
