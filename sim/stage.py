"""What all nodes of one run share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..engine.ids import TaskId
    from .control import Control
    from .faults import Rot
    from .host import Content
    from .node import Watch
    from .origin import Origin
    from .scenario import Scenario
    from .transfers import Transfers
    from .world import World


@dataclass(frozen=True, slots=True)
class Stage:
    """The world and what moves in it.

    ``contents`` are the files by task, in the order of their numbers.  ``paranoid``: nodes check
    their engine after every call.
    """

    scenario: Scenario
    world: World
    control: Control
    transfers: Transfers
    origin: Origin
    contents: Mapping[TaskId, Content]
    rot: Rot
    watch: Watch
    paranoid: bool
