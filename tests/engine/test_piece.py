"""How files are cut: the table of protocol 4.1, the size formula of 5.3, and their edges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damselfly.engine.errors import ConfigError
from damselfly.engine.ids import PieceIndex
from damselfly.engine.piece import (
    MAX_PIECE_SIZE,
    MIB,
    UNKNOWN_LENGTH,
    PieceLayout,
    PieceSizePolicy,
    length_of_wrapped,
)

layouts = st.builds(PieceLayout, st.integers(0, 200), st.integers(6, 40))


def test_the_recorded_file_of_nine_million_bytes():
    layout = PieceLayout(9_000_000, 4 * MIB)
    assert layout.count == 3
    assert layout.content_size == 4_194_299
    assert layout.wrapped_length == 9_000_015
    assert layout.wrapped_range(PieceIndex(1)) == (4_194_304, 8_388_607)
    assert layout.wrapped_range(PieceIndex(2)) == (8_388_608, 12_582_911)
    assert [layout.size(PieceIndex(n)) for n in range(4)] == [4_194_299, 4_194_299, 611_402, 0]


@pytest.mark.parametrize(
    ("length", "count", "wrapped"), [(0, 1, 5), (1, 1, 6), (11, 1, 16), (12, 2, 22), (22, 2, 32)]
)
def test_counts_at_the_edges_of_pieces_of_sixteen_bytes(length: int, count: int, wrapped: int):
    layout = PieceLayout(length, 16)
    assert (layout.count, layout.wrapped_length) == (count, wrapped)


@given(layouts)
def test_pieces_tile_the_file(layout: PieceLayout):
    position = 0
    for piece in map(PieceIndex, range(layout.count)):
        assert layout.offset(piece) == position
        assert layout.size(piece) > 0 or layout.length == 0
        position += layout.size(piece)
    assert position == layout.length


@given(layouts)
def test_the_wrapped_length_tells_the_length(layout: PieceLayout):
    assert length_of_wrapped(layout.wrapped_length, layout.piece_size) == layout.length


def test_while_the_length_is_unknown_pieces_are_full():
    layout = PieceLayout(UNKNOWN_LENGTH, MIB)
    assert layout.size(PieceIndex(1000)) == MIB - 5
    with pytest.raises(AssertionError):
        _ = layout.count


@pytest.mark.parametrize("piece_size", [5, 0, -1, MAX_PIECE_SIZE + 1])
def test_impossible_piece_sizes(piece_size: int):
    with pytest.raises(ConfigError, match=f"piece size {piece_size}: expected 6 to 15728640"):
        PieceLayout(1, piece_size)


@pytest.mark.parametrize(
    ("length", "mebibytes"),
    [
        (UNKNOWN_LENGTH, 4),
        (0, 4),
        (200 * MIB, 4),
        (200 * MIB + 1, 4),
        (300 * MIB - 1, 4),
        (300 * MIB, 5),
        (1300 * MIB - 1, 14),
        (1300 * MIB, 15),
        (1 << 50, 15),
    ],
)
def test_dragonflys_piece_sizes(length: int, mebibytes: int):
    assert PieceSizePolicy.DRAGONFLY.piece_size(length) == mebibytes * MIB


@pytest.mark.parametrize(
    ("length", "mebibytes"),
    [
        (UNKNOWN_LENGTH, 4),
        (0, 1),
        (512 * MIB, 1),
        (512 * MIB + 1, 2),
        (7680 * MIB, 15),
        (1 << 50, 15),
    ],
)
def test_adaptive_piece_sizes(length: int, mebibytes: int):
    assert PieceSizePolicy.ADAPTIVE.piece_size(length) == mebibytes * MIB


@pytest.mark.parametrize(
    ("length", "mebibytes"),
    [
        (UNKNOWN_LENGTH, 4),
        (0, 1),
        (128 * MIB - 1, 1),
        (128 * MIB, 2),
        (200 * MIB, 3),
        (512 * MIB, 4),
        (3072 * MIB, 6),
    ],
)
def test_adaptive_piece_sizes_for_few_hosts(length: int, mebibytes: int):
    assert PieceSizePolicy.ADAPTIVE.piece_size(length, few_hosts=True) == mebibytes * MIB
