from __future__ import annotations

import pytest

from ..diagrams import README, TABLES, draw, redrawn


def test_the_drawings_are_those_of_the_tables() -> None:
    text = README.read_text()
    assert redrawn(text) == text, "run: python -m tests.diagrams"
    for name in TABLES:
        assert f"<!-- {name}: drawn -->" in text


@pytest.mark.parametrize("name", TABLES)
def test_every_state_can_be_reached(name: str) -> None:
    table = TABLES[name]
    reached = {next(iter(table))}
    for _ in table:
        reached |= {after for state in reached for after in table[state].values()}
    assert reached == set(table)


def test_a_drawing() -> None:
    assert "OPENING --> READING: OPENED" in draw(TABLES["cdn"])
    assert "COMPLETE --> [*]" in draw(TABLES["cdn"])
