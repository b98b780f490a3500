"""What dfget prints while it works: Dragonfly's lines, or JSON (protocol 8.3)."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import asdict
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Protocol, TextIO

import trio

from ..engine.outcomes import FailCode, Milestone
from ..engine.redact import Redactor
from ..net.request import Outcome, Pattern, Progress, Watcher
from .values import version

if TYPE_CHECKING:
    from ..net.request import FetchRequest
    from .bars import Bar


class Reporter(Watcher, Protocol):
    """Shows one download to somebody, progress at most every ``every_s`` seconds."""

    every_s: float

    def began(self) -> None:
        """The download is about to begin."""
        ...

    def paused(self) -> None:
        """No progress for now: leave the screen to other text."""
        ...

    def ended(self, outcome: Outcome) -> None:
        """This is how it went; called once, whatever happened."""
        ...


class Paced:
    """A watcher that passes on to a reporter what it can show: not all progress, but the latest."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._latest = Progress()
        self._changed = trio.Event()

    def told(self, milestone: Milestone, text: str) -> None:
        """Pass it on."""
        self._reporter.told(milestone, text)

    def progressed(self, progress: Progress) -> None:
        """Pass it on when it is time to."""
        self._latest = progress
        self._changed.set()

    async def run(self) -> None:
        """Show progress until cancelled."""
        try:
            while True:
                await self._changed.wait()
                self._changed = trio.Event()
                self._reporter.progressed(self._latest)
                await trio.sleep(self._reporter.every_s)
        finally:
            self._reporter.paused()


class LineReporter:
    """Prints the lines of dfget 1.0.6 to ``out``, and causes it has no line for to ``err``."""

    def __init__(self, request: FetchRequest, out: TextIO, err: TextIO, bar: Bar | None) -> None:
        self._request = request
        self._out = partial(print, file=out, flush=True)
        self._err = partial(print, file=err, flush=True)
        self._bar = bar
        self.every_s = bar.every_s if bar is not None else inf
        self._is_connected = False

    def began(self) -> None:
        """Print who downloads what."""
        request = self._request
        self._out(f"--{time.strftime('%Y-%m-%d %H:%M:%S')}--  {Redactor().text(request.url)}")
        self._out(f"dfget version:{request.version or version()}")
        self._out(f"workspace:{request.home}")
        self._out(f"sign:{request.sign}")
        no_swarm = request.pattern is Pattern.SOURCE or not request.nodes
        if no_swarm and request.back_to_source:
            self._from_source()

    def told(self, milestone: Milestone, text: str) -> None:
        """Print what changed."""
        self.paused()
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

    def paused(self) -> None:
        """Wipe the bar away."""
        if self._bar is not None:
            self._bar.hide()

    def ended(self, outcome: Outcome) -> None:
        """Print the last line."""
        error = {"Code": int(outcome.code), "Msg": outcome.message}
        text = json.dumps(error, separators=(",", ":"), ensure_ascii=False)
        self._out(ended_line(outcome), *([] if _is_good(outcome) else [f"error:{text}"]))

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
    """Prints one JSON object a line: ``began``, ``milestone``, ``progress``, then ``result``.

    ``marked``: each has the download's ``sign``, so that several can be told apart.
    """

    every_s: float = 0.2

    def __init__(self, request: FetchRequest, out: TextIO, *, marked: bool = False) -> None:
        self._request, self._out = request, out
        self._mark = {"sign": request.sign} if marked else {}

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
            version=request.version or version(),
        )

    def told(self, milestone: Milestone, text: str) -> None:
        """Print what changed."""
        self._print("milestone", milestone=milestone.name.lower(), text=text)

    def progressed(self, progress: Progress) -> None:
        """Print how far it is."""
        self._print("progress", **asdict(progress))

    def paused(self) -> None:
        """Nothing to wipe away."""

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
        print_json(self._out, event, **(self._mark | values))


def ended_line(outcome: Outcome) -> str:
    """Return the last line of a download, without the error (protocol 8.3)."""
    result = "SUCCESS" if _is_good(outcome) else f"FAIL({int(outcome.code)})"
    numbers = f"cost:{outcome.seconds:.3f}s length:{outcome.length} reason:{outcome.reason}"
    return f"download {result} {numbers}"


def print_json(out: TextIO, event: str, **values: object) -> None:
    """Print one object of ``--json``."""
    print(json.dumps({"event": event, **values}), file=out, flush=True)


def _is_good(outcome: Outcome) -> bool:
    return outcome.code is FailCode.SUCCESS


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
