from __future__ import annotations

import errno
import hashlib
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from damselfly.net.publish import PublishError, check_target, publish
from damselfly.net.sidecar import sidecar_path
from damselfly.net.store import PieceStore, StoreDirectory

from .small_disk import DISK_BYTES, fill, small_disk

if TYPE_CHECKING:
    from collections.abc import Generator

DATA: Final = random.Random(1).randbytes(300_000)
MD5: Final = hashlib.md5(DATA).hexdigest()
PIECE_SIZE: Final = 1 << 20


def downloaded(path: Path) -> PieceStore:
    """Return a store that holds all of DATA, and some bytes of an earlier layout behind it."""
    store = PieceStore.create(path, "key")
    store.lay_out(-1, PIECE_SIZE, "", keep=False)
    store.write(0, memoryview(DATA + b"more"))
    return store


@pytest.fixture
def store(tmp_path: Path) -> Generator[PieceStore]:
    with downloaded(tmp_path / "home" / "data") as store:
        yield store


@pytest.fixture
def elsewhere(tmp_path: Path) -> Generator[Path]:
    """Give an empty directory on another file system than the store's."""
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip(f"a copy between file systems: /dev/shm is none beside that of {tmp_path}")
    path = shm / f"damselfly-test-{os.getpid()}"
    path.mkdir()
    yield path
    for file in path.iterdir():
        file.unlink()
    path.rmdir()


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_the_file_appears_and_the_store_goes_on_serving_it(
    tmp_path: Path, store: PieceStore
) -> None:
    target = tmp_path / "out" / "deep" / "file"
    publish(store, target, len(DATA), MD5.upper(), keep_store=True)
    assert target.read_bytes() == DATA
    assert target.samefile(store.path)
    assert store.finished_length == len(DATA)
    assert files(target.parent) == ["file"]


def test_without_a_use_for_the_store_the_file_is_moved(tmp_path: Path, store: PieceStore) -> None:
    target = tmp_path / "file"
    publish(store, target, len(DATA), keep_store=False)
    assert target.read_bytes() == DATA
    assert target.stat().st_nlink == 1
    assert files(store.path.parent) == []


@pytest.mark.parametrize("keep_store", [True, False])
def test_a_file_of_the_same_name_is_replaced(
    tmp_path: Path, store: PieceStore, keep_store: bool
) -> None:
    target, link = tmp_path / "file", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    publish(store, link, len(DATA), keep_store=keep_store)
    assert link.read_bytes() == DATA
    assert not link.is_symlink()
    assert target.read_bytes() == b"old"


def test_publishing_twice_changes_nothing(tmp_path: Path, store: PieceStore) -> None:
    target = tmp_path / "out" / "file"
    publish(store, target, len(DATA), keep_store=True)
    publish(store, target, len(DATA), keep_store=True)
    assert target.read_bytes() == DATA
    assert files(target.parent) == ["file"]


def test_the_mode_is_that_of_any_new_file(tmp_path: Path, elsewhere: Path) -> None:
    before = os.umask(0o026)
    try:
        for target in (tmp_path / "linked", elsewhere / "copied"):
            with downloaded(tmp_path / "data") as store:
                publish(store, target, len(DATA), keep_store=True)
            assert target.stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(before)


@pytest.mark.parametrize("keep_store", [True, False])
def test_a_file_is_copied_to_another_file_system(
    elsewhere: Path, store: PieceStore, keep_store: bool
) -> None:
    target = elsewhere / "file"
    target.write_bytes(b"old")
    publish(store, target, len(DATA), MD5, keep_store=keep_store)
    assert target.read_bytes() == DATA
    assert files(elsewhere) == ["file"]
    assert store.path.exists() is keep_store
    assert sidecar_path(store.path).exists() is keep_store
    if keep_store:
        assert store.finished_length == len(DATA)


