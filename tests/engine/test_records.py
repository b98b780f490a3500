"""Records are what dataclasses of the standard library are."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import pytest

from damselfly.engine import records

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")


@records.dataclass(frozen=True, slots=True)
class Point:
    """A frozen record."""

    kinds: ClassVar[int] = 1
    x: int
    y: int = 2
    note: str = field(default="", compare=False, repr=False)


@records.dataclass(frozen=True, slots=True)
class Solid(Point):
    z: int = 3
    names: list[str] = field(default_factory=list[str], kw_only=True)


@records.dataclass(slots=True)
class Counter(Generic[T]):
    value: T
    seen: list[T] = field(default_factory=list["T"])

    def __post_init__(self) -> None:
        self.seen.append(self.value)


@records.dataclass(slots=True, eq=False)
class Thing:
    pass


class Plain(Point):
    __slots__ = ()


def test_instances_are_made_compared_and_shown_like_dataclasses() -> None:
    assert Point(1) == Point(1, 2) == Point(x=1, y=2, note="other")
    assert Point(1) != Point(2)
    assert Point(1) != Solid(1)
    assert Plain(1) != Point(1)
    assert Plain(1) == Plain(1)
    assert hash(Point(1)) == hash(Point(1, note="other"))
    assert repr(Point(1, 2, "a")) == "Point(x=1, y=2)"
    assert repr(Solid(1, names=["n"])) == "Solid(x=1, y=2, z=3, names=['n'])"
    assert Counter(5).seen == [5]
    assert Counter(5) == Counter(5)
    assert Thing() != Thing()
    with pytest.raises(TypeError, match="unhashable"):
        hash(Counter(5))
    with pytest.raises(TypeError, match=r"Point.__init__\(\) missing 1 required"):
        Point()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError, match="positional"):
        Solid(1, 2, "", 3, [])  # pyright: ignore[reportCallIssue]


def test_a_default_that_is_made_is_each_ones_own() -> None:
    assert Solid(1).names is not Solid(1).names


def test_a_record_that_holds_itself_can_be_shown() -> None:
    counter: Counter[Any] = Counter(None)
    counter.value = counter
    assert repr(counter) == "Counter(value=..., seen=[None])"


def test_frozen_records_do_not_change() -> None:
    point: Any = Point(1)
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'x'"):
        point.x = 2
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'x'"):
        del point.x
    assert point == Point(1)


def test_records_have_slots_and_nothing_else() -> None:
    for record in (Point(1), Solid(1), Counter(1)):
        assert not hasattr(record, "__dict__")
    assert vars(Solid)["__slots__"] == ("z", "names")
    with pytest.raises(AttributeError):
        Counter(1).other = 2  # type: ignore[attr-defined]  # pyright: ignore


def test_patterns_match_by_place_and_by_name() -> None:
    match Solid(1, 2, "a", 4):
        case Solid(x, y, note, z, names=[]):
            assert (x, y, note, z) == (1, 2, "a", 4)
        case _:
            raise AssertionError
    assert Solid.__match_args__ == ("x", "y", "note", "z")


def pickled(record: object) -> object:
    return pickle.loads(pickle.dumps(record))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickled])
def test_copies_are_equal(copied: Callable[[object], object]) -> None:
    for record in (Point(1, 3), Solid(1, names=["n"]), Counter("a")):
        assert copied(record) == record


def test_a_copy_that_is_made_before_any_instance_can_be_used() -> None:
    @records.dataclass(frozen=True, slots=True)
    class Late:
        a: int
        b: int = 2

    late = Late.__new__(Late)
    late.__setstate__([1, 2])  # type: ignore[attr-defined]  # pyright: ignore
    assert repr(late).endswith("Late(a=1, b=2)")
    assert late == Late(1)
    assert hash(late) == hash(Late(1))


def test_the_standard_library_sees_a_dataclass() -> None:
    @dataclass(frozen=True, slots=True)
    class More(Solid):
        more: int = 0

    assert dataclasses.is_dataclass(Solid)
    assert [one.name for one in dataclasses.fields(Solid)] == ["x", "y", "note", "z", "names"]
    assert dataclasses.asdict(Point(1)) == {"x": 1, "y": 2, "note": ""}
    assert dataclasses.replace(Solid(1), z=7) == Solid(1, z=7)
    assert records.replace(Solid(1, names=["n"]), z=7) == Solid(1, z=7, names=["n"])
    assert repr(More(1)).endswith("More(x=1, y=2, z=3, names=[], more=0)")
    assert vars(Point(1).__class__)["__dataclass_params__"].frozen


def test_own_methods_stay() -> None:
    @records.dataclass(frozen=True, slots=True)
    class Named:
        name: str

        def __repr__(self) -> str:
            return self.name

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Named) and self.name.lower() == other.name.lower()

        def __hash__(self) -> int:
            return hash(self.name.lower())

    assert repr(Named("a")) == "a"
    assert len({Named("a"), Named("A")}) == 1


def test_methods_are_written_when_they_are_wanted() -> None:
    @records.dataclass(slots=True)
    class Unused:
        a: int

    def written() -> list[str]:
        return [name for name in ("__init__", "__eq__") if callable(vars(Unused)[name])]

    assert written() == []
    assert Unused(1).a == 1
    assert written() == ["__init__"]
    assert Unused(1) == Unused(1)
    assert written() == ["__init__", "__eq__"]


def test_a_default_that_would_be_shared_is_refused() -> None:
    with pytest.raises(ValueError, match="shared"):

        @records.dataclass(slots=True)
        class _Shared:
            a: list[int] = []  # noqa: RUF012  # pyright: ignore


def test_ctrl_c_while_a_method_is_written_is_the_programs_to_handle(tmp_path: Path) -> None:
    program = """
import sys
from damselfly.engine import records
try:
    records._written("raise KeyboardInterrupt")
except KeyboardInterrupt:
    sys.exit(130)
"""
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run([sys.executable, "-m", "program"], cwd=tmp_path, check=False)
    assert done.returncode == 130
