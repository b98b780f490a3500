"""Many runs on a Dask cluster, whose workers must have the same version of this package."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..engine.errors import ConfigError, DamselflyError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

T = TypeVar("T")
R = TypeVar("R")

_CONNECT_S: Final = 10
_WORKERS_S: Final = 60
"""How long a cluster may be without workers."""
_AHEAD: Final = 3
"""Jobs under way for each thread of the cluster, so that none waits for us."""


def each_on(address: str, do: Callable[[T], R], jobs: Sequence[T]) -> Generator[R]:
    """Call ``do`` with every job somewhere on the cluster, yielding results as they come.

    ``address`` is the scheduler's, such as ``tcp://10.0.0.1:8786``.  Whoever has had enough closes
    the iterator: what has not begun is called off.

    Raises:
        ConfigError: Dask is not installed here.
        DamselflyError: the cluster cannot be reached, or has had no worker for a minute.

    """
    if find_spec("distributed") is None:
        install = "pip install 'damselfly[dask]'"
        raise ConfigError(f"--dask {address}: the package distributed is not installed: {install}")
    # Dask is an extra, and slow to import.
    distributed: Any = import_module("distributed")
    try:
        client = distributed.Client(address, timeout=_CONNECT_S)
    except (OSError, ValueError) as error:  # TimeoutError is an OSError
        expected = "expected the address of a Dask scheduler that runs"
        raise DamselflyError(f"--dask {address}: no connection: {error}; {expected}") from error
    with client:
        _await_workers(client, address)
        yield from _spread(distributed, client, address, do, jobs)


def _spread(
    distributed: Any, client: Any, address: str, do: Callable[[T], R], jobs: Sequence[T]
) -> Generator[R]:
    waiting = iter(jobs)
    pending: list[Any] = []
    try:
        while True:
            room = _AHEAD * max(1, sum(client.nthreads().values())) - len(pending)
            more = list(islice(waiting, max(0, room)))
            pending += client.map(do, more, pure=False) if more else []
            if not pending:
                return
            try:
                distributed.wait(pending, timeout=_WORKERS_S, return_when="FIRST_COMPLETED")
            except TimeoutError:
                # One run may well take longer, as long as there is someone to make it.
                _await_workers(client, address)
            looked_at = [(future, future.done()) for future in pending]  # each once: they go on
            pending = [future for future, is_done in looked_at if not is_done]
            for future, is_done in looked_at:
                if is_done:
                    yield future.result()
    finally:
        client.cancel(pending)


def _await_workers(client: Any, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=_WORKERS_S)
    except TimeoutError as error:
        raise DamselflyError(
            f"--dask {address}: there has been no worker for {_WORKERS_S} s;"
            " start some, and the same command goes on where this one ended"
        ) from error
