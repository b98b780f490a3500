from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .daemon import Supernode

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def supernode(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supernode]:
    """A supernode for all tests; their origins differ, so they do not meet there."""
    with Supernode(tmp_path_factory.mktemp("supernode")) as running:
        yield running
