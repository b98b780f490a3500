"""The origin of the recordings, as far as it can be told from them.

It answers as a proxy, too: with ``http_proxy`` naming it, every URL of a recording may stay as it
is, ``http://127.0.0.1:9000/...``, and with the URL the ids that are made of it.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Final

from .web import Reply, ScriptedServer, Seen

if TYPE_CHECKING:
    from collections.abc import Generator

    from .recorded import Headers

LENGTH: Final = 9_000_000
DATE: Final = "Wed, 21 Oct 2015 07:28:00 GMT"
_ERRORS: Final = {"e401": 401, "e403": 403, "e404": 404, "e407": 407, "e500": 500}


@cache
def _whole() -> bytes:
    digests = [hashlib.sha256(str(i).encode()).digest() for i in range(LENGTH // 32)]
    return b"".join(digests)


def content(length: int) -> bytes:
    """Return the first bytes of what all recorded files begin with."""
    return _whole()[:length]


class Origin:
    """``/<kind>/<length>`` by kind: f, nolen, nolm (no validators), norange, redir, e404 ..."""

    def __init__(self) -> None:
        self._let_go = threading.Event()
        self._server = ScriptedServer(self._answer)

    @property
    def paths(self) -> list[str]:
        """What was asked for so far."""
        return [_path(seen) for seen in self._server.seen]

    @contextmanager
    def running(self) -> Generator[None]:
        """Serve, and be the proxy of this process."""
        names = ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY")
        before = {name: os.environ.pop(name, None) for name in names}
        os.environ["http_proxy"] = f"http://127.0.0.1:{self._server.port}"
        try:
            with self._server:
                try:
                    yield
                finally:
                    self._let_go.set()
        finally:
            del os.environ["http_proxy"]
            os.environ |= {name: value for name, value in before.items() if value is not None}

    def _answer(self, seen: Seen) -> Reply:
        found = re.fullmatch(r"/(\w+)/(\d+)", _path(seen))
        if found is None:
            return Reply(404, b"nope", (("Content-Type", "text/plain"),))
        kind, length = found[1], int(found[2])
        data = content(length)
        validators = (("ETag", f'"e{length}"'), ("Last-Modified", DATE))
        match kind:
            case "f" | "tok":
                return _file(seen, data, validators)
            case "nolm":
                return _file(seen, data, ())
            case "norange" | "chg":
                return Reply(200, data, validators)
            case "nolen":
                return Reply(200, data, (("Connection", "close"),), has_length=False)
            case "drop":
                return Reply(200, data, cut_at=length // 2)
            case "slow":
                return Reply(200, data, after=self._let_go)
            case "redir":
                return Reply(302, b"", (("Location", f"http://127.0.0.1:9000/f/{length}"),))
            case _:
                return Reply(_ERRORS.get(kind, 404), b"an error page")


def _path(seen: Seen) -> str:
    return re.sub(r"^http://[^/]+", "", seen.request.target).partition("?")[0]


def _file(seen: Seen, data: bytes, validators: Headers) -> Reply:
    asked = {name.lower(): value for name, value in seen.request.headers}
    etag = dict(validators).get("ETag", "")
    if etag and asked.get("if-none-match") == etag:
        return Reply(304, b"", validators)
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.get("range", ""))
    if found is None or asked.get("if-range", etag) != etag:
        return Reply(200, data, (*validators, ("Accept-Ranges", "bytes")))
    first, end = int(found[1]), min(int(found[2] or len(data)) + 1, len(data))
    if first >= end:
        return Reply(416, b"", (("Content-Range", f"bytes */{len(data)}"),))
    where = ("Content-Range", f"bytes {first}-{end - 1}/{len(data)}")
    return Reply(206, data[first:end], (*validators, where))
