"""Log files in Dragonfly's form (protocol 8.8), without secrets."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from logging.handlers import RotatingFileHandler
from typing import TYPE_CHECKING, Final

from ..engine.errors import DamselflyError
from ..engine.redact import Redactor

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

LOG: Final = logging.getLogger("damselfly")
_MAX_BYTES: Final = 40 << 20
_BACKUPS: Final = 1
_LEVELS: Final = {
    logging.DEBUG: "DEBU",
    logging.INFO: "INFO",
    logging.WARNING: "WARN",
    logging.ERROR: "ERRO",
    logging.CRITICAL: "FATA",
}


class LogError(DamselflyError):
    """The log cannot be written, which goes for the rest of the home as well."""


@contextlib.contextmanager
def logging_to(
    path: Path, *, sign: str = "", verbose: bool = False, console: bool = False
) -> Generator[None]:
    """Write what the program logs to ``path``, with ``console`` to the standard output as well.

    The file is replaced when it has 40 MB, and one old one is kept.  Raises ``LogError`` if it
    cannot be opened; a disk that is full later loses lines, nothing else.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers: list[logging.Handler] = [
            _File(path, maxBytes=_MAX_BYTES, backupCount=_BACKUPS, encoding="utf-8")
        ]
    except OSError as error:
        raise LogError(
            f"cannot write the log {path}: {error.strerror}; choose another home"
        ) from error
    if console:
        handlers.append(logging.StreamHandler(sys.stdout))
    formatter = LineFormatter(sign)
    level_before = LOG.level
    LOG.setLevel(logging.DEBUG if verbose else logging.INFO)
    for handler in handlers:
        handler.setFormatter(formatter)
        LOG.addHandler(handler)
    try:
        yield
    finally:
        LOG.setLevel(level_before)
        for handler in handlers:
            LOG.removeHandler(handler)
            handler.close()


class LineFormatter(logging.Formatter):
    """``2026-11-23 16:35:55.163 INFO sign:17918-1795451755.162 : message``, times local."""

    def __init__(self, sign: str) -> None:
        super().__init__()
        self._mark = f"sign:{sign} " if sign else ""
        self._redactor = Redactor()

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and a traceback on lines of its own if the record has one."""
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        level = _LEVELS.get(record.levelno, record.levelname[:4])
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        text = self._redactor.text(text)
        return f"{when}.{int(record.msecs):03d} {level} {self._mark}: {text}"


class _File(RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """A log that cannot be written does not disturb the work."""
