"""Preheats of images: manifests of every kind, tokens, layers that fail."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from damselfly.engine.ids import task_id

from .registry_server import IMAGE, Registry, digest_of, index, registry, schema1, schema2
from .rest_support import Caller, calling
from .swarm_support import get, request

if TYPE_CHECKING:
    from pathlib import Path

LAYERS = [random.Random(number).randbytes(400_000 + number) for number in range(4)]
BASIC = "Basic dTpvcGVuc2VzYW1l"


async def preheated(call: Caller, url: str, **changes: object) -> Any:
    """Preheat an image and return how it ended."""
    got = await call("POST", "/preheats", {"type": "image", "url": url} | changes)
    assert got.status == 201, got
    return await call.ended(got.json["ID"])


def test_the_id_is_the_recorded_one() -> None:
    recorded = "393d3cbbe6492d7460b6b57ebfa4157eb401202efeb24ce3cb43a23a2a719074"
    assert task_id("http://127.0.0.1:9000/v2/lib/x/manifests/latest") == recorded


MANIFESTS = {
    "schema 1": lambda: [schema1(LAYERS[0], LAYERS[1], LAYERS[0])],
    "schema 2": lambda: [schema2(*LAYERS[:2])],
    "OCI": lambda: [schema2(*LAYERS[:2], mediaType=None)],
    "list": lambda: [
        index(schema2(LAYERS[0]), schema2(LAYERS[0], LAYERS[1])),
        schema2(LAYERS[0]),
        schema2(LAYERS[0], LAYERS[1]),
    ],
    "index of indexes": lambda: [
        index(index(schema2(*LAYERS[:2]))),
        index(schema2(*LAYERS[:2])),
        schema2(*LAYERS[:2]),
    ],
}


@pytest.mark.parametrize("kind", MANIFESTS)
async def test_every_layer_is_preheated_once(tmp_path: Path, kind: str) -> None:
    top, *others = MANIFESTS[kind]()
    async with registry() as reg, calling(tmp_path / "sn") as call:
        reg.hold(*LAYERS)
        for manifest in others:
            reg.push(digest_of(manifest), manifest)
        ended = await preheated(call, reg.push("latest", top))
        assert (ended["status"], ended.get("errorMsg")) == ("SUCCESS", None)
        parent, *children = await call.get("/preheats")
        urls = [reg.blob_url(layer) for layer in LAYERS[:2]]
        assert parent["Children"] == [task_id(url) for url in urls]
        assert [(child["URL"], child["ParentID"]) for child in children] == [
            (url, parent["ID"]) for url in urls
        ]
        assert {child["Status"] for child in children} == {"SUCCESS"}
        paths = [f"/v2/{IMAGE}/blobs/{digest_of(layer)}" for layer in LAYERS[:2]]
        assert [reg.asked(path) for path in paths] == [1, 1]
        await get(request(tmp_path, urls[1], "a", call.node))
        assert [reg.asked(path) for path in paths] == [1, 1], "no more origin bytes"
        assert (tmp_path / "a.out").read_bytes() == LAYERS[1]


@pytest.mark.parametrize("basic", ["", BASIC])
async def test_a_registry_that_wants_a_token(tmp_path: Path, basic: str) -> None:
    async with registry(wants_token=True, wants_basic=basic) as reg, calling(tmp_path) as call:
        reg.hold(*LAYERS)
        url = reg.push("latest", schema2(*LAYERS))
        headers = {"authorization": basic, "X-A": "b"} if basic else {}
        ended = await preheated(call, url, headers=headers)
        assert (ended["status"], ended.get("errorMsg")) == ("SUCCESS", None)
        assert reg.tokens == 1
        asked = [authorization for path, authorization in reg.seen if "/blobs/" in path]
        assert asked == ["Bearer token-1"] * len(LAYERS)
        assert [found for path, found in reg.seen if path == "/token"] == [basic]
        for record in await call.get("/preheats"):
            assert "opensesame" not in json.dumps(record)
            assert "dTpvcGVuc2VzYW1l" not in json.dumps(record)


async def test_a_registry_that_refuses_says_so(tmp_path: Path) -> None:
    async with registry(wants_token=True, wants_basic=BASIC) as reg, calling(tmp_path) as call:
        url = reg.push("latest", schema2(*LAYERS))
        ended = await preheated(call, url)
        assert ended["status"] == "FAILED"
        assert "/token for a token answered 401 Unauthorized" in ended["errorMsg"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"x", "no JSON"),
        (b"[]", "no JSON"),
        (b"{}", "usable token"),
        (b'{"token": "a\\r\\nb"}', "usable token"),
        (b'{"token": 5}', "no JSON"),
        (b" " * (1 << 17), "more than 65536 bytes"),
        (json.dumps({"token": "t" * 20000}).encode(), "usable token"),
    ],
)
async def test_bad_tokens(tmp_path: Path, answer: bytes, said: str) -> None:
    async with registry(wants_token=True, token_answer=answer) as reg, calling(tmp_path) as call:
        ended = await preheated(call, reg.push("latest", schema2(*LAYERS)))
        assert (ended["status"], said in ended["errorMsg"]) == ("FAILED", True), ended


async def test_a_missing_image(tmp_path: Path) -> None:
    async with registry() as reg, calling(tmp_path) as call:
        ended = await preheated(call, f"{reg.base}/v2/{IMAGE}/manifests/none")
        assert ended["status"] == "FAILED"
        assert ended["errorMsg"].endswith("/manifests/none answered 404 Not Found: no such page")


async def test_a_layer_that_fails_is_named_and_tried_again(tmp_path: Path) -> None:
    async with registry() as reg, calling(tmp_path) as call:
        reg.hold(*LAYERS[1:])
        first = reg.push("one", schema2(*LAYERS[:2]))
        ended = await preheated(call, first)
        assert ended["status"] == "FAILED"
        assert ended["errorMsg"].startswith(reg.blob_url(LAYERS[0]))
        assert "404 Not Found" in ended["errorMsg"]
        assert reg.blob_url(LAYERS[1]) not in ended["errorMsg"]
        reg.hold(LAYERS[0])
        task = task_id(reg.blob_url(LAYERS[0]))
        await call("DELETE", f"/api/v1/tasks/{task}")  # or the failure would be remembered
        ended = await preheated(call, reg.push("two", schema2(*LAYERS[:2], other=1)))
        assert ended["status"] == "SUCCESS"


async def test_images_share_layers_and_keep_them(tmp_path: Path) -> None:
    async with registry() as reg, calling(tmp_path) as call:
        reg.hold(*LAYERS)
        one = await preheated(call, reg.push("one", schema2(*LAYERS[:3])))
        two = await preheated(call, reg.push("two", schema2(*LAYERS[2:])))
        assert one["status"] == two["status"] == "SUCCESS"
        assert len(await call.get("/preheats")) == 2 + 4
        await call("DELETE", f"/preheats/{one['ID']}")
        kept = {record["URL"] for record in await call.get("/preheats")}
        assert kept == {
            f"{reg.base}/v2/{IMAGE}/manifests/two",
            *(reg.blob_url(layer) for layer in LAYERS[2:]),
        }


def nested(depth: int, reg: Registry) -> bytes:
    manifest = schema2(LAYERS[0])
    for _ in range(depth):
        reg.push(digest_of(manifest), manifest)
        manifest = index(manifest)
    return manifest


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        (b"no json", "JSON object"),
        (b"[1]", "JSON object"),
        (b"{}", "neither layers"),
        (b'{"layers": 5}', "no list"),
        (b'{"layers": [5]}', "no object"),
        (b'{"layers": [{"digest": "../../../etc/passwd"}]}', "is no digest"),
        (b'{"layers": [{"digest": "sha256:zz"}]}', "is no digest"),
        (b'{"fsLayers": [{"digest": "sha256:00"}]}', "is no digest"),
        (b'{"manifests": [{}]}', "is no digest"),
        (b'{"layers": [' + b"{}," * 2000 + b"{}]}", "at most 1024"),
        (b" " * (5 << 20), "more than 4194304 bytes"),
        (index(*(bytes([n]) for n in range(100))), "more than 64 manifests"),
    ],
)
async def test_bad_manifests(tmp_path: Path, manifest: bytes, said: str) -> None:
    async with registry() as reg, calling(tmp_path) as call:
        ended = await preheated(call, reg.push("bad", manifest))
        assert (ended["status"], said in ended["errorMsg"]) == ("FAILED", True), ended


async def test_manifests_nested_too_deep(tmp_path: Path) -> None:
    async with registry() as reg, calling(tmp_path) as call:
        ended = await preheated(call, reg.push("deep", nested(5, reg)))
        assert (ended["status"], "deep" in ended["errorMsg"]) == ("FAILED", True)


async def test_layers_that_lie_elsewhere_are_left_out(tmp_path: Path) -> None:
    async with registry() as reg, calling(tmp_path) as call:
        reg.hold(LAYERS[0])
        foreign = {"digest": digest_of(LAYERS[1]), "mediaType": "x.foreign.diff.tar"}
        layers = [{"digest": digest_of(LAYERS[0])}, foreign]
        ended = await preheated(call, reg.push("latest", schema2(layers=layers)))
        assert ended["status"] == "SUCCESS"
        assert len(await call.get("/preheats")) == 2


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:1", "127.0.0.1:99999", "x:-1", "[", "%zz", "...", "xn--", "\u2603", "-",
        "[::1]:1", "a" * 300, "127.0.0.1:1@", "@",
    ],
)  # fmt: skip
async def test_registries_that_are_not_there(tmp_path: Path, host: str) -> None:
    async with calling(tmp_path) as call:
        ended = await preheated(call, f"http://{host}/v2/a/manifests/b")
        assert ended["status"] == "FAILED"
        assert ended["errorMsg"].startswith("GET http://")
        assert " failed: " in ended["errorMsg"]
