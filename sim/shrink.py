"""Makes a scenario that fails as small as it can be while it still fails."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast

from ..engine.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from dataclasses import Field

    from .scenario import Scenario

T = TypeVar("T")

_SIZES: Final = ("peers", "file_bytes", "seed")
"""What has no value that is simpler than all others, or decides who is meant by a draw."""


class Shrunken(NamedTuple):
    """What came of it, and how many scenarios were run for it."""

    scenario: Scenario
    runs: int


def shrink(scenario: Scenario, fails: Callable[[Scenario], bool], *, runs: int = 300) -> Shrunken:
    """Return a simpler scenario that ``fails`` as well, after at most so many runs.

    It has fewer peers, pieces and misfortunes, and more knobs at their defaults.  The scenario
    given is taken to fail.
    """
    done = 0
    found = True
    while found:
        found = False
        for simpler in _simpler(scenario):
            if done >= runs:
                return Shrunken(scenario, done)
            done += 1
            if fails(simpler):
                scenario, found = simpler, True
                break
    return Shrunken(scenario, done)


def _simpler(scenario: Scenario) -> Iterator[Scenario]:
    """Yield all that are one step simpler, the largest steps first."""
    for step in (_fewer_peers, _fewer_pieces, _fewer_misfortunes, _defaults, _plainer_misfortunes):
        for changes in step(scenario):
            try:
                yield replace(scenario, **changes)
            except ConfigError:
                continue


def _fewer_peers(scenario: Scenario) -> Iterator[dict[str, Any]]:
    for peers in _smaller(scenario.peers, 1):
        changes: dict[str, Any] = {"peers": peers}
        for field in fields(scenario):
            value = getattr(scenario, field.name)
            if _is_list(value):
                changes[field.name] = tuple(one for one in value if _peer_of(one) < peers)
            elif isinstance(value, tuple) and len(cast("tuple[Any, ...]", value)) == scenario.peers:
                changes[field.name] = value[:peers]
        yield changes


def _fewer_pieces(scenario: Scenario) -> Iterator[dict[str, Any]]:
    layout = scenario.layout
    for pieces in _smaller(layout.count, 1):
        yield {
            "file_bytes": pieces * layout.content_size,
            "corruptions": tuple(
                rot for rot in scenario.corruptions if rot.piece is None or rot.piece < pieces
            ),
        }


def _fewer_misfortunes(scenario: Scenario) -> Iterator[dict[str, Any]]:
    for field in fields(scenario):
        value = getattr(scenario, field.name)
        if _is_list(value):
            yield from ({field.name: part} for part in _parts(value))


def _plainer_misfortunes(scenario: Scenario) -> Iterator[dict[str, Any]]:
    for field in fields(scenario):
        value = getattr(scenario, field.name)
        if not _is_list(value):
            continue
        for number, one in enumerate(value):
            for detail in fields(one):
                if not _is_plain(one, detail):
                    plainer = replace(one, **{detail.name: detail.default})
                    yield {field.name: (*value[:number], plainer, *value[number + 1 :])}


def _defaults(scenario: Scenario) -> Iterator[dict[str, Any]]:
    odd = [
        field
        for field in fields(scenario)
        if field.name not in _SIZES and not _is_plain(scenario, field)
    ]
    if len(odd) > 1:
        yield {field.name: field.default for field in odd}
    for field in odd:
        yield {field.name: field.default}


def _smaller(number: int, least: int) -> Iterator[int]:
    """Yield numbers from ``least`` up to ``number``, ever nearer to it."""
    step = number - least
    while step:
        yield number - step
        step //= 2


def _parts(whole: tuple[T, ...]) -> Iterator[tuple[T, ...]]:
    """Yield what is left without larger and smaller parts."""
    size = len(whole)
    while size:
        for first in range(0, len(whole), size):
            yield whole[:first] + whole[first + size :]
        size //= 2


def _is_list(value: object) -> bool:
    """Tell whether this is a tuple of misfortunes, classes and the like."""
    return isinstance(value, tuple) and any(is_dataclass(one) for one in cast("Any", value))


def _peer_of(one: object) -> int:
    return getattr(one, "peer", -1)


def _is_plain(owner: object, field: Field[Any]) -> bool:
    return field.default is MISSING or getattr(owner, field.name) == field.default
