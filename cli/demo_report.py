"""What the demo shows: live progress, then a table, then ``demo.json``."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Final, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from ..engine.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.progress import TaskID

    from .demo_swarm import Peer

_HEADS: Final = ("peer", "seconds", "MB/s", "MB from supernode", "MB from peers", "SHA-256")


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a demo went.

    ``expected`` is the SHA-256 of the origin's file, empty if the origin is not the demo's own.
    """

    peers: tuple[Peer, ...]
    expected: str
    origin_bytes: int
    supernode_bytes: int

    @property
    def length(self) -> int:
        """Bytes of the file."""
        return max(peer.length for peer in self.peers)

    @property
    def finishers(self) -> tuple[Peer, ...]:
        """All peers but those that were to be killed."""
        return tuple([peer for peer in self.peers if peer.kill_at is None])

    @property
    def is_identical(self) -> bool:
        """Tell whether every peer that was left alone has the right file."""
        found = {peer.sha256 for peer in self.finishers}
        return "" not in found and len(found | {self.expected} - {""}) == 1

    def is_right(self, peer: Peer) -> bool:
        """Tell whether a peer has the right file, as far as anybody knows what is right."""
        expected = self.expected or self.finishers[0].sha256
        return peer.sha256 == expected != ""

    def problems(self) -> list[str]:
        """Return what went wrong, nothing if all is well."""
        found = [f"{peer.name}: {peer.error}" for peer in self.finishers if peer.error]
        if not self.is_identical:
            found.append("not all peers have the same file as the origin")
        elif self.expected and self.origin_bytes != self.length:
            found.append(f"the origin sent {self.origin_bytes} bytes for a file of {self.length}")
        return found

    def table(self) -> str:
        """Return a line for each peer, and the totals."""
        rows = [_HEADS, *[self._row(peer) for peer in self.finishers]]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
        lines = [
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            for row in rows
        ]
        copies = self.supernode_bytes / self.length if self.length > 0 else 0.0
        lines.append("")
        lines.append(f"origin sent    {_mb(self.origin_bytes)} MB ({self.origin_bytes} bytes)")
        lines.append(
            f"supernode sent {_mb(self.supernode_bytes)} MB, {copies:.2f} copies of the file"
            f" for {len(self.finishers)} peers"
        )
        for peer in self.peers:
            if peer.kill_at is not None:
                fate = f"killed at {peer.share:.0%}" if peer.is_killed else "done before its end"
                lines.append(f"{peer.name} was {fate}")
        return "\n".join(lines)

    def write(self, path: Path) -> None:
        """Write ``demo.json``."""
        found = {
            "peers": [
                {
                    "seconds": peer.seconds,
                    "bytes_supernode": peer.from_supernode,
                    "bytes_peers": peer.from_peers,
                    "sha256": peer.sha256,
                }
                for peer in self.finishers
            ],
            "origin_bytes": self.origin_bytes,
            "supernode_bytes": self.supernode_bytes,
            "identical": self.is_identical,
        }
        path.write_text(json.dumps(found, indent=2) + "\n")

    def _row(self, peer: Peer) -> tuple[str, ...]:
        rate = f"{peer.length / peer.seconds / 1e6:.0f}" if peer.seconds and peer.length > 0 else ""
        word = "identical" if self.is_right(peer) else "different" if peer.sha256 else "no file"
        return (
            peer.name,
            f"{peer.seconds:.2f}",
            rate,
            _mb(peer.from_supernode),
            _mb(peer.from_peers),
            f"{peer.sha256[:12]} {word}".strip(),
        )


class Screen(Protocol):
    """Shows how far the peers are."""

    def draw(self, peers: Sequence[Peer]) -> None:
        """Show them as they are now."""
        ...

    def close(self) -> None:
        """Leave the screen to other text."""
        ...


class TerminalScreen:
    """A bar for each peer, redrawn in place."""

    def __init__(self, stream: TextIO) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=Console(file=stream),
            auto_refresh=False,
        )
        self._tasks: dict[str, TaskID] = {}
        self._progress.start()

    def draw(self, peers: Sequence[Peer]) -> None:
        """Move the bars."""
        for peer in peers:
            if peer.name not in self._tasks:
                self._tasks[peer.name] = self._progress.add_task(peer.name, total=None)
            total = peer.length if peer.length >= 0 else None
            self._progress.update(self._tasks[peer.name], total=total, completed=peer.held_bytes)
        self._progress.refresh()

    def close(self) -> None:
        """Leave the bars as they are."""
        self._progress.stop()


class PlainScreen:
    """A line of percentages each second."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._began = time.monotonic()
        self._due = self._began

    def draw(self, peers: Sequence[Peer]) -> None:
        """Print a line if a second has passed."""
        if (now := time.monotonic()) >= self._due:
            self._due = now + 1.0
            shares = " ".join(f"{peer.share:4.0%}" for peer in peers)
            print(f"{now - self._began:5.1f} s  {shares}", file=self._stream, flush=True)

    def close(self) -> None:
        """Lines stay."""


def _mb(count: int) -> str:
    return f"{count / 1e6:.1f}"
