"""Secrets out, sameness kept: equal secrets get equal stand-ins, different ones different.

A redacted recording must still behave as the real thing did.  So each secret is replaced by a
stand-in numbered in the order of first sight, a stand-in stands for itself, and the ids of tasks
whose URL held a secret become the ids that the redacted URL has.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from .expressions import expression
from .ids import task_id

if TYPE_CHECKING:
    from .config import DownloadConfig
    from .messages import Register

_STAND_IN: Final = expression(r"redacted-([0-9]{1,9})")
_USER_INFO: Final = expression(r"(?<=://)[^/?#\s]+(?=@)")
_HEADER: Final = expression(r"([^:]*:\s*)(.+)", re.DOTALL)
_SECRET_NAME: Final = expression(
    r"authorization|cookie|token|secret|password|credential|signature|session|api-?key|x-auth",
    re.IGNORECASE,
)
_QUERY_SECRET: Final = expression(
    # As presigned URLs of Amazon, Google, Azure, Alibaba and Tencent name them, and people do.
    r"(?<=[?&;])((?:[\w.-]*(?:signature|credential|token|secret|password|api[_-]?key|access(?:key)?id)"
    r"|sig|sign|q-ak|auth|jwt)=)([^&#\s\"'<>]+)",
    re.IGNORECASE,
)
_TASK: Final = expression(r"(?:(?<=/)[0-9a-f]{3}/)?([0-9a-f]{64})")


_MOST: Final = 1 << 16
"""Secrets, and tasks, remembered at a time: URLs that are signed anew each time have no end."""


class Redactor:
    """Takes the secrets out of one recording; remembers the newest of them while it lives."""

    def __init__(self) -> None:
        self._stand_ins: dict[str, str] = {}
        self._highest = 0
        self._tasks: dict[str, str] = {}

    def text(self, text: str) -> str:
        """Return ``text`` without the users, passwords and signatures of URLs in it."""
        if "://" in text:
            if "@" in text:
                text = _USER_INFO.sub(lambda found: self._stand_in(found[0]), text)
            if "?" in text:
                text = _QUERY_SECRET.sub(lambda found: found[1] + self._stand_in(found[2]), text)
        return _TASK.sub(self._renamed, text) if self._tasks else text

    def header_line(self, line: str) -> str:
        """Return a ``k:v`` line without the value, if such a header carries secrets."""
        found = _HEADER.fullmatch(line)
        if found is None or not _SECRET_NAME.search(found[1]):
            return self.text(line)
        return found[1] + self._stand_in(found[2])

    def learn(self, wish: Register | DownloadConfig) -> None:
        """Find out how the id of a task changes when secrets leave its URL (protocol 5.1)."""
        redacted = self.text(wish.task_url)
        if redacted == wish.task_url:
            return
        headers = (line.partition(":") for line in wish.headers)
        ranges = [value.strip() for name, _, value in headers if name.strip().lower() == "range"]
        md5, identifier = wish.md5, wish.identifier
        for byte_range in ("", *ranges):
            real = task_id(wish.task_url, md5=md5, identifier=identifier, byte_range=byte_range)
            shown = task_id(redacted, md5=md5, identifier=identifier, byte_range=byte_range)
            _remember(self._tasks, real, shown)

    def _stand_in(self, secret: str) -> str:
        if found := _STAND_IN.fullmatch(secret):
            self._highest = max(self._highest, int(found[1]))
            return secret
        if secret not in self._stand_ins:
            self._highest += 1
            _remember(self._stand_ins, secret, f"redacted-{self._highest}")
        return self._stand_ins[secret]

    def _renamed(self, found: re.Match[str]) -> str:
        shown = self._tasks.get(found[1])
        if shown is None:
            return found[0]
        return shown if found[0] == found[1] else f"{shown[:3]}/{shown}"


def _remember(known: dict[str, str], key: str, value: str) -> None:
    if len(known) >= _MOST:
        del known[next(iter(known))]
    known[key] = value
