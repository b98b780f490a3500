"""An image registry on loopback: manifests, blobs, and tokens if it wants them."""

from __future__ import annotations

import hashlib
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import trio

from damselfly.net.http import HttpRequest, HttpResponse, open_listeners, serve_http

from .http_support import port_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

IMAGE = "library/app"
SCOPE = f"repository:{IMAGE}:pull"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def schema2(*layers: bytes, **changes: object) -> bytes:
    """Return a manifest of Docker's schema 2; OCI's differs by its media type."""
    found = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {"digest": digest_of(b"config")},
        "layers": [{"digest": digest_of(layer), "size": len(layer)} for layer in layers],
        **changes,
    }
    return json.dumps(found).encode()


def schema1(*layers: bytes) -> bytes:
    found = {"schemaVersion": 1, "fsLayers": [{"blobSum": digest_of(layer)} for layer in layers]}
    return json.dumps(found).encode()


def index(*manifests: bytes) -> bytes:
    found = {
        "schemaVersion": 2,
        "manifests": [{"digest": digest_of(body), "size": len(body)} for body in manifests],
    }
    return json.dumps(found).encode()


@dataclass(slots=True)
class Registry:
    """What it holds by path, and who asked for what.

    With ``wants_token`` it answers 401 without a token that it gave; ``wants_basic`` is the
    Authorization without which it gives none.
    """

    port: int = 0
    wants_token: bool = False
    wants_basic: str = ""
    token_answer: bytes | None = None
    pages: dict[str, bytes] = field(default_factory=dict[str, bytes])
    seen: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    tokens: int = 0

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def push(self, reference: str, manifest: bytes) -> str:
        """Hold a manifest under its digest and a name; return its URL."""
        for name in (reference, digest_of(manifest)):
            self.pages[f"/v2/{IMAGE}/manifests/{name}"] = manifest
        return f"{self.base}/v2/{IMAGE}/manifests/{reference}"

    def hold(self, *layers: bytes) -> None:
        for layer in layers:
            self.pages[f"/v2/{IMAGE}/blobs/{digest_of(layer)}"] = layer

    def blob_url(self, layer: bytes) -> str:
        return f"{self.base}/v2/{IMAGE}/blobs/{digest_of(layer)}"

    def asked(self, path: str) -> int:
        return sum(1 for seen, _ in self.seen if seen == path)

    async def serve(self, request: HttpRequest) -> HttpResponse:
        path, _, query = request.target.partition("?")
        authorization = request.header("authorization") or ""
        self.seen.append((path, authorization))
        if path == "/token":
            return self._token(parse_qs(query), authorization)
        if self.wants_token and authorization != f"Bearer token-{self.tokens}":
            challenge = f'Bearer realm="{self.base}/token",service="reg,1",scope="{SCOPE}"'
            return HttpResponse(401, (b"who?",), headers=(("WWW-Authenticate", challenge),))
        page = self.pages.get(path)
        if page is None:
            return HttpResponse(404, (b"no such\r\n  page",))
        return HttpResponse(200, (page,), headers=(("ETag", f'"{digest_of(page)}"'),))

    def _token(self, query: dict[str, list[str]], authorization: str) -> HttpResponse:
        assert query == {"service": ["reg,1"], "scope": [SCOPE]}
        if self.wants_basic and authorization != self.wants_basic:
            return HttpResponse(401)
        self.tokens += 1
        made = json.dumps({"token": f"token-{self.tokens}", "expires_in": 300}).encode()
        return HttpResponse(200, (self.token_answer or made,), "application/json")


@asynccontextmanager
async def registry(**settings: object) -> AsyncGenerator[Registry]:
    async with trio.open_nursery() as nursery:
        listeners = await open_listeners("127.0.0.1", 0)
        made = Registry(port_of(listeners[0]), **settings)  # pyright: ignore[reportArgumentType]
        await nursery.start(serve_http, made.serve, listeners)
        yield made
        nursery.cancel_scope.cancel()
