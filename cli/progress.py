"""What dfget shows while it works: Dragonfly's lines, a bar, or JSON (protocol 8.3)."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TextIO

from ..engine.effects import FailCode, Milestone
from ..engine.redact import Redactor
from ..net.fetch import Outcome, Pattern, Progress, Watcher
from .values import version

if TYPE_CHECKING:
    from rich.progress import TaskID

    from ..net.fetch import FetchRequest

_JSON_EVERY_S: Final = 0.2
_BAR_EVERY_S: Final = 0.1
_LINE_EVERY_S: Final = 1.0


class Reporter(Watcher, Protocol):
    """Shows one download to somebody."""

    def began(self) -> None:
        """The download is about to begin."""
        ...

    def ended(self, outcome: Outcome) -> None:
        """This is how it went; called once, whatever happened."""
        ...


class Bar(Protocol):
    """Shows progress in passing."""

    def show(self, progress: Progress) -> None:
        """Draw, if it is time to."""
        ...

    def hide(self) -> None:
        """Leave the screen to other text until the next ``show``."""
        ...


class LineReporter:
    """Prints the lines of dfget 1.0.6 to ``out``, and causes it has no line for to ``err``."""

    def __init__(self, request: FetchRequest, out: TextIO, err: TextIO, bar: Bar | None) -> None:
        self._request = request
        self._out = partial(print, file=out, flush=True)
        self._err = partial(print, file=err, flush=True)
        self._bar = bar
        self._is_connected = False

    def began(self) -> None:
        """Print who downloads what."""
        request = self._request
        self._out(f"--{time.strftime('%Y-%m-%d %H:%M:%S')}--  {Redactor().text(request.url)}")
        self._out(f"dfget version:{version()}")
        self._out(f"workspace:{request.home}")
        self._out(f"sign:{request.sign}")
        if request.pattern is Pattern.SOURCE or not request.nodes:
            self._from_source()

    def told(self, milestone: Milestone, text: str) -> None:
        """Print what changed."""
        if self._bar is not None:
            self._bar.hide()
        match milestone:
            case Milestone.CONNECTED:
                self._is_connected = True
                client = self._request.ip or ip_towards(text)
                self._out(f"client:{client} connected to node:{text}")
                self._out("start download by dragonfly...")
            case Milestone.MIGRATED:
                self._out(f"migrated to node:{text}")
            case Milestone.BACK_TO_SOURCE:
                self._back_to_source(text)
            case Milestone.RESUMED:
                self._err(f"dfget: continuing with {text}")
            case Milestone.ORIGIN_RETRY:
                self._err(f"dfget: trying again: {text}")
            case Milestone.PARENT_FAILED:
                pass  # the log has it; the piece comes from elsewhere

    def progressed(self, progress: Progress) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.show(progress)

    def ended(self, outcome: Outcome) -> None:
        """Print the last line."""
        if self._bar is not None:
            self._bar.hide()
        numbers = f"cost:{outcome.seconds:.3f}s length:{outcome.length} reason:{outcome.reason}"
        if outcome.code is FailCode.SUCCESS:
            self._out(f"download SUCCESS {numbers}")
        else:
            error = {"Code": int(outcome.code), "Msg": outcome.message}
            text = json.dumps(error, separators=(",", ":"), ensure_ascii=False)
            self._out(f"download FAIL({int(outcome.code)}) {numbers} error:{text}")

    def _back_to_source(self, why: str) -> None:
        if self._is_connected:
            self._out(
                f"failed to download by dragonfly: {why}, and start try to download from source"
            )
        else:
            self._err(f"dfget: no supernode helps, so all comes from the source: {why}")
        self._from_source()

    def _from_source(self) -> None:
        self._out(f"start download {self._request.target.name} from the source station")


class JsonReporter:
    """Prints one JSON object a line: ``began``, ``milestone``, ``progress``, then ``result``."""

    def __init__(self, request: FetchRequest, out: TextIO) -> None:
        self._request, self._out = request, out
        self._due = 0.0

    def began(self) -> None:
        """Print what is to be done."""
        request = self._request
        self._print(
            "began",
            url=Redactor().text(request.url),
            output=str(request.target),
            home=str(request.home),
            sign=request.sign,
            nodes=[str(node) for node in request.nodes],
            pattern=request.pattern.value,
            version=version(),
        )

    def told(self, milestone: Milestone, text: str) -> None:
        """Print what changed."""
        self._print("milestone", milestone=milestone.name.lower(), text=text)

    def progressed(self, progress: Progress) -> None:
        """Print how far it is, five times a second at most."""
        if (now := time.monotonic()) >= self._due:
            self._due = now + _JSON_EVERY_S
            self._print("progress", **asdict(progress))

    def ended(self, outcome: Outcome) -> None:
        """Print how it went."""
        self._print(
            "result",
            code=int(outcome.code),
            reason=outcome.reason,
            message=outcome.message,
            output=str(self._request.target),
            seconds=round(outcome.seconds, 6),
            task=outcome.task,
            peer=outcome.peer,
            **(asdict(outcome.progress) | {"length": outcome.length}),
        )

    def _print(self, event: str, **values: object) -> None:
        print(json.dumps({"event": event, **values}), file=self._out, flush=True)


class TerminalBar:
    """A rich progress bar that is redrawn in place, for terminals."""

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
        self._due = 0.0

    def show(self, progress: Progress) -> None:
        """Draw, ten times a second at most."""
        if (now := time.monotonic()) < self._due:
            return
        self._due = now + _BAR_EVERY_S
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

    def __init__(self, stream: TextIO) -> None:
        self._out = partial(print, file=stream, flush=True)
        self._due = 0.0

    def show(self, progress: Progress) -> None:
        """Print a line, one a second at most."""
        if (now := time.monotonic()) >= self._due:
            self._due = now + _LINE_EVERY_S
            share = f" {100 * progress.held_bytes / progress.length:.0f} %" * (progress.length > 0)
            self._out(f"dfget: {_megabytes(progress.held_bytes)}{share}: {_sources(progress)}")

    def hide(self) -> None:
        """Lines stay."""


def ip_towards(node: str) -> str:
    """Return the address from which this host reaches ``node`` (``host:port``), if it does."""
    host, _, port = node.rpartition(":")
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)  # sends nothing: a datagram socket only chooses its address
            return str(probe.getsockname()[0])
    except OSError:
        return ""


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
