"""All routes of a supernode's control port, in the order in which 1.0.6 lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .exposition import Exposition
from .peers import PeerCalls
from .pieces import PieceCalls
from .preheat_calls import PreheatCalls
from .routes import Category, Router
from .system import SystemCalls
from .tasks import TaskCalls

if TYPE_CHECKING:
    from collections.abc import Callable

    from .exposition import Sources
    from .metrics import Metrics
    from .node import Node
    from .preheats import Preheats
    from .routes import Route


class RestApi:
    """The REST API of one supernode.

    ``stats`` is the body of ``/damselfly/stats``; ``profiles``: ``/debug/pprof`` is there.
    """

    def __init__(
        self,
        node: Node,
        preheats: Preheats,
        metrics: Metrics,
        sources: Sources,
        stats: Callable[[], bytes],
        *,
        profiles: bool = False,
    ) -> None:
        self.node, self.metrics = node, metrics
        self._peers, self._tasks, self._pieces = PeerCalls(node), TaskCalls(node), PieceCalls(node)
        self._preheats = PreheatCalls(preheats)
        self._has_profiles = profiles
        self._system = SystemCalls(Exposition(metrics, sources), sources.version, stats)

    def router(self, legacy: tuple[Route, ...], native: tuple[Route, ...]) -> Router:
        """Return what finds every call, those of the ``legacy`` API and our own included."""
        *calls, report = legacy
        system, preheats, pieces = self._system, self._preheats, self._pieces
        show, drop, *documented = self._tasks.routes
        unprefixed = (
            *calls,
            *system.stubs,
            *preheats.routes,
            *system.routes,
            report,
            *self._peers.routes,  # 0.4.0 has them here
            *system.own,
            *native,
        )
        v1 = (
            *self._peers.routes,
            show,
            *system.stubs,
            drop,
            *pieces.recorded,
            *preheats.routes,
            *documented,
            *pieces.routes,
        )
        categories = [
            Category("legacy api", "", unprefixed),
            Category("v1 api", "/api/v1", v1),
            Category("extension api", "/api/ext", ()),
        ]
        if self._has_profiles:
            from .profiles import ProfileCalls

            categories.append(Category("profiler", "/debug/pprof", ProfileCalls().routes))
        return Router(categories, self.metrics.stats_of)
