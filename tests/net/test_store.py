from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from damselfly.engine.errors import LocalProtocolError
from damselfly.engine.events import HeldPiece
from damselfly.engine.ids import PieceIndex
from damselfly.engine.piece import Digest, DigestForm, PieceLayout
from damselfly.engine.wire.frame import wrap
from damselfly.net.sidecar import Created, Moved, SidecarReader, encode, sidecar_path
from damselfly.net.store import (
    PieceStore,
    StoreDirectory,
    StoreError,
    StoreLocked,
    delete_store,
)

from .small_disk import fill, small_disk
from .store_support import CONTENT, DATA, PIECE_SIZE, filled, held_piece, piece_of, put, sha256

if TYPE_CHECKING:
    from pathlib import Path

# --- one store ------------------------------------------------------------------------------------


def test_a_store_is_found_as_it_was_left(tmp_path: Path) -> None:
    with filled(tmp_path / "data", 0, 3) as store:
        store.keep(PieceIndex(1), CONTENT, sha256(b"never written"))
        store.drop(PieceIndex(1))
    with PieceStore.open(tmp_path / "data") as store:
        assert store.key == "key"
        assert store.layout == PieceLayout(len(DATA), PIECE_SIZE)
        assert store.validator == '"v1"'
        assert store.finished_length is None
        assert store.held == {
            0: (CONTENT, sha256(piece_of(DATA, 0))),
            3: (17, sha256(piece_of(DATA, 3))),
        }
        assert store.rehash() == (held_piece(0), held_piece(3))
        assert os.pread(store.fd, 17, 3 * CONTENT) == piece_of(DATA, 3)


def test_rehash_drops_for_good_what_no_longer_matches(tmp_path: Path) -> None:
    with filled(tmp_path / "data", 0, 1, 2) as store:
        os.pwrite(store.fd, b"?", CONTENT + 500)
        assert store.rehash() == (held_piece(0), held_piece(2))
    with PieceStore.open(tmp_path / "data") as store:
        assert list(store.held) == [0, 2]


def test_rehash_takes_the_md5_of_the_wrapped_piece(tmp_path: Path) -> None:
    wrapped = hashlib.md5(wrap(piece_of(DATA, 3), PIECE_SIZE)).hexdigest()
    digest = Digest(f"md5:{wrapped}")
    with filled(tmp_path / "data", 3) as store:
        assert store.digest(PieceIndex(3), 17, DigestForm.MD5_WRAPPED) == digest
        assert store.digest(PieceIndex(3), 17, DigestForm.SHA256) == sha256(piece_of(DATA, 3))
        store.keep(PieceIndex(3), 17, digest)
        assert store.rehash() == (HeldPiece(PieceIndex(3), 17, digest),)


@pytest.mark.parametrize(
    ("piece", "size", "digest"),
    [
        (0, CONTENT - 1, sha256(DATA[: CONTENT - 1])),
        (3, 18, sha256(piece_of(DATA, 3) + b"\0")),
        (0, CONTENT, Digest("")),
        (0, CONTENT, Digest("crc32:00000000")),
        (0, 2 * CONTENT, sha256(DATA[: 2 * CONTENT])),
        (70, 0, Digest("sha256:")),
    ],
    ids=["short", "long", "no digest", "unknown digest", "two pieces", "beyond the end"],
)
def test_rehash_drops_what_cannot_be_a_piece(
    tmp_path: Path, piece: int, size: int, digest: Digest
) -> None:
    with filled(tmp_path / "data", 0, 1, 2, 3) as store:
        store.keep(PieceIndex(piece), size, digest)
        kept = {held.piece for held in store.rehash()}
        assert kept == {0, 1, 2, 3} - {piece}


def test_a_new_layout_keeps_or_voids_what_is_there(tmp_path: Path) -> None:
    with PieceStore.create(tmp_path / "data", "key") as store:
        store.lay_out(-1, PIECE_SIZE, "", keep=False)
        put(store, 0)
        assert store.path.stat().st_size == CONTENT
        store.lay_out(len(DATA), PIECE_SIZE, '"v1"', keep=True)
        assert store.path.stat().st_size == len(DATA)
        assert store.rehash() == (held_piece(0),)
        with pytest.raises(LocalProtocolError, match="1000 bytes cannot be kept in a layout of 94"):
            store.lay_out(len(DATA), 99, '"v1"', keep=True)
        store.lay_out(50, 99, '"v2"', keep=False)
        assert store.held == {}
        assert store.path.read_bytes() == bytes(50)
    with PieceStore.open(tmp_path / "data") as store:
        assert store.held == {}
        assert store.layout == PieceLayout(50, 99)
        assert store.validator == '"v2"'


def test_a_finished_store_does_not_change(tmp_path: Path) -> None:
    with filled(tmp_path / "data", 0) as store:
        store.finish(len(DATA))
        with pytest.raises(LocalProtocolError, match="was published"):
            store.write(0, memoryview(b"x"))
        with pytest.raises(LocalProtocolError, match="was published"):
            store.lay_out(1, PIECE_SIZE, "", keep=False)
    with PieceStore.open(tmp_path / "data") as store:
        assert store.finished_length == len(DATA)
        assert store.rehash() == (held_piece(0),)


