"""A registry's challenge, and who gets to see which credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from damselfly.net.rest.challenge import Challenge, parse_challenge
from damselfly.net.rest.registry import Answer, ImageSession, RegistryClient

from .registry_server import schema2

if TYPE_CHECKING:
    from collections.abc import Mapping

REALM = "https://auth.example/token"
FULL = Challenge(REALM, "reg,1", "repository:a/b:pull,push")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((f'Bearer realm="{REALM}",service="reg,1",scope="repository:a/b:pull,push"',), FULL),
        ((f'bearer scope="repository:a/b:pull,push", service="reg,1", realm="{REALM}"',), FULL),
        ((f'Basic realm="x", Bearer realm="{REALM}"',), Challenge(REALM, "", "")),
        (('Basic realm="x"', f"Bearer realm={REALM},service=s"), Challenge(REALM, "s", "")),
        ((f'Bearer realm="{REALM}",service="a\\"b"',), Challenge(REALM, 'a"b', "")),
        ((f'Bearer realm="{REALM}",realm="http://evil/"',), Challenge(REALM, "", "")),
        ((), None),
        (("Basic realm=x",), None),
        (("Bearer",), None),
        (("Bearer service=x",), None),
        (('Bearer realm="file:///etc/passwd"',), None),
        (('Bearer realm="',), None),
    ],
)
def test_challenges(values: tuple[str, ...], expected: Challenge | None) -> None:
    assert parse_challenge(values) == expected


class Scripted(RegistryClient):
    """Answers 401 with a challenge, then gives a token, then the manifest; no network has this."""

    def __init__(self, realm: str) -> None:
        super().__init__()
        self._realm = realm
        self.seen: list[tuple[str, dict[str, str]]] = []

    async def get(self, url: str, headers: Mapping[str, str], limit: int) -> Answer:
        self.seen.append((url, dict(headers)))
        if url.startswith(self._realm):
            return Answer(200, (), b'{"access_token": "t"}')
        if headers.get("Authorization") == "Bearer t":
            return Answer(200, (), schema2(b"layer"))
        return Answer(401, (f'Bearer realm="{self._realm}"',), b"")


@pytest.mark.parametrize(
    ("url", "realm", "goes_along"),
    [
        ("https://reg/v2/a/manifests/b", "https://auth/token", True),
        ("http://reg/v2/a/manifests/b", "http://auth/token", True),
        ("https://reg/v2/a/manifests/b", "http://auth/token", False),
    ],
)
async def test_basic_credentials_do_not_leave_https(url: str, realm: str, goes_along: bool) -> None:
    client = Scripted(realm)
    session = ImageSession(client, {"authorization": "Basic abc", "X-A": "b"})
    assert len((await session.manifest(url)).layers) == 1
    asked = [headers for seen, headers in client.seen if seen.startswith(realm)]
    assert asked == [{"authorization": "Basic abc"} if goes_along else {}]
    assert await session.credentials(url) == {"X-A": "b", "Authorization": "Bearer t"}
    assert len(client.seen) == 3, "the token is kept"


async def test_a_bearer_of_the_caller_is_not_shown_to_those_who_give_tokens() -> None:
    client = Scripted("https://auth/token")
    session = ImageSession(client, {"Authorization": "Bearer mine"})
    await session.manifest("https://reg/v2/a/manifests/b")
    assert client.seen[1] == ("https://auth/token?", {})
