"""Every recorded call to a supernode read and written again by our codec, byte for byte.

This is what our supernode understands of dfget 0.3.0, 0.4.0 and 1.0.6, and what our dfget
understands of the supernodes and writes itself.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, cast

from damselfly.engine.errors import RemoteProtocolError
from damselfly.engine.wire.v1 import decode_reply, decode_request, encode_reply, encode_request

from .findings import Difference, Finding, compare
from .recorded import Exchange, Request, Response, scenario, wire_log

if TYPE_CHECKING:
    from collections.abc import Iterator


@cache
def replay_wire(name: str) -> tuple[Finding, ...]:
    """Read and write the calls of a wire log, and the answers to them."""
    return tuple(_findings(name, wire_log(name)))


@cache
def replay_calls(name: str, version: str) -> tuple[Finding, ...]:
    """Read and write the calls of a scenario, and the answers to them."""
    return tuple(_findings(f"scenarios/{name}.{version}.txt", scenario(name, version).calls))


def _findings(source: str, exchanges: tuple[Exchange, ...]) -> Iterator[Finding]:
    is_real = not source.startswith("scenarios/")
    for number, exchange in enumerate(exchanges, 1):
        if exchange.to in ("supernode", "8002") and exchange.request is not None:
            label = f"{number} {exchange.request.method} {exchange.request.path}"
            differences = _compare(exchange.request, exchange.response, is_real=is_real)
            yield Finding(source, label, tuple(differences))


def _compare(request: Request, response: Response | None, *, is_real: bool) -> Iterator[Difference]:
    """Compare what is written with what was read; answers only where a real supernode gave them."""
    headers = (*request.headers, ("Content-Type", "application/json;charset=utf-8"))
    asked = decode_request(request.method, request.target, headers, request.body)
    call = encode_request(asked)
    yield from compare("method", request.method, call.method)
    yield from compare("target", request.target, call.target)
    yield from compare("request body", request.body.decode(), call.body.decode())
    if recorded_type := dict(request.headers).get("Content-Type"):
        yield from compare("content-type", recorded_type, dict(call.headers).get("Content-Type"))
    if response is None or not isinstance(response.body, bytes):
        return
    try:
        reply = decode_reply(asked, response.status, response.body)
    except RemoteProtocolError:
        yield Difference("answer", json.dumps(response.body.decode()), '"not understood"')
        return
    if is_real:
        _, _, written = encode_reply(asked, reply)
        yield from compare("answer", _values(response.body), _values(written))


def _values(body: bytes) -> object:
    found: object = json.loads(body) if body.strip() else {}
    if isinstance(found, dict):
        items = cast("dict[str, object]", found).items()
        return {key: value for key, value in items if key != "msg"}
    return found
