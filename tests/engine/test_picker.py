"""Pictures: one character per piece, its number of copies."""

from __future__ import annotations

from random import Random

import pytest

from damselfly.engine.bits import draw, each, lowest
from damselfly.engine.ids import PieceIndex
from damselfly.engine.picker import Picker


def picker(copies: str) -> Picker:
    made = Picker()
    for piece, count in enumerate(copies):
        made.add(PieceIndex(piece))
        for _ in range(int(count)):
            made.gained(PieceIndex(piece))
        made.check()
    return made


def mask(picture: str) -> int:
    return sum(1 << piece for piece, mark in enumerate(picture) if mark == "#")


@pytest.mark.parametrize(
    ("copies", "among", "rarest"),
    [
        ("3121", "####", {1, 3}),
        ("3121", "#.#.", {2}),
        ("0000", "#...", {0}),
        ("9990", "###.", {0, 1, 2}),
        ("1111", ".##.", {1, 2}),
    ],
)
def test_rarest(copies: str, among: str, rarest: set[int]) -> None:
    found = {picker(copies).rarest(mask(among), Random(seed)) for seed in range(50)}
    assert found == rarest


def test_by_rarity_yields_each_piece_once_rarest_first() -> None:
    copies = "3021100"
    order = list(picker(copies).by_rarity(mask("######."), Random(1)))
    assert sorted(order) == [0, 1, 2, 3, 4, 5]
    assert [int(copies[piece]) for piece in order] == [0, 0, 1, 1, 2, 3]


@pytest.mark.parametrize(
    ("most", "expected"), [(0, "..#..."), (1, ".##..#"), (2, "###..#"), (9, "######")]
)
def test_at_most(most: int, expected: str) -> None:
    assert picker("210891").at_most(most) == mask(expected)


def test_lost_copies_make_a_piece_rarer() -> None:
    pieces = picker("22")
    pieces.lost(PieceIndex(1))
    assert pieces.rarest(mask("##"), Random(0)) == 1
    assert pieces.copies(PieceIndex(1)) == 1
    pieces.check()


def test_add_makes_room_for_all_pieces_before() -> None:
    pieces = picker("")
    pieces.add(PieceIndex(3))
    pieces.add(PieceIndex(1))
    assert pieces.at_most(0) == mask("####")
    pieces.check()


def test_unknown_pieces_are_a_bug() -> None:
    with pytest.raises(AssertionError):
        picker("11").rarest(mask("..#"), Random(0))


def test_bits() -> None:
    members = mask("..#.##")
    assert lowest(members) == 2
    assert list(each(members)) == [2, 4, 5]
    assert list(each(0)) == []
    assert {draw(members, Random(seed)) for seed in range(50)} == {2, 4, 5}
