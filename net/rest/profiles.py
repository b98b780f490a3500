"""``/debug/pprof``: what a supernode is doing, for whoever has to find out why it is slow or big.

Under the names that Go's programs have, with what a Python program can say.  Off unless asked for.
"""

from __future__ import annotations

import cProfile
import gc
import io
import marshal
import pstats
import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING, Final, cast

import trio

from ...engine.wire.frame import decimal
from ..http import HttpResponse
from .replies import RestError, text_reply
from .routes import Route

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import FrameType

    from .routes import Call

_Stack = tuple[tuple[str, int, str], ...]

_DEFAULT_S: Final = 30
_LONGEST_S: Final = 300
_TOP: Final = 100


class ProfileCalls:
    """The calls under ``/debug/pprof``."""

    def __init__(self) -> None:
        self._is_profiling = False
        self.routes = (
            Route("GET", "/cmdline", self._command_line),
            Route("GET", "/profile", self._profile),
            Route("GET", "/goroutine", self._tasks),
            Route("GET", "/threadcreate", self._threads),
            Route("GET", "/heap", self._objects),
            Route("GET", "/{name}", self._unknown),
        )

    async def _command_line(self, _: Call) -> HttpResponse:
        return text_reply("\0".join(sys.orig_argv))

    async def _profile(self, call: Call) -> HttpResponse:
        """Watch the main thread for so many seconds, and say where its time went."""
        text = call.query.get("seconds") or str(_DEFAULT_S)
        seconds = decimal(text)
        if seconds is None or not 1 <= seconds <= _LONGEST_S:
            raise RestError(400, f"seconds {text[:40]!r}: expected 1 to {_LONGEST_S}")
        if self._is_profiling:
            raise RestError(409, "a profile is being taken already: wait for its end")
        profiler = cProfile.Profile()
        try:
            profiler.enable()
        except ValueError as error:  # somebody else watches this process
            raise RestError(409, f"no profile can be taken: {error}") from None
        self._is_profiling = True
        try:
            await trio.sleep(seconds)
        finally:
            profiler.disable()
            self._is_profiling = False
        if _wants_text(call):
            out = io.StringIO()
            pstats.Stats(profiler, stream=out).sort_stats("tottime").print_stats(_TOP)
            return text_reply(out.getvalue())
        profiler.create_stats()
        found = marshal.dumps(profiler.stats)  # pyright: ignore[reportAttributeAccessIssue]
        attached = (("Content-Disposition", 'attachment; filename="profile"'),)
        return HttpResponse(200, (found,), headers=attached)

    async def _tasks(self, _: Call) -> HttpResponse:
        stacks = Counter(_stack(task.iter_await_frames()) for task in _all_tasks())
        return text_reply(_listed("tasks", stacks))

    async def _threads(self, _: Call) -> HttpResponse:
        frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage]
        stacks = Counter(
            _stack(_calls_of(frames[thread.ident]))
            for thread in threading.enumerate()
            if thread.ident in frames
        )
        return text_reply(_listed("threads", stacks))

    async def _objects(self, _: Call) -> HttpResponse:
        counts: Counter[str] = Counter()
        sizes: Counter[str] = Counter()
        for found in gc.get_objects():
            kind = cast("type[object]", type(found))
            name = f"{kind.__module__}.{kind.__qualname__}"
            counts[name] += 1
            sizes[name] += sys.getsizeof(found)
        lines = [f"{counts.total()} containers, {sizes.total()} bytes without what is in them", ""]
        lines += [f"{size} bytes, {counts[name]}: {name}" for name, size in sizes.most_common(_TOP)]
        return text_reply("\n".join([*lines, ""]))

    async def _unknown(self, _: Call) -> HttpResponse:
        return text_reply("Unknown profile\n", 404)


def _wants_text(call: Call) -> bool:
    return call.query.get("debug", "0") not in ("", "0")


def _all_tasks() -> Iterator[trio.lowlevel.Task]:
    root = trio.lowlevel.current_root_task()
    found = [root] if root is not None else []
    while found:
        task = found.pop()
        yield task
        for nursery in task.child_nurseries:
            found += nursery.child_tasks


def _calls_of(frame: FrameType | None) -> Iterator[tuple[FrameType, int]]:
    while frame is not None:
        yield frame, frame.f_lineno
        frame = frame.f_back


def _stack(frames: Iterable[tuple[FrameType, int]]) -> _Stack:
    return tuple(
        [(frame.f_code.co_filename, line, frame.f_code.co_qualname) for frame, line in frames]
    )


def _listed(what: str, stacks: Counter[_Stack]) -> str:
    lines = [f"{stacks.total()} {what}"]
    for stack, count in stacks.most_common():
        lines += ["", f"{count} at"]
        lines += [f"  {name}  {path}:{line}" for path, line, name in stack]
    return "\n".join([*lines, ""])
