"""Named deadlines against a plain model, and the memory that cancelled ones may not keep."""

from __future__ import annotations

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damselfly.engine.errors import LocalProtocolError
from damselfly.engine.timers import Timers


def test_the_earliest_comes_first_and_ties_in_order_of_setting():
    timers = Timers[str]()
    for name, when in (("late", 3.0), ("first", 1.0), ("second", 1.0), ("third", 1.0)):
        timers.set(name, when)
    assert timers.next() == 1.0
    assert timers.pop_due(0.9) == []
    assert timers.pop_due(1.0) == ["first", "second", "third"]
    assert timers.next() == 3.0
    assert timers.pop_due(inf) == ["late"]
    assert timers.next() == inf


def test_setting_again_moves_a_deadline_and_its_place_among_ties():
    timers = Timers[str]()
    timers.set("a", 1.0)
    timers.set("b", 1.0)
    timers.set("a", 1.0)
    timers.set("c", 0.5)
    timers.set("c", 2.0)
    assert len(timers) == 3
    assert timers.pop_due(1.0) == ["b", "a"]
    assert timers.pop_due(2.0) == ["c"]


def test_cancelled_deadlines_never_go_off():
    timers = Timers[str]()
    timers.set("a", 1.0)
    timers.set("b", 2.0)
    timers.cancel("a")
    timers.cancel("never set")
    timers.set("b", inf)
    assert "a" not in timers
    assert "b" not in timers
    assert timers.next() == inf
    assert timers.pop_due(inf) == []


def test_a_deadline_that_is_not_a_number_is_refused():
    with pytest.raises(LocalProtocolError, match="timer 'a'"):
        Timers[str]().set("a", nan)


def test_names_need_no_order():
    timers = Timers[object]()
    one, other = object(), object()
    timers.set(one, 1.0)
    timers.set(other, 1.0)
    assert timers.pop_due(1.0) == [one, other]


def test_moving_one_deadline_for_ever_keeps_memory_flat():
    timers = Timers[str]()
    for step in range(10_000):
        timers.set("stall", 1000.0 + step)
        timers.set(f"piece {step}", 1.0)
        timers.cancel(f"piece {step}")
    assert len(timers) == 1
    assert len(timers._heap) < 50  # pyright: ignore[reportPrivateUsage]
    assert timers.next() == 10_999.0


steps = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 5), st.integers(0, 9)),
        st.tuples(st.just("cancel"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("pop"), st.just(0), st.integers(0, 9)),
    ),
    max_size=60,
)


@given(steps)
def test_timers_behave_as_a_sorted_list_does(script: list[tuple[str, int, int]]):
    timers = Timers[int]()
    model: dict[int, int] = {}  # in order of setting
    for what, key, when in script:
        if what == "set":
            timers.set(key, when)
            model.pop(key, None)
            model[key] = when
        elif what == "cancel":
            timers.cancel(key)
            model.pop(key, None)
        else:
            due = sorted((k for k in model if model[k] <= when), key=lambda k: model[k])
            assert timers.pop_due(when) == due
            for k in due:
                del model[k]
        assert timers.next() == min(model.values(), default=inf)
        assert len(timers) == len(model)
