"""The piece frame: recorded bytes, a peer server's recorded answers, and a model."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damselfly.engine.errors import RemoteProtocolError
from damselfly.engine.ids import PieceIndex
from damselfly.engine.piece import MIB, UNKNOWN_LENGTH, PieceLayout
from damselfly.engine.wire.frame import (
    TAIL,
    ContentSlice,
    Part,
    RangeError,
    parse_head,
    parse_number,
    parse_range,
    piece_head,
    plain_parts,
    upload_parts,
    wrap,
    wrapped_parts,
)

# The file that the peer server battery was recorded with (protocol 3.2).
RECORDED_FILE = bytes(range(256)) * 40


def laid_out(parts: tuple[Part, ...], content: bytes) -> bytes:
    """What arrives at the other end."""
    return b"".join(
        part if isinstance(part, bytes) else content[part.offset : part.offset + part.count]
        for part in parts
    )


def all_wrapped(content: bytes, layout: PieceLayout) -> bytes:
    pieces = [
        content[layout.offset(piece) :][: layout.size(piece)]
        for piece in map(PieceIndex, range(layout.count))
    ]
    return b"".join(wrap(piece, layout.piece_size) for piece in pieces)


@pytest.mark.parametrize(
    ("content_size", "piece_size", "head"),
    [
        (4 * MIB - 5, 4 * MIB, "043ffffb"),
        (611402, 4 * MIB, "0409544a"),
        (0, 4 * MIB, "04000000"),
        (15 * MIB - 5, 15 * MIB, "0feffffb"),
    ],
)
def test_recorded_heads(content_size: int, piece_size: int, head: str):
    assert piece_head(content_size, piece_size).hex() == head
    assert parse_head(bytes.fromhex(head) + b"content") == content_size


def test_piece_sizes_that_are_no_mebibytes_overlap_the_length_as_recorded():
    assert piece_head(1019, 1024).hex() == "000043fb"
    assert piece_head(10240, 1024).hex() == "00006800"


def test_an_empty_file_is_one_piece_of_five_bytes():
    wrapped = wrap(b"", 4 * MIB)
    assert wrapped.hex() == "040000007f"
    assert hashlib.md5(wrapped).hexdigest() == "d6991051769098273e82477afd2bb93e"
    layout = PieceLayout(0, 4 * MIB)
    assert laid_out(wrapped_parts(layout, 0, 4 * MIB - 1), b"") == wrapped


def test_a_short_head_is_refused():
    with pytest.raises(RemoteProtocolError, match="3 bytes: expected 4"):
        parse_head(b"\x04\x3f\xff")


# --- the CDN file ---------------------------------------------------------------------------------


def test_one_whole_piece_is_head_slice_and_tail():
    layout = PieceLayout(9_000_000, 4 * MIB)
    assert wrapped_parts(layout, 4 * MIB, 8 * MIB - 1) == (
        bytes.fromhex("043ffffb"),
        ContentSlice(4 * MIB - 5, 4 * MIB - 5),
        TAIL,
    )


def test_the_last_piece_is_shortened():
    layout = PieceLayout(9_000_000, 4 * MIB)
    first, last = layout.wrapped_range(PieceIndex(2))
    assert wrapped_parts(layout, first, last) == (
        bytes.fromhex("0409544a"),
        ContentSlice(8_388_598, 611_402),
        TAIL,
    )


@st.composite
def cdn_ranges(draw: st.DrawFn) -> tuple[bytes, PieceLayout, int, int]:
    content = draw(st.binary(max_size=60))
    layout = PieceLayout(len(content), draw(st.integers(6, 30)))
    first = draw(st.integers(0, layout.wrapped_length - 1))
    return content, layout, first, draw(st.integers(first, layout.wrapped_length + 40))


@given(cdn_ranges())
def test_any_range_of_the_cdn_file_is_a_slice_of_all_pieces(
    case: tuple[bytes, PieceLayout, int, int],
):
    content, layout, first, last = case
    parts = wrapped_parts(layout, first, last)
    assert laid_out(parts, content) == all_wrapped(content, layout)[first : last + 1]
    assert all(part.count > 0 if isinstance(part, ContentSlice) else part for part in parts)


@pytest.mark.parametrize(("first", "last"), [(9_000_015, 9_000_020), (5, 4), (-1, 4)])
def test_a_range_without_bytes_is_416(first: int, last: int):
    with pytest.raises(RangeError) as caught:
        wrapped_parts(PieceLayout(9_000_000, 4 * MIB), first, last)
    assert caught.value.status_hint == 416


def test_while_the_length_is_unknown_pieces_are_full_and_asked_for_one_by_one():
    layout = PieceLayout(UNKNOWN_LENGTH, MIB)
    assert wrapped_parts(layout, MIB, 2 * MIB - 1) == (
        bytes.fromhex("010ffffb"),
        ContentSlice(MIB - 5, MIB - 5),
        TAIL,
    )
    with pytest.raises(RangeError, match="one piece at a time"):
        wrapped_parts(layout, 0, 1 << 62)


# --- the peer server ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "number", "length", "begins", "ends"),
    [
        ("bytes=0-4194303", 0, 10245, "0000680000010203", "fdfeff7f"),
        ("bytes=0-1023", 0, 1024, "000043fb00010203", "f8f9fa7f"),
        ("bytes=1024-2047", 0, 1024, "000043fb00010203", "f8f9fa7f"),
        ("bytes=10200-11223", 0, 45, "00004028d8d9dadb", "fdfeff7f"),
        ("bytes=0-4", 0, 5, "000040007f", "0040007f"),
        ("items=0-100", 0, 101, "0000406000010203", "5d5e5f7f"),
        ("bytes=1024-2047", 1, 1024, "000043fbfbfcfdfe", "f3f4f57f"),
        ("bytes=10240-11263", 10, 55, "00004032cecfd0d1", "fdfeff7f"),
    ],
)
def test_recorded_uploads(header: str, number: int, length: int, begins: str, ends: str):
    parts = upload_parts(*parse_range(header), number, len(RECORDED_FILE), 1024)
    body = laid_out(parts, RECORDED_FILE)
    assert len(body) == length
    assert body.startswith(bytes.fromhex(begins))
    assert body.endswith(bytes.fromhex(ends))


def test_the_recorded_upload_of_an_empty_file():
    assert laid_out(upload_parts(0, 1023, 0, 0, 1024), b"").hex() == "000040007f"


@pytest.mark.parametrize(
    ("header", "number", "why"),
    [
        ("bytes=0-3", 0, "shorter than a frame"),
        ("bytes=0-1023", 3, "begins before the file"),
        ("bytes=10245-20490", 0, "Dragonfly: an empty 206"),
        ("bytes=12000-13000", 0, "Dragonfly: a negative length"),
        ("bytes=11264-12287", 11, "Dragonfly: a negative length"),
        ("bytes=0-1023", -1, "no such piece"),
    ],
)
def test_uploads_that_cannot_be_satisfied(header: str, number: int, why: str):
    with pytest.raises(RangeError, match="range not satisfiable") as caught:
        upload_parts(*parse_range(header), number, len(RECORDED_FILE), 1024)
    assert caught.value.status_hint == 416, why


@given(st.binary(max_size=60), st.integers(6, 30), st.data())
def test_a_peer_uploads_the_very_bytes_of_the_cdn(content: bytes, size: int, data: st.DataObject):
    layout = PieceLayout(len(content), size)
    piece = PieceIndex(data.draw(st.integers(0, layout.count - 1)))
    first, last = layout.wrapped_range(piece)
    uploaded = upload_parts(first, last, piece, len(content), size)
    assert laid_out(uploaded, content) == laid_out(wrapped_parts(layout, first, last), content)


@pytest.mark.parametrize(
    ("header", "length", "begins"),
    [("bytes=0-1023", 1024, "00010203"), ("bytes=10000-11023", 240, "10111213")],
)
def test_recorded_plain_uploads(header: str, length: int, begins: str):
    body = laid_out(plain_parts(*parse_range(header), len(RECORDED_FILE)), RECORDED_FILE)
    assert len(body) == length
    assert body.startswith(bytes.fromhex(begins))


def test_a_plain_upload_beyond_the_end_is_416():
    with pytest.raises(RangeError):
        plain_parts(10240, 11263, len(RECORDED_FILE))


# --- headers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("", "invalid range: "),
        ("0-100", "invalid range: 0-100"),
        ("bytes=0-100=1", "invalid range: bytes=0-100=1"),
        ("bytes=0-1-2", "invalid range: 0-1-2"),
        ("bytes=5-5", "invalid range: 5-5"),
        ("bytes=9-3", "invalid range: 9-3"),
        ("bytes=7", "invalid range: 7"),
        ("bytes=0-", "range end '': expected a decimal number"),
        ("bytes=-5", "range start '': expected a decimal number"),
        ("bytes=a-b", "range start 'a': expected a decimal number"),
        ("bytes=0-1 ", "range end '1 ': expected a decimal number"),
        ("bytes=\u00b2-9", "range start '\u00b2': expected a decimal number"),
        ("bytes=0-" + "9" * 19, "range end '" + "9" * 19 + "': expected a decimal number"),
    ],
)
def test_bad_ranges_are_400_and_say_why(header: str, reason: str):
    with pytest.raises(RemoteProtocolError) as caught:
        parse_range(header)
    assert (caught.value.status_hint, str(caught.value)) == (400, reason)


@given(st.text(max_size=20))
def test_no_header_breaks_the_range_parser(text: str):
    for header in (text, f"bytes={text}", f"bytes=0-{text}"):
        try:
            first, last = parse_range(header)
        except RemoteProtocolError:
            continue
        assert 0 <= first < last


def test_numbers_in_headers():
    assert parse_number("pieceNum", "007") == 7
    with pytest.raises(RemoteProtocolError, match="pieceSize 'x': expected a decimal number"):
        parse_number("pieceSize", "x")