def test_create_replaces_and_makes_directories(tmp_path: Path) -> None:
    path = tmp_path / "download" / "abc" / "task"
    filled(path, 0).close()
    with PieceStore.create(path, "other") as store:
        assert store.key == "other"
        assert store.held == {}
        assert path.read_bytes() == b""
    sidecar_path(path).unlink()
    path.write_bytes(b"data without a log")
    PieceStore.create(path, "third").close()
    assert path.read_bytes() == b""


def test_delete_leaves_nothing(tmp_path: Path) -> None:
    filled(tmp_path / "data", 0).delete()
    assert list(tmp_path.iterdir()) == []
    delete_store(tmp_path / "data")


def test_the_data_file_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        PieceStore.create(tmp_path / "data", "key").close()
    finally:
        os.umask(before)
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o640
    assert sidecar_path(tmp_path / "data").stat().st_mode & 0o777 == 0o600


# --- locks ----------------------------------------------------------------------------------------


def test_two_never_write_one_store(tmp_path: Path) -> None:
    path = tmp_path / "data"
    store = filled(path, 0)
    with pytest.raises(StoreLocked, match="is being written by another process"):
        PieceStore.open(path)
    with pytest.raises(StoreLocked, match="is being written by another process"):
        PieceStore.create(path, "key")
    other = "import sys, pathlib; from damselfly.net.store import *\n"
    other += "try: PieceStore.open(pathlib.Path(sys.argv[1]))\nexcept StoreLocked: sys.exit(42)"
    assert subprocess.run([sys.executable, "-c", other, path], check=False).returncode == 42
    assert store.rehash() == (held_piece(0),)
    store.close()
    PieceStore.open(path).close()


def test_a_store_that_changed_hands_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data"
    filled(path, 0).close()
    real_open = os.open

    def open_slowly(*args: object) -> int:
        fd = real_open(*args)  # pyright: ignore[reportArgumentType]
        monkeypatch.undo()
        filled(path, 1, key="the other's").close()
        return fd

    monkeypatch.setattr(os, "open", open_slowly)
    with pytest.raises(StoreLocked, match="was replaced by another process"):
        PieceStore.open(path)


# --- crashes --------------------------------------------------------------------------------------


def test_a_log_torn_anywhere_is_cut_and_grows_again(tmp_path: Path) -> None:
    path = tmp_path / "data"
    filled(path, 0, 1, 2).close()
    log = sidecar_path(path).read_bytes()
    seen: set[int] = set()
    for size in range(len(log)):
        sidecar_path(path).write_bytes(log[:size] + b"\xff" * (size % 3))
        if size < len(encode(Created(1, b"12345678", "key"))):
            with pytest.raises(StoreError, match="damaged"):
                PieceStore.open(path)
            continue
        with PieceStore.open(path) as store:
            count = len(store.held)
            seen.add(count)
            assert store.rehash() == tuple(held_piece(piece) for piece in range(count))
            if store.layout is None:
                continue
            put(store, 3)
        with PieceStore.open(path) as store:
            assert list(store.held) == [*range(count), 3]
    assert seen == {0, 1, 2}


def test_sigkill_loses_no_piece_that_was_kept(tmp_path: Path) -> None:
    code = """
import hashlib, itertools, sys
from pathlib import Path
from damselfly.net.store import PieceStore
store = PieceStore.create(Path(sys.argv[1]), "key")
store.lay_out(-1, 1005, "", keep=False)
for piece in itertools.count():
    content = piece.to_bytes(4, "big") * 250
    store.write(piece * 1000, memoryview(content))
    store.keep(piece, 1000, "sha256:" + hashlib.sha256(content).hexdigest())
    print(piece, flush=True)
"""
    command = [sys.executable, "-c", code, tmp_path / "data"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            if int(line) == 200:
                break
        writer.kill()
        said = 201 + len(writer.stdout.read().split())
    assert writer.returncode == -signal.SIGKILL
    with PieceStore.open(tmp_path / "data") as store:
        assert len(store.rehash()) == len(store.held) >= said


def test_open_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot open the store .*/none: No such file"):
        PieceStore.open(tmp_path / "none")
    filled(tmp_path / "data").close()
    (tmp_path / "data").unlink()
    with pytest.raises(StoreError, match=r"cannot open the store .*/data: No such file"):
        PieceStore.open(tmp_path / "data")


# --- full disks -----------------------------------------------------------------------------------


def test_a_full_disk_shows_in_write_and_the_log_catches_up(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        with filled(disk / "data", 0) as store:
            filler = fill(disk)
            with pytest.raises(OSError, match="No space left") as caught:
                store.write(0, memoryview(bytes(2 << 20)))
            assert caught.value.errno == errno.ENOSPC
            filler.unlink()
        with PieceStore.open(disk / "data") as store:
            os.pwrite(store.fd, DATA, 0)
            for piece in (0, 1, 2, 3):
                put(store, piece)
        assert SidecarReader(disk / "data").refresh()
        with PieceStore.open(disk / "data") as store:
            assert len(store.rehash()) == 4


def test_records_that_did_not_fit_are_written_later_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path / "data", 0)
    real_write, room = os.write, 5

    def write_a_little(fd: int, data: bytearray) -> int:
        nonlocal room
        if room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = real_write(fd, data[:room])
        room -= written
        return written

    reader = SidecarReader(store.path)
    with monkeypatch.context() as full:
        full.setattr(os, "write", write_a_little)
        put(store, 1)
        put(store, 2)
        assert list(store.held) == [0, 1, 2]
        assert reader.refresh()
        assert list(reader.held) == [0]
    store.drop(PieceIndex(0))
    assert reader.refresh()
    assert list(reader.held) == [1, 2]
    store.close()
    with PieceStore.open(tmp_path / "data") as store:
        assert store.rehash() == (held_piece(1), held_piece(2))


# --- a directory of stores ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "/etc/passwd", "../x", "a\0b", "x.pieces", "n" * 249, "\u00e9" * 125],
)
def test_no_name_leads_out_of_the_directory(tmp_path: Path, name: str) -> None:
    directory = StoreDirectory(tmp_path)
    with pytest.raises(ValueError, match="store name"):
        directory.new(name, "key")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["file-123-1.5", "..x", "n" * 248, " ", "a\nb"])
