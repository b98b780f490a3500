"""Preheats: files and images that the supernode reads before anybody asks for them.

A file is read into the supernode's own copy under the id that a later download of it has, so that
download costs the origin nothing.  An image is its layers, each a file preheat of its own; it
succeeds when all of them do.  Records live in memory.
"""

from __future__ import annotations

import logging
from dataclasses import field
from enum import Enum
from functools import partial
from time import time
from typing import TYPE_CHECKING, Final

import trio
from msgspec.structs import replace

from ...engine.ids import NO_PEER, TaskId, range_of, task_id, task_url
from ...engine.messages import Refused, Register, WarmTask
from ...engine.records import dataclass
from ...engine.redact import Redactor
from .bodies import header_lines
from .manifest import MAX_ITEMS, ManifestError, repository_of
from .registry import ImageSession, RegistryClient, RegistryError
from .replies import RestError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from typing import TypeAlias

    from .bodies import PreheatCreate
    from .node import Ask

    Headers: TypeAlias = Callable[[], Awaitable[Mapping[str, str]]]

_log = logging.getLogger(__name__)
_CALL_SYSTEM: Final = "dragonfly_preheat"
_FILES_AT_ONCE: Final = 16
_IMAGES_AT_ONCE: Final = 16
_MAX_UNFINISHED: Final = 256
_MAX_RECORDS: Final = 16384
_KEPT_MS: Final = 24 * 3600 * 1000
_MAX_DEPTH: Final = 3
_MAX_MANIFESTS: Final = 64
_SHOWN_LAYERS: Final = 10


