"""Follows one request to its end, and tells about it once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Self

import trio

from ..http import HttpResponse, StreamedResponse, SwitchToTls, TakeOver
from .served import Entry, Outcome, Served

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..http import BodyStream, HttpRequest, Part, Response
    from .served import ServedWatcher


class Account:
    """What is known of one request; whoever answers it fills in the public fields."""

    def __init__(self, watcher: ServedWatcher, request: HttpRequest, entry: Entry) -> None:
        self.entry = entry
        self.url = request.target
        self.task = ""
        self.reason = ""
        self.source: Callable[[], str] = str
        """Says where the body came from, once that is certain."""
        self.sent_bytes: Callable[[], int] = int
        """Says what a tunnel sent to the client."""
        self._watcher = watcher
        self._client = request.client_host
        self._method = request.method
        self._began_s = trio.current_time()
        self._first_byte_s: float | None = None
        self._failed = False

    def follow(self, response: Response) -> Response:
        """Return ``response``, so that its end is told of."""
        match response:
            case HttpResponse():
                return replace(response, on_closed=self._ending(response))
            case StreamedResponse():
                body = _Followed(response.body, self)
                return replace(response, body=body, on_closed=self._ending(response))
            case TakeOver():
                return replace(response, on_closed=self._tunnel_ending(response))
            case SwitchToTls():
                return response  # the requests inside are told of one by one

    def abandoned(self) -> None:
        """Tell that the client left before there was an answer."""
        self._tell(0, 0, Outcome.ABORTED)

    def saw_part(self) -> None:
        """Note that the first bytes of the body are there."""
        if self._first_byte_s is None:
            self._first_byte_s = trio.current_time() - self._began_s

    def saw_failure(self, error: Exception) -> None:
        """Note that the rest of the body cannot be had."""
        self._failed = True
        self.reason = str(error)

    def _ending(self, response: HttpResponse | StreamedResponse) -> Callable[[bool, int], None]:
        def end(complete: bool, count: int) -> None:
            if response.on_closed is not None:
                response.on_closed(complete, count)
            if isinstance(response, HttpResponse) and count:
                self.saw_part()
            broken = Outcome.FAILED if self._failed else Outcome.ABORTED
            self._tell(response.status, count, Outcome.COMPLETE if complete else broken)

        return end

    def _tunnel_ending(self, response: TakeOver) -> Callable[[], None]:
        def end() -> None:
            response.on_closed()
            self._tell(200, self.sent_bytes(), Outcome.COMPLETE)

        return end

    def _tell(self, status: int, sent_bytes: int, outcome: Outcome) -> None:
        self._watcher.served(
            Served(
                self._client,
                self.entry,
                self._method,
                self.url,
                status,
                sent_bytes,
                trio.current_time() - self._began_s,
                self._first_byte_s,
                outcome,
                self.source(),
                self.task,
                self.reason,
            )
        )


class _Followed:
    """A body that tells an account of its first part and of its failure."""

    def __init__(self, body: BodyStream, account: Account) -> None:
        self._body = body
        self._parts = aiter(body)
        self._account = account

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Part:
        try:
            part = await anext(self._parts)
        except StopAsyncIteration:
            raise
        except Exception as error:
            self._account.saw_failure(error)
            raise
        self._account.saw_part()
        return part

    async def aclose(self) -> None:
        await self._body.aclose()
