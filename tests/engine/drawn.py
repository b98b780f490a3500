"""Values of the vocabulary for hypothesis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def made(
    kind: Callable[..., T], *fields: st.SearchStrategy[Any], **named: st.SearchStrategy[Any]
) -> st.SearchStrategy[T]:
    """As ``st.builds``, which would look for the types of a struct's fields at run time."""
    return st.builds(lambda *args, **kwargs: kind(*args, **kwargs), *fields, **named)