class PreheatStatus(Enum):
    """Where a preheat stands."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    FAILED = "FAILED"
    SUCCESS = "SUCCESS"


@dataclass(slots=True, eq=False)
class Preheat:
    """One preheat as others may see it: ``url`` and ``headers`` hold no secrets.

    Times are milliseconds since 1970, 0 for not yet.
    """

    id: TaskId
    kind: str
    url: str
    filter: str
    identifier: str
    headers: dict[str, str]
    parent: str
    started_ms: int
    children: list[TaskId] = field(default_factory=list["TaskId"])
    status: PreheatStatus = PreheatStatus.WAITING
    finished_ms: int = 0
    error: str = ""
    ended: trio.Event = field(default_factory=trio.Event)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class Preheats:
    """All preheats of one supernode; they run in ``nursery`` and read by ``ask``."""

    def __init__(self, ask: Ask, client: RegistryClient, nursery: trio.Nursery) -> None:
        self._ask, self._client, self._nursery = ask, client, nursery
        self._records: dict[TaskId, Preheat] = {}
        self._files = trio.CapacityLimiter(_FILES_AT_ONCE)
        self._images = trio.CapacityLimiter(_IMAGES_AT_ONCE)

    def __iter__(self) -> Iterator[Preheat]:
        return iter(self._records.values())

    def get(self, name: str) -> Preheat | None:
        """Return a preheat by its id."""
        return self._records.get(TaskId(name))

    def create(self, asked: PreheatCreate) -> Preheat:
        """Begin a preheat.

        Raises ``RestError``: 208 if there is one of that id, even one that failed, 503 if too many
        are under way, 400 if the URL is no image's.
        """
        url = task_url(asked.url, tuple(asked.filter.split("&")) if asked.filter else ())
        byte_range = range_of(header_lines(asked.headers))
        name = task_id(url, identifier=asked.identifier, byte_range=byte_range)
        if name in self._records:
            raise RestError(208, f"preheat task already exists, id:{name}")
        self._make_room()
        if asked.type == "image":
            try:
                repository_of(asked.url)
            except ManifestError as error:
                raise RestError(400, f"url in body: {error}") from None
        preheat = self._add(name, asked.type, asked.url, asked.headers)
        preheat.filter, preheat.identifier = asked.filter, asked.identifier
        if asked.type == "image":
            work = partial(self._read_image, preheat, asked.url, asked.headers)
        else:
            wanted = _wanted(asked.url, url, asked.identifier)
            work = partial(self._read_file, preheat, wanted, partial(_at_once, asked.headers))
        self._nursery.start_soon(self._run, preheat, work)
        return preheat

    def delete(self, name: str) -> None:
        """Forget a preheat and stop waiting for it; what it has read stays."""
        preheat = self._records.pop(TaskId(name), None)
        if preheat is None:
            return
        preheat.scope.cancel()
        shared = {child for other in self for child in other.children}
        for child in preheat.children:
            found = self._records.get(child)
            if found is not None and found.parent == preheat.id and child not in shared:
                self.delete(child)

    # --- the work ---

    async def _run(self, preheat: Preheat, work: Callable[[], Awaitable[str]]) -> None:
        """Do the work, which returns what went wrong, and note the outcome."""
        error = "deleted before it was done"
        try:
            with preheat.scope:
                error = await work()
        except Exception:
            _log.exception("preheat %s failed", preheat.id)
            error = "internal error"
        finally:
            preheat.status = PreheatStatus.FAILED if error else PreheatStatus.SUCCESS
            preheat.error, preheat.finished_ms = error, _now_ms()
            preheat.ended.set()

    async def _read_file(self, preheat: Preheat, wanted: Register, headers: Headers) -> str:
        async with self._files:
            preheat.status = PreheatStatus.RUNNING
            try:
                lines = header_lines(await headers())
            except RegistryError as error:
                return str(error)
            reply = await self._ask(WarmTask(replace(wanted, headers=lines)))
        return reply.message if isinstance(reply, Refused) else ""

    async def _read_image(self, preheat: Preheat, url: str, headers: Mapping[str, str]) -> str:
        session = ImageSession(self._client, headers)
        async with self._images:
            preheat.status = PreheatStatus.RUNNING
            try:
                layers = await _layers_of(session, url)
            except RegistryError as error:
                return str(error)
        children = [self._layer(preheat, layer, session) for layer in layers]
        preheat.children = [child.id for child in children]
        for child in children:
            await child.ended.wait()
        failed = [f"{c.url}: {c.error}" for c in children if c.status is PreheatStatus.FAILED]
        more = len(failed) - _SHOWN_LAYERS
        return "; ".join(failed[:_SHOWN_LAYERS]) + (f"; and {more} more" if more > 0 else "")

    def _layer(self, image: Preheat, url: str, session: ImageSession) -> Preheat:
        """Return the preheat of a layer: one that exists, unless it failed, or a new one."""
        name = task_id(url)
        known = self._records.get(name)
        if known is not None and known.status is not PreheatStatus.FAILED:
            return known
        self._records.pop(name, None)
        preheat = self._add(name, "file", url, {})
        preheat.parent, preheat.headers = image.id, image.headers
        headers = partial(session.credentials, url)
        work = partial(self._read_file, preheat, _wanted(url, url, ""), headers)
        self._nursery.start_soon(self._run, preheat, work)
        return preheat

    # --- inside ---

    def _add(self, name: TaskId, kind: str, url: str, headers: Mapping[str, str]) -> Preheat:
        redactor = Redactor()
        lines = {
            key: redactor.header_line(f"{key}:{value}").partition(":")[2]
            for key, value in headers.items()
        }
        preheat = Preheat(name, kind, redactor.text(url), "", "", lines, "", _now_ms())
        self._records[name] = preheat
        return preheat

    def _make_room(self) -> None:
        """Forget what ended long ago, or first if there are too many."""
        oldest_ms = _now_ms() - _KEPT_MS
        unfinished = 0
        for preheat in list(self):
            if not preheat.finished_ms:
                unfinished += not preheat.parent
            elif preheat.finished_ms < oldest_ms or len(self._records) >= _MAX_RECORDS:
                del self._records[preheat.id]
        if unfinished >= _MAX_UNFINISHED:
            raise RestError(503, f"{unfinished} preheats are under way: wait, or delete some")


async def _layers_of(session: ImageSession, url: str) -> tuple[str, ...]:
    """Return the URLs of all layers of an image, those of every platform."""
    repository = repository_of(url)
    layers: dict[str, None] = {}
    seen = {url: None}
    level = [url]
    for _ in range(_MAX_DEPTH):
        below: list[str] = []
        for at in level:
            manifest = await session.manifest(at)
            layers |= {repository.blob(digest): None for digest in manifest.layers}
            for digest in manifest.manifests:
                if (inner := repository.manifest(digest)) not in seen:
                    seen[inner] = None
                    below.append(inner)
            if len(layers) > MAX_ITEMS or len(seen) > _MAX_MANIFESTS:
                raise RegistryError(
                    f"the image has more than {_MAX_MANIFESTS} manifests or {MAX_ITEMS} layers"
                )
        level = below
    if level:
        raise RegistryError(f"the image nests its manifests more than {_MAX_DEPTH} deep")
    return tuple(layers)


def _wanted(url: str, filtered: str, identifier: str) -> Register:
    return Register(
        raw_url=url,
        task_url=filtered,
        peer=NO_PEER,
        ip="",
        host_name="",
        port=0,
        path="",
        identifier=identifier,
        call_system=_CALL_SYSTEM,
    )


async def _at_once(headers: Mapping[str, str]) -> Mapping[str, str]:
    return headers


def _now_ms() -> int:
    return int(time() * 1000)
