from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ..origin_server import OriginServer
from .dfget_support import DATA

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def origin() -> Iterator[OriginServer]:
    """An origin that has ``DATA`` at ``/f``."""
    with OriginServer() as server:
        server.put("/f", DATA)
        yield server
