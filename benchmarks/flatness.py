"""What a process holds over time, and whether it grows."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

_SHARE_OF_GROWTH: Final = 0.10
"""Of the level in the second quarter, what counts as growth by the end, beyond the slack."""
_SLACK: Final = {"open files": 6.0, "memory MB": 6.0, "threads": 4.0, "disk MB": 40.0}


@dataclass(frozen=True, slots=True)
class Sample:
    """One process at one time; ``disk_bytes`` is what lies in its folder."""

    at_s: float
    pid: int
    open_files: int
    memory_bytes: int
    threads: int
    disk_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.open_files} files, {self.memory_bytes / 1e6:.0f} MB, {self.threads} threads,"
            f" {self.disk_bytes / 1e6:.0f} MB on disk"
        )


@dataclass(slots=True)
class Series:
    """Samples of what should stay flat; a process that was killed and came again starts anew."""

    name: str
    samples: list[Sample] = field(default_factory=list[Sample])

    def add(self, sample: Sample) -> None:
        """Take one more sample."""
        self.samples.append(sample)

    @property
    def is_flat(self) -> bool:
        """Tell whether nothing grew from the second to the fourth quarter of the time."""
        return not self._grown()

    def summary(self) -> str:
        """Return the medians of the quarters, and what grew."""
        lines = [
            f"{what} {' → '.join(f'{value:.0f}' for value in quarters)}"
            for what, quarters in self._levels().items()
        ]
        grown = self._grown()
        return "; ".join(lines) + (f"; GROWS: {', '.join(grown)}" if grown else "")

    def _grown(self) -> list[str]:
        found: list[str] = []
        for what, quarters in self._levels().items():
            if len(quarters) == 4:
                before, after = quarters[1], quarters[3]
                if after > before * (1 + _SHARE_OF_GROWTH) + _SLACK[what]:
                    found.append(what)
        return found

    def _levels(self) -> dict[str, list[float]]:
        columns = {
            "open files": [float(sample.open_files) for sample in self.samples],
            "memory MB": [sample.memory_bytes / 1e6 for sample in self.samples],
            "threads": [float(sample.threads) for sample in self.samples],
            "disk MB": [sample.disk_bytes / 1e6 for sample in self.samples],
        }
        return {what: _quarters(column) for what, column in columns.items()}


def look_at(pid: int, folder: Path, at_s: float) -> Sample | None:
    """Return what a process holds and its ``folder`` takes; ``None``: it has just ended."""
    process = Path("/proc") / str(pid)
    try:
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        return Sample(
            at_s=at_s,
            pid=pid,
            open_files=len(os.listdir(process / "fd")),
            memory_bytes=int(status["VmRSS"].split()[0]) * 1024,
            threads=int(status["Threads"]),
            disk_bytes=disk_bytes(folder),
        )
    except (OSError, KeyError):
        return None


def disk_bytes(folder: Path) -> int:
    """Return what the files below ``folder`` take on disk, hard links once."""
    sizes: dict[tuple[int, int], int] = {}
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                found = os.lstat(Path(path) / name)
                sizes[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(sizes.values())


def _quarters(column: list[float]) -> list[float]:
    count = len(column)
    if count < 4:
        return [median(column)] if column else []
    return [median(column[count * part // 4 : count * (part + 1) // 4]) for part in range(4)]
