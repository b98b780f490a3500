"""Regular expressions that are compiled when they are used."""

from __future__ import annotations

import re

import pytest

from damselfly.engine.expressions import expression


def test_it_does_what_a_compiled_one_does() -> None:
    word = expression(r"([a-z]+)-(\d)", re.IGNORECASE)
    match = word.fullmatch("Ab-1")
    assert match is not None
    assert match.groups() == ("Ab", "1")
    assert word.sub("x", "a-1 b-2") == "x x"
    assert [found[2] for found in word.finditer("a-1 b-2")] == ["1", "2"]
    assert word.pattern == r"([a-z]+)-(\d)"
    assert expression(rb"a+").match(b"aab")


def test_nothing_is_compiled_before_it_is_used() -> None:
    broken = expression("(")
    with pytest.raises(re.error, match="unterminated"):
        broken.match("")
