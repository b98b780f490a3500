from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, get_args

import pytest

from damselfly.engine import effects, events, messages
from damselfly.engine.events import Dropped, PieceFetched
from damselfly.engine.ids import ExchangeId, FetchId
from damselfly.engine.piece import Digest
from damselfly.sim.digest import TraceDigest


@pytest.mark.parametrize(
    "union",
    [
        events.DownloadEvent,
        events.SupernodeEvent,
        effects.DownloadEffect,
        effects.SupernodeEffect,
        messages.Request,
        messages.Reply,
    ],
)
def test_fields_alone_tell_what_happened(union: object) -> None:
    kinds = [kind.__struct_fields__ for kind in get_args(union)]
    assert len(kinds) > 1
    assert len(set(kinds)) == len(kinds)


Call: TypeAlias = tuple[float, str, object | None, Sequence[object]]


def digest(*calls: Call) -> str:
    trace = TraceDigest()
    for call in calls:
        trace(*call)
    assert trace.calls == len(calls)
    return trace.hexdigest()


def test_any_difference_shows() -> None:
    fetched = PieceFetched(FetchId(1), 5, Digest("sha256:aa"))
    call: Call = (1.0, "a", fetched, [effects.CancelFetch(FetchId(2))])
    others: list[Call] = [
        (1.0 + 2**-50, "a", fetched, [effects.CancelFetch(FetchId(2))]),
        (1.0, "b", fetched, [effects.CancelFetch(FetchId(2))]),
        (1.0, "a", None, [effects.CancelFetch(FetchId(2))]),
        (1.0, "a", Dropped(ExchangeId(1)), [effects.CancelFetch(FetchId(2))]),
        (1.0, "a", fetched, [effects.CancelFetch(FetchId(3))]),
        (1.0, "a", fetched, []),
    ]
    assert digest(call) == digest(call)
    assert len({digest(call), digest(), digest(call, call), *map(digest, others)}) == 9


def test_long_traces_are_hashed_on_the_way() -> None:
    calls: list[Call] = [(float(n), "a", Dropped(ExchangeId(n)), ()) for n in range(10_000)]
    trace = TraceDigest()
    for call in calls:
        trace(*call)
    assert trace.hexdigest() == trace.hexdigest() == digest(*calls)
    assert digest(*calls) != digest(*reversed(calls))
