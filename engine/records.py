"""``dataclass`` as in the standard library, but cheap to define.

A dfget that fetches a small file defines some sixty of them, makes instances of a third and
compares almost none.  To write and compile all methods takes twenty times as long as to define the
class; here each is written when it is first called.  What is made is the same, also for ``fields``
and ``asdict`` of the standard library; ``replace`` is here because it needs less than that one.
"""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING, Field, FrozenInstanceError
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from dataclasses import dataclass, replace  # for type checkers, which know what they do
else:

    def dataclass(*, slots: bool, frozen: bool = False, eq: bool = True) -> Callable[[type], type]:
        """Make a class what ``dataclasses.dataclass`` would; it must have slots.

        A field cannot be an ``InitVar``, and nothing follows ``KW_ONLY``.
        """
        assert slots
        return lambda written: _defined(written, frozen, eq)

    def replace(record: object, /, **changes: object) -> object:
        """Return a record that is like this one but for ``changes``."""
        kept = {name: getattr(record, name) for name in _fields(record)}
        return type(record)(**kept | changes)


__all__ = ["dataclass", "replace"]

_FIELDS: Final = "__record_fields__"
_STANDARD: Final = ("__dataclass_fields__", "__dataclass_params__")


def _defined(written: type, frozen: bool, eq: bool) -> type:
    """Return ``written`` with slots and methods."""
    own = dict(_own_fields(written))
    fields: dict[str, Field[Any]] = {}
    for base in reversed(written.__mro__[1:]):
        fields |= base.__dict__.get(_FIELDS, {})
    slots = tuple(name for name in own if name not in fields)
    fields |= own

    namespace = {name: value for name, value in vars(written).items() if name not in own}
    namespace.pop("__dict__", None)
    namespace.pop("__weakref__", None)
    namespace |= {"__slots__": slots, _FIELDS: fields}
    by_place = tuple(name for name, field in fields.items() if field.kw_only is not True)
    namespace.setdefault("__match_args__", by_place)
    namespace.setdefault("__repr__", _repr)
    if eq:
        if namespace.get("__hash__") is None:
            namespace["__hash__"] = _Method(_hash_of) if frozen else None
        namespace.setdefault("__eq__", _Method(_eq_of))
    if frozen:
        namespace |= {"__setattr__": _refuse_to_set, "__delattr__": _refuse_to_delete}
        namespace.setdefault("__getstate__", _state)
        namespace.setdefault("__setstate__", _restore)
    namespace.setdefault("__init__", _Method(_frozen_init_of if frozen else _init_of))
    namespace |= {name: _Standard(written, frozen, name) for name in _STANDARD}

    made = type(written)(written.__name__, written.__bases__, namespace)
    made.__qualname__ = written.__qualname__
    return made


def _own_fields(written: type) -> Iterable[tuple[str, Field[Any]]]:
    for name, hint in written.__annotations__.items():
        if str(hint).removeprefix("typing.").startswith("ClassVar"):
            continue
        given: Any = written.__dict__.get(name, MISSING)
        field: Field[Any] = dataclasses.field(default=given)
        if isinstance(given, Field):
            field = cast("Field[Any]", given)
        assert field.init
        if type(field.default).__hash__ is None:
            raise ValueError(f"{written.__name__}.{name}: a default that changes is shared by all")
        field.name = name
        yield name, field


class _Method:
    """Stands for a method until it is first wanted; ``write`` makes it, given its class."""

    def __init__(self, write: Callable[[type], Callable[..., Any]]) -> None:
        self._write = write
        self._owner, self._name = object, ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._owner, self._name = owner, name

    def __get__(self, instance: object, _: type | None = None) -> Callable[..., Any]:
        method = self._write(self._owner)
        method.__qualname__ = f"{self._owner.__qualname__}.{self._name}"
        setattr(self._owner, self._name, method)
        return method if instance is None else method.__get__(instance)


class _Standard:
    """Stands for what the standard library keeps on a class until it is first looked for."""

    def __init__(self, written: type, frozen: bool, asked: str) -> None:
        self._written, self._frozen, self._asked = written, frozen, asked
        self._owner: type = object

    def __set_name__(self, owner: type, _: str) -> None:
        self._owner = owner

    def __get__(self, instance: object, _: type | None = None) -> object:
        make: Any = dataclasses.dataclass(init=False, repr=False, eq=False, frozen=self._frozen)
        made: type = make(self._written)
        for name in _STANDARD:
            setattr(self._owner, name, vars(made)[name])
        return vars(made)[self._asked]


def _frozen_init_of(owner: type) -> Callable[..., None]:
    return _init_of(owner, frozen=True)


def _init_of(owner: type, *, frozen: bool = False) -> Callable[..., None]:
    """Return the ``__init__`` of a class, written out as by hand."""
    known: dict[str, Any] = {"__MISSING": MISSING}
    by_place: list[str] = []
    by_name: list[str] = []
    body: list[str] = []
    for name, field in _fields(owner).items():
        value, parameter = name, name
        if field.default_factory is not MISSING:
            known[f"__make_{name}"] = field.default_factory
            value, parameter = (
                f"__make_{name}() if {name} is __MISSING else {name}",
                f"{name}=__MISSING",
            )
        elif field.default is not MISSING:
            known[f"__usual_{name}"] = field.default
            parameter = f"{name}=__usual_{name}"
        (by_name if field.kw_only is True else by_place).append(parameter)
        if frozen:
            # Half as long as object.__setattr__, which has to find the slot.
            known[f"__set_{name}"] = getattr(owner, name).__set__
            body.append(f"__set_{name}(self, {value})")
        else:
            body.append(f"self.{name} = {value}")
    if hasattr(owner, "__post_init__"):
        body.append("self.__post_init__()")
    parameters = ", ".join(["self", *by_place, *(["*", *by_name] if by_name else ())])
    return _written(f"def __init__({parameters}): {'; '.join(body or ['pass'])}", known)


def _eq_of(owner: type) -> Callable[[object, object], bool]:
    return _written(
        "def __eq__(self, other):\n"
        "    if other.__class__ is not self.__class__: return NotImplemented\n"
        f"    return ({_compared('self', owner)}) == ({_compared('other', owner)})"
    )


def _hash_of(owner: type) -> Callable[[object], int]:
    return _written(f"def __hash__(self): return hash(({_compared('self', owner)}))")


def _compared(record: str, owner: type) -> str:
    return "".join(f"{record}.{name}, " for name, field in _fields(owner).items() if field.compare)


def _written(source: str, known: dict[str, Any] | None = None) -> Callable[..., Any]:
    made: dict[str, Any] = {}
    # Not the text itself: with that, CPython takes Ctrl-C inside for one that nobody caught, and a
    # program run by ``-m`` dies of the signal whatever status it ends with.
    exec(compile(source, "<record>", "exec"), known or {}, made)
    return made.popitem()[1]


def _fields(of: type | object) -> dict[str, Field[Any]]:
    return getattr(of, _FIELDS)


@recursive_repr()
def _repr(self: object) -> str:
    shown = [name for name, field in _fields(self).items() if field.repr]
    values = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
    return f"{type(self).__qualname__}({values})"


def _refuse_to_set(_self: object, name: str, _value: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(_self: object, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: object) -> list[object]:
    return [getattr(self, name) for name in _fields(self)]


def _restore(self: object, state: Iterable[object]) -> None:
    for name, value in zip(_fields(self), state, strict=True):
        object.__setattr__(self, name, value)
