"""Which call is which: paths with and without prefixes and versions, as 1.0.6 routes them.

A path is known under the prefix of its category, and the same behind ``/v<digits and dots>``.  A
path nobody knows is a 404 in plain text, a known one with another method an empty 405.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias
from urllib.parse import unquote

from ...engine.records import dataclass
from ...engine.wire.fields import query_values
from ...engine.wire.v1_paths import unversioned
from .replies import empty_reply, json_reply, text_reply

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..http import HttpRequest, HttpResponse, Pending
    from .metrics import CallStats

_NAME: Final = re.compile(r"\{(\w+)\}")
_NO_SNIFF: Final = (("X-Content-Type-Options", "nosniff"),)


class Call(NamedTuple):
    """One request and the names that its path had for the ``{braces}`` of its route."""

    request: HttpRequest
    names: Mapping[str, str]

    @property
    def query(self) -> dict[str, str]:
        """The first value of each query parameter."""
        return query_values(self.request.target.partition("?")[2])


Handler: TypeAlias = Callable[[Call], Awaitable["HttpResponse"]]


class Prompt(NamedTuple):
    """A handler that never waits: it returns an answer, or gives it to a callable later."""

    answer: Callable[[Call, Callable[[HttpResponse], None]], HttpResponse | Pending]


class Route(NamedTuple):
    """One method of one path, which may have ``{names}``; the prefix is its category's."""

    method: str
    path: str
    handler: Handler | Prompt


@dataclass(frozen=True, slots=True)
class Category:
    """Routes under a common prefix; its root lists them."""

    title: str
    prefix: str
    routes: tuple[Route, ...]

    def listing(self) -> dict[str, object]:
        """Return what a GET of the root answers."""
        api = [{"method": "GET", "path": "/"}]
        api += [{"method": route.method, "path": route.path} for route in self.routes]
        return {"api": api, "category": self.title, "prefix": self.prefix}


@dataclass(slots=True)
class Endpoint:
    """All methods of one path; ``stats`` count under the path as it is written in the route."""

    stats: CallStats
    methods: dict[str, Handler | Prompt] = field(default_factory=dict[str, "Handler | Prompt"])


class Router:
    """Finds the endpoint of a path.

    ``stats`` is asked for once per path.
    """

    def __init__(self, categories: Iterable[Category], stats: Callable[[str], CallStats]) -> None:
        self._plain: dict[str, Endpoint] = {}
        self._named: list[tuple[re.Pattern[str], Endpoint]] = []
        by_path: dict[str, Endpoint] = {}
        for category in categories:
            for method, path, handler in (_root(category), *category.routes):
                full = category.prefix + path
                if full not in by_path:
                    by_path[full] = Endpoint(stats(full))
                    self._place(full, by_path[full])
                by_path[full].methods[method] = handler

    def find(self, path: str) -> tuple[Endpoint, Mapping[str, str]] | None:
        """Return the endpoint of ``path``, without its query, and the names in it."""
        if (endpoint := self._plain.get(path)) is not None:
            return endpoint, _NO_NAMES
        bare = unversioned(path)
        if (endpoint := self._plain.get(bare)) is not None:
            return endpoint, _NO_NAMES
        for pattern, endpoint in self._named:
            if (found := pattern.fullmatch(bare)) is not None:
                return endpoint, {key: unquote(value) for key, value in found.groupdict().items()}
        return None

    def _place(self, path: str, endpoint: Endpoint) -> None:
        if "{" not in path:
            self._plain[path] = endpoint
            return
        pattern = _NAME.sub(r"(?P<\1>[^/]+)", path)
        self._named.append((re.compile(pattern), endpoint))


_NO_NAMES: Final[Mapping[str, str]] = {}


def not_found() -> HttpResponse:
    """Return the answer to a path that is no route."""
    return text_reply("404 page not found\n", 404, _NO_SNIFF)


def wrong_method() -> HttpResponse:
    """Return the answer to a method that a path does not have."""
    return empty_reply(405)


def _root(category: Category) -> Route:
    listing = category.listing()

    async def answer(_: Call) -> HttpResponse:
        return json_reply(listing)

    return Route("GET", "/", answer)
