from __future__ import annotations

import os
import struct
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damselfly.engine.ids import PieceIndex
from damselfly.engine.piece import PieceLayout
from damselfly.net.sidecar import (
    Created,
    Kept,
    LaidOut,
    Moved,
    SidecarReader,
    SidecarState,
    encode,
    replay,
    sidecar_path,
)
from damselfly.net.store import PieceStore

from .store_support import CONTENT, DATA, PIECE_SIZE, filled, piece_of, put, sha256

if TYPE_CHECKING:
    from pathlib import Path

# --- what a log says ------------------------------------------------------------------------------


@given(st.data())
def test_a_damaged_log_gives_a_prefix_of_what_was_said(data: st.DataObject) -> None:
    records = [
        Created(1, b"12345678", "key"),
        LaidOut(5000, PIECE_SIZE, "", False),
        *(Kept(piece, CONTENT, f"sha256:{piece}") for piece in range(4)),
    ]
    log = bytearray(b"".join(map(encode, records)))
    start = data.draw(st.integers(0, len(log) - 1))
    junk = data.draw(st.binary(min_size=1, max_size=20))
    log[start : start + len(junk)] = junk
    state = SidecarState()
    good = replay(bytes(log), state)
    assert list(state.held) == list(range(len(state.held)))
    again = SidecarState()
    assert replay(bytes(log[:good]), again) == good
    assert again == state


@pytest.mark.parametrize(
    "records",
    [
        [Kept(0, 1, "sha256:0")],
        [Created(1, b"", "key"), Created(1, b"", "key")],
        [Created(1, b"", "key"), Kept(0, 1, "sha256:0")],
        [Created(1, b"", "key"), LaidOut(1, 3, "", False)],
        [Created(1, b"", "key"), LaidOut(-2, PIECE_SIZE, "", False)],
        [Created(1, b"", "key"), LaidOut(1, PIECE_SIZE, "", False), Kept(-1, 1, "")],
        [Created(2, b"", "key")],
    ],
    ids=["no start", "two starts", "no layout", "piece size", "length", "piece", "schema"],
)
def test_a_log_ends_where_it_makes_no_sense(
    records: list[Created | LaidOut | Kept],
) -> None:
    frames = [encode(record) for record in records]
    good = replay(b"".join(frames), SidecarState())
    assert good == sum(map(len, frames[:-1]))


def test_a_log_ends_where_a_later_version_began() -> None:
    start = encode(Created(1, b"", "key"))
    payload = b"\x92\xa6Sealed\x80"
    frame = struct.pack("<II", len(payload), zlib.crc32(payload)) + payload
    assert replay(start + frame + encode(Moved("x")), SidecarState()) == len(start)


def test_a_record_too_large_for_any_reader_is_refused() -> None:
    with pytest.raises(ValueError, match="LaidOut of 3"):
        encode(LaidOut(1, PIECE_SIZE, "x" * 300_000, False))


# --- reading while another writes -----------------------------------------------------------------


def test_a_reader_follows_the_log(tmp_path: Path) -> None:
    store = PieceStore.create(tmp_path / "data", "key")
    reader = SidecarReader(tmp_path / "data")
    assert reader.refresh()
    assert (reader.key, reader.layout, reader.held) == ("key", None, {})
    assert not reader.refresh()
    store.lay_out(len(DATA), PIECE_SIZE, '"v1"', keep=False)
    put(store, 2)
    assert reader.refresh()
    assert reader.layout == PieceLayout(len(DATA), PIECE_SIZE)
    assert reader.validator == '"v1"'
    assert reader.held == {2: (CONTENT, sha256(piece_of(DATA, 2)))}
    store.drop(PieceIndex(2))
    store.finish(len(DATA))
    assert reader.refresh()
    assert reader.held == {}
    assert reader.finished_length == len(DATA)
    store.delete()
    with pytest.raises(FileNotFoundError):
        reader.refresh()


def test_a_reader_reads_only_what_was_appended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path / "data", 0, 1)
    reader = SidecarReader(tmp_path / "data")
    reader.refresh()
    before = sidecar_path(store.path).stat().st_size
    put(store, 2)
    offsets: list[int] = []
    real_pread = os.pread

    def pread(fd: int, size: int, offset: int) -> bytes:
        offsets.append(offset)
        return real_pread(fd, size, offset)

    with monkeypatch.context() as watched:
        watched.setattr(os, "pread", pread)
        reader.refresh()
    assert offsets == [0, before]
    assert list(reader.held) == [0, 1, 2]
    store.close()


def test_a_reader_waits_for_the_rest_of_a_frame(tmp_path: Path) -> None:
    filled(tmp_path / "data", 0, 1).close()
    log = sidecar_path(tmp_path / "data")
    whole = log.read_bytes()
    reader = SidecarReader(tmp_path / "data")
    held: set[int] = set()
    for size in range(len(whole) + 1):
        log.write_bytes(whole[:size])
        reader.refresh()
        assert set(reader.held) >= held
        held = set(reader.held)
    assert held == {0, 1}


@pytest.mark.parametrize("pieces", [(2, 3), (2,), (1, 2, 3)], ids=["same", "shorter", "longer"])
def test_a_reader_starts_over_on_another_log(tmp_path: Path, pieces: tuple[int, ...]) -> None:
    filled(tmp_path / "data", 0, 1).close()
    reader = SidecarReader(tmp_path / "data")
    reader.refresh()
    filled(tmp_path / "data", *pieces).close()
    assert reader.refresh()
    assert tuple(reader.held) == pieces
