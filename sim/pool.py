"""Many runs in several processes of this machine."""

from __future__ import annotations

import gc
import signal
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from typing import TYPE_CHECKING, TypeVar

from ..engine.errors import DamselflyError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

T = TypeVar("T")
R = TypeVar("R")


def each(do: Callable[[T], R], jobs: Sequence[T], *, processes: int) -> Generator[R]:
    """Call ``do`` with every job, yielding results as they come; with one process in order, here.

    Whoever has had enough closes the iterator: what is under way is ended, not waited for.

    Raises:
        DamselflyError: a process died.

    """
    if processes == 1:
        yield from map(do, jobs)
        return
    others = active_children()
    context = get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_prepare_worker) as pool:
        try:
            for future in as_completed([pool.submit(do, job) for job in jobs]):
                yield future.result()
        except BrokenProcessPool as error:
            raise DamselflyError(
                "a process that ran a simulation died, perhaps for lack of memory: use fewer --jobs"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in active_children():
                if child not in others:
                    child.terminate()


def prepare() -> None:
    """Set this process up for many runs.

    A run makes millions of objects and next to no cycles: looking for them costs much.
    """
    gc.set_threshold(100_000, 20, 100)


def _prepare_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started us is interrupted, and ends us
    prepare()
