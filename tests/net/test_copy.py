"""A copy's files: who closes them, and when."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from damselfly.net.copy import Copy
from damselfly.net.store import PieceStore

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_the_last_file_of_a_deleted_copy_is_closed_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_deleted: bool
) -> None:
    closers: list[int] = []
    has_closed = threading.Event()
    close = PieceStore.close

    def noting(store: PieceStore) -> None:
        close(store)
        closers.append(threading.get_ident())
        has_closed.set()

    monkeypatch.setattr(PieceStore, "close", noting)
    copy = Copy.create(tmp_path / "copy", "key")
    copy.store.lay_out(10, 15, "", keep=False)
    copy.take()
    if is_deleted:
        copy.unlink()
    copy.let_go()
    assert not closers
    copy.release()
    assert has_closed.wait(5)
    assert copy.is_closed
    assert (closers[0] == threading.get_ident()) is not is_deleted
