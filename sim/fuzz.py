"""Storm after storm under every check: which seeds bring out a fault, and the least that does."""

from __future__ import annotations

import os
import signal
import traceback
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Final, NamedTuple

from .checkers import Violation
from .draw import draw
from .pool import prepare
from .shrink import Shrunken, shrink
from .swarm import NotFinished, Swarm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .scenario import Scenario

_CALLS: Final = 500_000
_CALLS_PER_TRANSFER: Final = 500
_CALLS_PER_PEER: Final = 20_000
"""Some ten to thirty calls move a piece; what takes so many more goes round in circles."""


class Objection(NamedTuple):
    """What was wrong with a run: which checker, or which exception where, and what it says."""

    checker: str
    message: str


class Trial(NamedTuple):
    """How one seed went; the digest is empty if there is an objection."""

    seed: int
    digest: str
    objection: Objection | None


def examine(scenario: Scenario) -> Trial:
    """Run a scenario with every check there is, and never for ever."""
    swarm = Swarm(scenario, paranoid=True)
    pieces = scenario.layout.count * scenario.files
    swarm.stage.world.most_calls = _CALLS + scenario.peers * (
        _CALLS_PER_PEER + _CALLS_PER_TRANSFER * pieces
    )
    try:
        swarm.run()
    except Violation as violation:
        return Trial(scenario.seed, "", Objection(violation.checker, str(violation)))
    except NotFinished:
        pass  # These failed for reasons that no checker minded.
    except Exception as error:
        return Trial(scenario.seed, "", _crash(error))
    return Trial(scenario.seed, swarm.report().trace_digest, None)


def examine_seed(seed: int) -> Trial:
    """Run the storm of a seed."""
    return examine(draw(seed))


def fuzz(seeds: Sequence[int], *, jobs: int = 1) -> Iterator[Trial]:
    """Run the storms of all these seeds, yielding each as it is done; in order with one job."""
    if jobs == 1:
        yield from map(examine_seed, seeds)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_serve) as pool:
        try:
            yield from pool.map(examine_seed, seeds)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def smallest(seed: int, objection: Objection, *, runs: int = 300) -> Shrunken:
    """Return the smallest scenario found to which the same checker objects."""

    def fails(scenario: Scenario) -> bool:
        found = examine(scenario).objection
        return found is not None and found.checker == objection.checker

    return shrink(draw(seed), fails, runs=runs)


class Twin:
    """Another process, in which strings and objects hash otherwise, to run seeds a second time."""

    def __init__(self) -> None:
        own = os.environ.get("PYTHONHASHSEED")
        # A process that is spawned reads its hash seed from the environment of that moment.
        os.environ["PYTHONHASHSEED"] = "2" if own == "1" else "1"
        try:
            context = get_context("spawn")
            self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_serve)
            self._pool.submit(_serve).result()  # so it has begun
        finally:
            del os.environ["PYTHONHASHSEED"]
            if own is not None:
                os.environ["PYTHONHASHSEED"] = own

    def __enter__(self) -> Twin:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def digest(self, seed: int) -> str:
        """Return the digest of this seed's run over there."""
        return self._pool.submit(examine_seed, seed).result().digest


def compared(trial: Trial, digest: Callable[[int], str]) -> Trial:
    """Object to a run that went well if it goes otherwise elsewhere."""
    if trial.objection is not None or (other := digest(trial.seed)) == trial.digest:
        return trial
    text = f"the run's digest is {trial.digest}, in another process {other or 'none'}"
    return Trial(trial.seed, "", Objection("Determinism", text))


def _serve() -> None:
    """Set up a process that runs seeds for another; an interrupt is that one's affair."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prepare()


def _crash(error: Exception) -> Objection:
    """Name an exception by its type and the innermost function of ours."""
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{os.path.basename(frame.filename)} {frame.name}"
    text = str(error) or frame.line or ""
    return Objection(f"{type(error).__name__} in {where}", f"{text} (line {frame.lineno})")