def test_a_file_system_without_links_gets_a_copy(
    tmp_path: Path, store: PieceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    publish(store, tmp_path / "file", len(DATA), keep_store=True)
    assert (tmp_path / "file").read_bytes() == DATA
    assert not (tmp_path / "file").samefile(store.path)


@pytest.mark.parametrize(("keep_store", "call"), [(True, "link"), (False, "replace")])
def test_a_disk_that_fails_is_told(
    tmp_path: Path,
    store: PieceStore,
    monkeypatch: pytest.MonkeyPatch,
    keep_store: bool,
    call: str,
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(PublishError, match="file: Input/output error; the data stays in"):
        publish(store, tmp_path / "file", len(DATA), keep_store=keep_store)
    assert files(tmp_path) == ["home"]
    assert files(store.path.parent) == ["data", "data.pieces"]


@pytest.mark.parametrize("keep_store", [True, False])
def test_wrong_content_never_gets_the_name(
    tmp_path: Path, store: PieceStore, keep_store: bool
) -> None:
    target = tmp_path / "out" / "file"
    target.parent.mkdir()
    target.write_bytes(b"old")
    with pytest.raises(PublishError) as caught:
        publish(store, target, len(DATA), "0" * 32, keep_store=keep_store)
    assert f"md5 not match, expected:{'0' * 32} real:{MD5}" in str(caught.value)
    assert caught.value.mismatch
    assert not caught.value.no_space
    assert target.read_bytes() == b"old"
    assert files(target.parent) == ["file"]
    assert store.finished_length is None


def test_a_store_that_something_cut_is_not_filled_with_zeros(
    tmp_path: Path, store: PieceStore
) -> None:
    os.truncate(store.path, 1000)
    with pytest.raises(PublishError, match="has 1000 of 300000 bytes"):
        publish(store, tmp_path / "file", len(DATA), keep_store=True)
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("keep_store", [True, False])
def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, store: PieceStore, keep_store: bool
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        filler = fill(disk)
        os.truncate(filler, DISK_BYTES - len(DATA) // 2)
        target = disk / "file"
        with pytest.raises(PublishError) as caught:
            publish(store, target, len(DATA), MD5, keep_store=keep_store)
        assert caught.value.no_space
        assert f"cannot write {target}: No space left on device" in str(caught.value)
        assert f"the data stays in {store.path}; free some space" in str(caught.value)
        assert files(disk) == ["filler"]
        assert store.finished_length is None
        filler.unlink()
        publish(store, target, len(DATA), MD5, keep_store=keep_store)
        assert target.read_bytes() == DATA


def test_names_that_cannot_be_a_file_are_told_early(tmp_path: Path, store: PieceStore) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path)
    for target, reason in {
        tmp_path: "is a directory: give the name of a file",
        tmp_path / "link": "is a directory: give the name of a file",
        tmp_path / "pipe": "is not an ordinary file",
        tmp_path / "file" / "below": "file is no directory",
        tmp_path / ("n" * 256): "File name too long",
    }.items():
        with pytest.raises(PublishError, match=reason):
            check_target(target)
        with pytest.raises(PublishError, match=reason):
            publish(store, target, len(DATA), keep_store=True)
    assert files(tmp_path) == ["file", "home", "link", "pipe"]
    assert store.finished_length is None


def test_a_directory_that_takes_no_files_is_told_early(tmp_path: Path, store: PieceStore) -> None:
    with small_disk(tmp_path / "disk", "ro") as disk:
        with pytest.raises(PublishError, match=r"cannot write .*/file: .*; nothing was written"):
            check_target(disk / "file")
        with pytest.raises(PublishError, match="choose a place that can be written"):
            publish(store, disk / "file", len(DATA), keep_store=True)


def test_the_longest_name_can_be_published(tmp_path: Path, store: PieceStore) -> None:
    target = tmp_path / ("\u00e9" * 127)
    publish(store, target, len(DATA), keep_store=True)
    assert target.read_bytes() == DATA


def test_a_store_whose_bytes_were_published_is_not_written_by_a_later_run(
    tmp_path: Path, store: PieceStore
) -> None:
    directory = StoreDirectory(store.path.parent)
    (tmp_path / "file").hardlink_to(store.path)
    assert store.is_published
    store.close()
    assert directory.find_partial("key") is None
