"""Starting and ending fast.

Half of what a small download costs is the start of its program.  So the search for garbage is kept
out of it, and so is what libraries import for uses that a download does not make of them.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import typing
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from threading import RLock
from types import CoroutineType, ModuleType
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence


@contextmanager
def no_collections() -> Generator[None]:
    """Look for no garbage inside, where all that is made is here to stay.

    Nor is it searched later: not while the program runs, and not once more as it ends.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        atexit.register(gc.freeze)


@contextmanager
def deferred_modules() -> Generator[None]:
    """Load some modules that are imported inside only when something of theirs is asked for.

    They are those that trio, attrs, msgspec and the standard library import for what a download
    seldom or never needs.  Of a few modules they call one function while they are imported
    themselves: inside, a stand-in answers that.
    """
    sys.meta_path.insert(0, _FINDER)
    for module, stand_ins in _with_stand_ins():
        vars(module).update(stand_ins)
    try:
        yield
    finally:
        sys.meta_path.remove(_FINDER)
        for module, stand_ins in _with_stand_ins():
            for name in stand_ins:
                vars(module).pop(name, None)


def _with_stand_ins() -> Iterator[tuple[ModuleType, Mapping[str, object]]]:
    for name, stand_ins in _STAND_INS.items():
        if isinstance(module := sys.modules.get(name), _Deferred):
            yield module, stand_ins


class _Deferred(ModuleType):
    """A module that is executed when it is first asked for what it does not have yet."""

    def __getattr__(self, name: str) -> Any:
        if name in _ASKED_BY_IMPORT:
            raise AttributeError(name)
        with _LOADING:
            loader = vars(self).pop("__deferred_loader__", None)
            if loader is not None:
                loader.exec_module(self)
                object.__setattr__(self, "__class__", ModuleType)
        return object.__getattribute__(self, name)


_LOADING: Final = RLock()
_ASKED_BY_IMPORT: Final = frozenset({"__cached__", "__file__", "__path__"})
"""What the import system itself looks for, and sets if it is not there and should be."""


class _DeferringLoader(SourceFileLoader):
    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Deferred(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        later = SourceFileLoader(self.name, self.path)
        given = {**_STAND_INS.get(self.name, {}), **_EQUIVALENTS.get(self.name, {})}
        vars(module).update(given, __deferred_loader__=later)


class _DeferringFinder:
    def find_spec(
        self, name: str, path: Sequence[str] | None = None, _: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find what is to be deferred; everything else is found by those that come next."""
        spec = PathFinder.find_spec(name, path) if name in _DEFERRED else None
        if spec is None or type(spec.loader) is not SourceFileLoader:
            return None
        spec.loader = _DeferringLoader(spec.loader.name, spec.loader.path)
        return spec


def _load_no_library(name: str) -> NoReturn:
    """Keep trio from naming its threads for the kernel: it would run ldconfig for that."""
    raise OSError(f"{name}: not looked for")


def _implementation() -> str:
    return "CPython" if sys.implementation.name == "cpython" else sys.implementation.name


def _system() -> str:
    return os.uname().sysname


def _instance_of(kind: type) -> Callable[[object, object, object], None]:
    """Return a validator of attrs: outcome has one, of the errors that it holds."""

    def check(_instance: object, _attribute: object, value: object) -> None:
        if not isinstance(value, kind):
            raise TypeError(f"expected {kind}, not {value!r}")

    return check


def _is_coroutine(found: object) -> bool:
    return isinstance(found, CoroutineType)


_STAND_INS: Final[Mapping[str, Mapping[str, object]]] = {
    "attr.validators": {"instance_of": _instance_of},
    "ctypes": {"CDLL": _load_no_library},
    "ctypes.util": {"find_library": str},
    "inspect": {"cleandoc": str},
    "platform": {"python_implementation": _implementation, "system": _system},
    "textwrap": {"dedent": str},
    # No program of ours speaks DTLS.
    "trio._dtls": dict.fromkeys(("DTLSChannel", "DTLSChannelStatistics", "DTLSEndpoint")),
    # What has no TypedDict needs no newer rules for them.
    "typing_extensions": {
        name: getattr(typing, name) for name in ("get_type_hints", "NotRequired", "Required")
    },
}
_EQUIVALENTS: Final[Mapping[str, Mapping[str, object]]] = {
    # trio asks that of what each of its threads returns.
    "inspect": {"iscoroutine": _is_coroutine},
}
"""What does the same as the original, and so stays."""
_DEFERRED: Final = frozenset(_STAND_INS) | {
    "attr.converters",
    "attr.filters",
    "attrs.converters",
    "attrs.exceptions",
    "attrs.filters",
    "attrs.setters",
    "attrs.validators",
    "base64",
    "hmac",
    "idna",
    "ipaddress",
    "msgspec.inspect",
    "msgspec.toml",
    "msgspec.yaml",
    "pickle",
    "secrets",
    "selectors",
    "ssl",
    "subprocess",
    "tempfile",
    "tokenize",
    "traceback",
}
_FINDER: Final = _DeferringFinder()
