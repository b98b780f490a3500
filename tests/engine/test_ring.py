"""Which supernode a task is of."""

from __future__ import annotations

from collections import Counter

import pytest

from damselfly.engine.ids import NodeAddress, TaskId
from damselfly.engine.ring import in_order_for

A, B, C = (NodeAddress(host) for host in "abc")
TASKS = [TaskId(f"task {number}") for number in range(4000)]


def test_all_are_there_once_whatever_the_order_in_which_they_are_named() -> None:
    for task in TASKS[:50]:
        order = in_order_for(task, (A, B, C, B))
        assert sorted(order, key=str) == [A, B, C]
        assert in_order_for(task, (B, C, B, A)) == order


def test_tasks_go_to_them_in_proportion() -> None:
    firsts = Counter(in_order_for(task, (A, B, B, C))[0] for task in TASKS)
    assert firsts[A] / len(TASKS) == pytest.approx(0.25, abs=0.03)
    assert firsts[B] / len(TASKS) == pytest.approx(0.5, abs=0.03)


def test_if_one_goes_only_its_tasks_move_and_to_all_others() -> None:
    moved: Counter[NodeAddress] = Counter()
    for task in TASKS:
        before, after = in_order_for(task, (A, B, C)), in_order_for(task, (A, B))
        if before[0] == C:
            moved[after[0]] += 1
        assert after == tuple(node for node in before if node != C)
    assert min(moved[A], moved[B]) > 500


def test_nobody_to_ask() -> None:
    assert in_order_for(TASKS[0], ()) == ()