def test_any_other_name_will_do(tmp_path: Path, name: str) -> None:
    with StoreDirectory(tmp_path / "new").new(name, "key") as store:
        assert store.path == tmp_path / "new" / name


def test_find_partial_takes_the_newest_that_can_be_used(tmp_path: Path) -> None:
    directory = StoreDirectory(tmp_path)
    for name in ("other", "finished", "linked", "torn", "old", "new"):
        with filled(tmp_path / name, 0, key="other" if name == "other" else "key") as store:
            if name == "finished":
                store.finish(len(DATA))
    (tmp_path / "under the user's name").hardlink_to(tmp_path / "linked")
    sidecar_path(tmp_path / "torn").write_bytes(b"garbage")
    busy = filled(tmp_path / "busy", 0)
    os.utime(tmp_path / "new.pieces", (2e9, 2e9))
    os.utime(tmp_path / "old.pieces", (1e9, 1e9))
    (tmp_path / "lost.pieces").write_bytes(encode(Created(1, b"12345678", "key")))
    found = directory.find_partial("key")
    assert found is not None
    assert found.path.name == "new"
    second = directory.find_partial("key")
    assert second is not None
    assert second.path.name == "old"
    assert directory.find_partial("key") is None
    assert directory.find_partial("nobody's") is None
    for store in (found, second, busy):
        store.close()


def test_an_adopted_store_goes_on_under_its_new_name(tmp_path: Path) -> None:
    directory = StoreDirectory(tmp_path)
    filled(tmp_path / "old", 0).close()
    filled(tmp_path / "taken", key="other").close()
    store = directory.find_partial("key")
    assert store is not None
    with pytest.raises(FileExistsError):
        directory.adopt(store, "taken")
    with pytest.raises(ValueError, match="store name"):
        directory.adopt(store, "../new")
    directory.adopt(store, "new")
    put(store, 1)
    assert store.path == tmp_path / "new"
    assert directory.find_partial("key") is None
    store.close()
    assert sorted(path.name for path in tmp_path.glob("[no]*")) == ["new", "new.pieces"]
    with PieceStore.open(tmp_path / "new") as store:
        assert store.rehash() == (held_piece(0), held_piece(1))


@pytest.mark.parametrize("renames_done", [0, 1])
def test_a_process_may_die_while_it_adopts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames_done: int
) -> None:
    directory = StoreDirectory(tmp_path)
    store = filled(tmp_path / "old", 0, 1)
    real_rename, renames = os.rename, renames_done

    def rename_or_die(*args: object) -> None:
        nonlocal renames
        if renames == 0:
            raise KeyboardInterrupt
        renames -= 1
        real_rename(*args)  # pyright: ignore[reportArgumentType]

    with monkeypatch.context() as death:
        death.setattr(os, "rename", rename_or_die)
        with pytest.raises(KeyboardInterrupt):
            directory.adopt(store, "new")
    store.close()
    found = directory.find_partial("key")
    assert found is not None
    assert found.rehash() == (held_piece(0), held_piece(1))
    directory.adopt(found, "newest")
    found.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["newest", "newest.pieces"]


def test_data_that_two_logs_claim_is_not_taken(tmp_path: Path) -> None:
    directory = StoreDirectory(tmp_path)
    with filled(tmp_path / "old", 0) as store:
        log = sidecar_path(tmp_path / "old").read_bytes()
        directory.adopt(store, "new")
    sidecar_path(tmp_path / "old").write_bytes(log + encode(Moved("new")))
    with pytest.raises(StoreError, match=r"old: No such file"):
        PieceStore.open(tmp_path / "old")
    with PieceStore.open(tmp_path / "new") as store:
        assert store.rehash() == (held_piece(0),)
