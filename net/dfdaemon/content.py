"""What a client of the daemon asks for through the swarm, and what it is given.

``Contents`` (``contents``) makes a ``Content`` of a ``ContentRequest``.  The body is read with::

    async with await contents.open(request) as content:
        async for part in content.read(first, last):
            ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from ...engine.errors import DamselflyError
from ...engine.records import dataclass

if TYPE_CHECKING:
    from ..request import Progress
    from .blob import Blob, Reading

FROM_SWARM: Final = "p2p"
FROM_ORIGIN: Final = "direct"
FROM_CACHE: Final = "cache"


class OriginAnswered(DamselflyError):
    """The origin itself refuses; its answer is to be passed on as it is.

    ``headers`` are the origin's own, without those that framed its connection.  ``body`` may be
    encoded as they say.
    """

    def __init__(
        self, status: int, reason: str, headers: tuple[tuple[str, str], ...], body: bytes
    ) -> None:
        super().__init__(f"the origin answered {status} {reason}".rstrip())
        self.status, self.reason, self.headers, self.body = status, reason, headers, body


class Unreachable(DamselflyError):
    """Nobody can be asked, not even the origin directly; the message says why."""


class Unsuitable(DamselflyError):
    """The origin's answer is no content to share, or there is no room for it: pass it through."""


class ContentFailed(DamselflyError):
    """The rest of a body cannot be had: the client's connection must be cut, never ended well."""


@dataclass(frozen=True, slots=True)
class ContentRequest:
    """One GET that may go through the swarm.

    ``url`` is absolute and already rewritten.  ``headers`` are what the origin shall see: the
    client's without those of one hop, without Range and conditions.  ``digest`` is the one in a
    blob's path (``sha256:<hex>``, ``sha512:<hex>``), empty if there is none.  ``root_cas`` are PEM
    certificates in base64, trusted for this upstream beside the usual ones.  ``strict``: never
    read the origin from this host.
    """

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    digest: str = ""
    insecure: bool = False
    root_cas: tuple[str, ...] = ()
    strict: bool = False

    def header(self, name: str) -> str:
        """Return the first value of the header ``name`` (lower case), empty without one."""
        return next((value for key, value in self.headers if key.lower() == name), "")


class Content:
    """One client's view of a download that others may share; a context manager that lets go.

    ``headers`` are the origin's own: ETag, Content-Type, Docker-Content-Digest and so on, without
    those that frame a message.  ``length`` is ``None`` while nobody knows it.
    """

    status: Final = 200

    def __init__(self, blob: Blob) -> None:
        self._blob = blob
        self._was_complete = blob.is_complete
        blob.join()
        self._is_open = True

    @property
    def length(self) -> int | None:
        """Bytes in all."""
        return self._blob.length

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """What the origin said of the content."""
        return self._blob.headers

    @property
    def task(self) -> str:
        """The task's id in the swarm."""
        return self._blob.task

    @property
    def source(self) -> str:
        """Where it comes from: ``p2p``, ``direct`` or ``cache``; final once the body has ended."""
        if self._was_complete:
            return FROM_CACHE
        return FROM_SWARM if self._blob.is_of_swarm else FROM_ORIGIN

    @property
    def progress(self) -> Progress:
        """Whence the bytes of the download came so far; clients that share it see the same."""
        return self._blob.progress

    def read(self, first: int = 0, last: int | None = None) -> Reading:
        """Iterate over bytes ``first`` to ``last`` (``None``: the end) in order, as they come.

        The parts are ``bytes`` or ``FileSlice``s; a slice is good until ``aclose``.  Only verified
        pieces come, and the last one only once the whole is verified.  Raises ``ContentFailed``.
        """
        assert self._is_open, "a content that was closed is read no more"
        return self._blob.read(first, last)

    async def aclose(self) -> None:
        """Let go of the download; harmless when repeated."""
        self.close()

    def close(self) -> None:
        """As ``aclose``, which never waits."""
        if self._is_open:
            self._is_open = False
            self._blob.leave()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
