"""Progress in passing: a bar on a terminal, lines of figures elsewhere."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import TaskID

    from ..net.request import Progress


class Bar(Protocol):
    """Shows progress in passing, at most every ``every_s`` seconds."""

    every_s: float

    def show(self, progress: Progress) -> None:
        """Draw."""
        ...

    def hide(self) -> None:
        """Leave the screen to other text until the next ``show``."""
        ...


class TerminalBar:
    """A rich progress bar that is redrawn in place, for terminals."""

    every_s: float = 0.1

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.progress import Progress as RichProgress

        self._rich = RichProgress(
            BarColumn(bar_width=24),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[sources]}"),
            console=Console(file=stream),
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task: TaskID | None = None
        self._is_shown = False

    def show(self, progress: Progress) -> None:
        """Draw the bar in place."""
        if not self._is_shown:
            self._is_shown = True
            self._rich.start()
        total = progress.length if progress.length >= 0 else None
        if self._task is None:
            self._task = self._rich.add_task("", total=total, sources="")
        sources = _sources(progress)
        self._rich.update(self._task, total=total, completed=progress.held_bytes, sources=sources)
        self._rich.refresh()

    def hide(self) -> None:
        """Wipe the bar away."""
        if self._is_shown:
            self._is_shown = False
            self._rich.stop()


class PlainBar:
    """A line of figures each second, for files and pipes."""

    every_s: float = 1.0

    def __init__(self, stream: TextIO) -> None:
        self._out = partial(print, file=stream, flush=True)

    def show(self, progress: Progress) -> None:
        """Print a line."""
        held, length = progress.held_bytes, progress.length
        share = f" ({held / length:.0%})" if length > 0 else ""
        self._out(f"dfget: {_megabytes(held)}{share} {_sources(progress)}".rstrip())

    def hide(self) -> None:
        """Lines stay."""


def _sources(progress: Progress) -> str:
    parts = [
        ("supernode", progress.from_supernode),
        ("peers", progress.from_peers),
        ("origin", progress.from_origin),
        ("disk", progress.from_disk),
    ]
    return ", ".join(f"{name} {_megabytes(count)}" for name, count in parts if count)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
