"""Many files in one run of dfget: ``--urls``."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from ..engine.errors import ConfigError
from ..engine.outcomes import FailCode
from ..engine.records import dataclass
from ..net.fetch import fetch
from ..net.request import PrepareError
from .interrupt import until_signal
from .logs import LOG, SIGN
from .outcome import next_step, not_prepared, status_of
from .progress import JsonReporter, Paced, ended_line, print_json
from .status import ExitStatus, Stopped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ..engine.outcomes import Milestone
    from ..net.request import FetchRequest, Outcome, Progress
    from .progress import Reporter

_MAX_LIST_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Wish:
    """One line of a list: what to download, and the file's name if the URL's is not to be used."""

    url: str
    output: str = ""


def read_wishes(source: str) -> tuple[Wish, ...]:
    """Return the lines of the file ``source``, ``-`` for the standard input.

    A line is ``URL`` or ``URL FILE``, with blanks between them and no quoting: the file's name
    goes to the end of the line.  Empty lines and those that begin with # count for nothing.
    Raises ``ConfigError``.
    """
    try:
        if source == "-":
            data = sys.stdin.buffer.read(_MAX_LIST_BYTES + 1)
        else:
            with Path(source).expanduser().open("rb") as file:
                data = file.read(_MAX_LIST_BYTES + 1)
        text = data.decode()
    except OSError as error:
        raise ConfigError(f"cannot read the list {source}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the list {source} is not UTF-8 text: {error.reason}") from error
    if len(data) > _MAX_LIST_BYTES:
        raise ConfigError(f"the list {source} has more than {_MAX_LIST_BYTES} bytes: split it")
    lines = [line.strip() for line in text.splitlines()]
    wishes = tuple([_wish(line) for line in lines if line and not line.startswith("#")])
    if not wishes:
        raise ConfigError(f"the list {source} is empty: write one URL a line")
    return wishes


def run_batch(requests: Sequence[FetchRequest], jobs: int, *, json: bool) -> ExitStatus:
    """Download all of ``requests``, ``jobs`` at a time; return the highest status of any of them.

    One that fails does not stop the others.  Raises ``Stopped`` after the summary.
    """
    batch = _Batch(requests, json=json)
    began = time.monotonic()
    stopped: Stopped | None = None
    try:
        trio.run(until_signal, partial(batch.run, jobs))
    except Stopped as signal:
        stopped = signal
    batch.sum_up(time.monotonic() - began)
    if stopped is not None:
        raise stopped
    return max([status_of(outcome) for outcome in batch.outcomes])


class _Batch:
    def __init__(self, requests: Sequence[FetchRequest], *, json: bool) -> None:
        self._requests, self._json = requests, json
        self.outcomes: list[Outcome] = []

    async def run(self, jobs: int) -> None:
        requests = iter(self._requests)
        async with trio.open_nursery() as nursery:
            for _ in range(min(jobs, len(self._requests))):
                nursery.start_soon(self._work, requests)

    async def _work(self, requests: Iterator[FetchRequest]) -> None:
        for request in requests:
            SIGN.set(request.sign)
            LOG.info("download of %s to %s", request.url, request.target)
            reporter = self._reporter(request)
            reporter.began()
            outcome = await _outcome(request, reporter)
            self.outcomes.append(outcome)
            reporter.ended(outcome)
            LOG.info("%s", f"{ended_line(outcome)} {outcome.message}".rstrip())

    def _reporter(self, request: FetchRequest) -> Reporter:
        if self._json:
            return JsonReporter(request, sys.stdout, marked=True)
        return _EndReporter(request)

    def sum_up(self, seconds: float) -> None:
        """Print how it went altogether."""
        good = [one for one in self.outcomes if one.code is FailCode.SUCCESS]
        wanted, length = len(self._requests), sum(one.length for one in good)
        if self._json:
            print_json(
                sys.stdout,
                "summary",
                downloads=wanted,
                succeeded=len(good),
                failed=len(self.outcomes) - len(good),
                length=length,
                seconds=round(seconds, 6),
            )
        else:
            print(f"{len(good)} of {wanted} SUCCESS cost:{seconds:.3f}s length:{length}")


class _EndReporter:
    """Prints one line when a download has ended, a failure on the standard error as well."""

    every_s: float = float("inf")

    def __init__(self, request: FetchRequest) -> None:
        self._request = request

    def began(self) -> None:
        """Say nothing: others are being downloaded as well."""

    def told(self, milestone: Milestone, text: str) -> None:
        """Say nothing: the log has it."""

    def progressed(self, progress: Progress) -> None:
        """Say nothing: the end is soon enough."""

    def paused(self) -> None:
        """Nothing to wipe away."""

    def ended(self, outcome: Outcome) -> None:
        """Print the last line of a dfget, and which file it is about."""
        print(f"{ended_line(outcome)} {self._request.target}", flush=True)
        if outcome.code is not FailCode.SUCCESS:
            text = f"{outcome.message}{next_step(outcome)}"
            print(f"dfget: {self._request.target}: {text}", file=sys.stderr, flush=True)


async def _outcome(request: FetchRequest, reporter: Reporter) -> Outcome:
    watcher, began = Paced(reporter), trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watcher.run)
        try:
            outcome = await fetch(request, watcher)
        except PrepareError as error:
            outcome = not_prepared(error, trio.current_time() - began)
        nursery.cancel_scope.cancel()
    return outcome


def _wish(line: str) -> Wish:
    return Wish(*line.split(maxsplit=1))


def same_target(targets: Iterable[Path]) -> Path | None:
    """Return a file that is named twice, if any."""
    seen: set[Path] = set()
    for target in targets:
        if target in seen:
            return target
        seen.add(target)
    return None
