"""``dataclass`` as in the standard library, but cheap to define.

A dfget that fetches a small file defines a hundred classes and makes instances of a third of them.
Here the one method that has to be written and compiled, ``__init__``, is so when the first instance
is made; to write all methods at once takes ten times as long as to define the class.  What is made
is the same, also for ``fields`` and ``asdict`` of the standard library, and ``replace`` is here.
"""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING, Field, FrozenInstanceError
from operator import attrgetter
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
        key = _key_of([name for name, field in fields.items() if field.compare])
        if namespace.get("__hash__") is None:
            namespace["__hash__"] = _hash_by(key) if frozen else None
        namespace.setdefault("__eq__", _eq_by(key))
    if frozen:
        namespace |= {"__setattr__": _refuse_to_set, "__delattr__": _refuse_to_delete}
        namespace.setdefault("__getstate__", _state)
        namespace.setdefault("__setstate__", _restore)
    if "__init__" not in namespace:
        namespace["__init__"] = _Init(frozen)
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


class _Init:
    """Stands for the ``__init__`` of a class until it is first wanted."""

    def __init__(self, frozen: bool) -> None:
        self._frozen = frozen
        self._owner: type = object

    def __set_name__(self, owner: type, _: str) -> None:
        self._owner = owner

    def __get__(self, instance: object, _: type | None = None) -> Callable[..., None]:
        init = _init_of(self._owner, self._frozen)
        self._owner.__init__ = init
        return init if instance is None else init.__get__(instance)


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


def _init_of(owner: type, frozen: bool) -> Callable[..., None]:
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
    exec(f"def __init__({parameters}):\n    {'; '.join(body or ['pass'])}", known)
    init = known["__init__"]
    init.__qualname__ = f"{owner.__qualname__}.__init__"
    return init


def _fields(of: type | object) -> dict[str, Field[Any]]:
    return getattr(of, _FIELDS)


def _key_of(names: list[str]) -> Callable[[object], object]:
    """Return what gives the values of a record that others are compared to."""
    return attrgetter(*names) if names else lambda _: ()


def _eq_by(key: Callable[[object], object]) -> Callable[[object, object], bool]:
    def __eq__(self: object, other: object) -> bool:
        return key(self) == key(other) if other.__class__ is self.__class__ else NotImplemented

    return __eq__


def _hash_by(key: Callable[[object], object]) -> Callable[[object], int]:
    def __hash__(self: object) -> int:
        return hash(key(self))

    return __hash__


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
