"""What attrs compiles while modules are imported, kept between runs as the modules themselves are.

attrs writes the methods of a class as text and has that compiled, which is a tenth of what the
start of a small download costs.  The results lie beside Python's own, and as those do: in
``__pycache__``, for this version of Python, if that can be written and is not forbidden.  They are
found by the very text that they were made of, so those of an older attrs or trio do no harm.
"""

from __future__ import annotations

import marshal
import os
import sys
from contextlib import contextmanager, suppress
from re import MULTILINE
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from ..engine.expressions import expression

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import CodeType

_Source: TypeAlias = tuple[str, str, str]
"""Text, the name of its file, and the mode: what ``compile`` is given."""
_FOLDER: Final = os.path.join(os.path.dirname(__file__), "__pycache__")
_HEADER: Final = f"damselfly 1, {sys.version}"
_SALT: Final = expression(r"^ +-?[0-9]+,$", MULTILINE)
"""What attrs mixes into the hashes of a class: another number in each run, and any will do."""
_BROKEN: Final = (OSError, EOFError, ValueError, TypeError)


@contextmanager
def kept_code(folder: str = _FOLDER) -> Generator[None]:
    """Have attrs compile inside only what no earlier run has compiled and kept in ``folder``."""
    from attr import _make  # pyright: ignore[reportPrivateUsage]

    kept = _Kept(os.path.join(folder, f"attrs.{sys.implementation.cache_tag}.code"))
    names = cast("dict[str, object]", vars(_make))
    names["compile"] = kept.compile
    try:
        yield
    finally:
        del names["compile"]
        kept.save()


class _Kept:
    def __init__(self, path: str) -> None:
        self._path = path
        self._before = _read(path)
        self._used: dict[_Source, CodeType] = {}

    def compile(self, text: str, file_name: str, mode: str) -> CodeType:
        """Do as the builtin does."""
        source = _SALT.sub("", text), file_name, mode
        code = self._before.get(source) or compile(text, file_name, mode)
        self._used[source] = code
        return code

    def save(self) -> None:
        """Keep what was used, if any of it is new."""
        is_new = not self._used.keys() <= self._before.keys()
        if not is_new or sys.dont_write_bytecode or sys.pycache_prefix is not None:
            return
        unfinished = f"{self._path}.{os.getpid()}"
        with suppress(OSError):
            try:
                with open(unfinished, "xb") as out:
                    marshal.dump((_HEADER, self._used), out)
                os.replace(unfinished, self._path)
            except OSError:
                os.unlink(unfinished)
                raise


def _read(path: str) -> dict[_Source, CodeType]:
    try:
        with open(path, "rb") as kept:
            header, found = marshal.loads(kept.read())
    except _BROKEN:
        return {}
    return cast("dict[_Source, CodeType]", found) if header == _HEADER else {}
