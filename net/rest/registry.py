"""Manifests from image registries, and the right to read the blobs behind them.

A registry that answers 401 is asked again with a token from where its challenge says.  Basic
credentials among the caller's headers go along to get it, but never from https to plain http.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlencode

import msgspec
import trio

from ...engine.errors import DamselflyError, RemoteProtocolError
from ...engine.records import dataclass
from ...engine.wire.fields import MAX_TEXT
from ..origin import body_of, shown_url
from ..origin_clients import OriginClients
from ..origin_head import status_line
from .challenge import parse_challenge
from .manifest import MEDIA_TYPES, Manifest, parse_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

    from .challenge import Challenge

_MAX_MANIFEST_BYTES: Final = 4 << 20
_MAX_TOKEN_BYTES: Final = 64 << 10
_MAX_TOKEN_CHARS: Final = MAX_TEXT // 2
_CONNECT_S: Final = 10.0
_STALL_S: Final = 30.0
_PROGRESS_BYTES: Final = 1 << 10
_TOKEN_S: Final = 60.0
"""How long a token is good for if its answer does not say."""
_SHOWN: Final = 200
_AUTHORIZATION: Final = "authorization"


class RegistryError(DamselflyError):
    """A registry did not give what was asked for; the text names URL and cause, no secrets."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, ``WWW-Authenticate`` values and body."""

    status: int
    challenges: tuple[str, ...]
    body: bytes


class _Token(msgspec.Struct, frozen=True):
    token: str = ""
    access_token: str = ""
    expires_in: float = _TOKEN_S


class RegistryClient:
    """Reads small answers over kept-alive connections; an async context manager."""

    def __init__(self) -> None:
        self._clients = OriginClients(connect_timeout_s=_CONNECT_S, stall_timeout_s=_STALL_S)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._clients.aclose()

    async def get(self, url: str, headers: Mapping[str, str], limit: int) -> Answer:
        """Return an answer of at most ``limit`` bytes; raises ``RegistryError``."""
        import httpx

        found = [(name.encode(), value.encode()) for name, value in headers.items()]
        async with self._clients.use(insecure=False, root_cas=()) as client:
            with trio.move_on_after(_STALL_S) as patience:
                try:
                    request = client.build_request("GET", url, headers=found)
                    response = await client.send(request, stream=True, follow_redirects=True)
                    body = await _read(response, limit, patience)
                except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
                    cause = str(error) or type(error).__name__
                    raise RegistryError(f"GET {shown_url(url)} failed: {cause}") from None
                challenges = response.headers.get_list("www-authenticate")
                return Answer(response.status_code, tuple(challenges), body)
        raise RegistryError(f"GET {shown_url(url)} stalled: no progress for {_STALL_S:g} s")


class ImageSession:
    """The reading of one image, with the ``headers`` that its caller gave."""

    def __init__(self, client: RegistryClient, headers: Mapping[str, str]) -> None:
        self._client = client
        self._headers = {name: value for name, value in headers.items() if value}
        self._challenge: Challenge | None = None
        self._token, self._token_ends_at = "", 0.0
        self._asking = trio.Lock()

    async def manifest(self, url: str) -> Manifest:
        """Return the manifest at ``url``; raises ``RegistryError``."""
        headers = {"Accept": ", ".join(MEDIA_TYPES), "Accept-Encoding": "identity"}
        answer = await self._get(url, headers)
        if answer.status == 401 and (challenge := parse_challenge(answer.challenges)) is not None:
            self._challenge, self._token_ends_at = challenge, 0.0
            answer = await self._get(url, headers)
        if answer.status // 100 != 2:
            text = answer.body[:_SHOWN].decode(errors="replace")
            said = " ".join("".join(c if c.isprintable() else " " for c in text).split())
            raise RegistryError(
                f"GET {shown_url(url)} answered {status_line(answer.status)}: {said}"
            )
        try:
            return parse_manifest(answer.body)
        except RemoteProtocolError as error:
            raise RegistryError(f"GET {shown_url(url)}: {error}") from None

    async def credentials(self, url: str) -> dict[str, str]:
        """Return the headers with which a part of the image at ``url`` may be read now."""
        if self._challenge is None:
            return self._headers
        async with self._asking:
            if trio.current_time() >= self._token_ends_at:
                await self._ask_token(self._challenge, url)
        kept = {
            name: value for name, value in self._headers.items() if name.lower() != _AUTHORIZATION
        }
        return {**kept, "Authorization": f"Bearer {self._token}"}

    async def _get(self, url: str, headers: Mapping[str, str]) -> Answer:
        theirs = await self.credentials(url)
        known = {name.lower() for name in theirs}
        ours = {name: value for name, value in headers.items() if name.lower() not in known}
        return await self._client.get(url, {**ours, **theirs}, _MAX_MANIFEST_BYTES)

    async def _ask_token(self, challenge: Challenge, url: str) -> None:
        query = {"service": challenge.service, "scope": challenge.scope}
        mark = "&" if "?" in challenge.realm else "?"
        text = urlencode({name: value for name, value in query.items() if value})
        realm = f"{challenge.realm}{mark}{text}"
        answer = await self._client.get(realm, self._basic(realm, url), _MAX_TOKEN_BYTES)
        if answer.status // 100 != 2:
            where = shown_url(challenge.realm)
            raise RegistryError(f"GET {where} for a token answered {status_line(answer.status)}")
        self._token, lasts_s = _token_of(answer.body, shown_url(challenge.realm))
        self._token_ends_at = trio.current_time() + lasts_s / 2

    def _basic(self, realm: str, url: str) -> dict[str, str]:
        if url.lower().startswith("https:") and not realm.lower().startswith("https:"):
            return {}
        return {
            name: value
            for name, value in self._headers.items()
            if name.lower() == _AUTHORIZATION and value.lower().startswith("basic ")
        }


def _token_of(body: bytes, where: str) -> tuple[str, float]:
    """Return a token and for how many seconds it is good."""
    try:
        found = msgspec.json.decode(body, type=_Token)
    except (ValueError, RecursionError):
        raise RegistryError(f"GET {where} answered no JSON with a token") from None
    token = found.token or found.access_token
    if not token or not token.isascii() or not token.isprintable() or len(token) > _MAX_TOKEN_CHARS:
        raise RegistryError(f"GET {where} answered without a usable token")
    return token, found.expires_in if found.expires_in > 0 else _TOKEN_S


async def _read(response: httpx.Response, limit: int, patience: trio.CancelScope) -> bytes:
    body, fresh = bytearray(), 0
    async with body_of(response) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > limit:
                where = shown_url(str(response.url))
                raise RegistryError(f"GET {where} answered with more than {limit} bytes")
            fresh += len(chunk)
            if fresh >= _PROGRESS_BYTES:
                patience.deadline, fresh = trio.current_time() + _STALL_S, 0
    return bytes(body)
