"""Log files in Dragonfly's form (protocol 8.8), without secrets."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from contextvars import ContextVar
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..engine.errors import DamselflyError
from ..engine.records import dataclass
from ..engine.redact import Redactor

if TYPE_CHECKING:
    from collections.abc import Generator

SIGN: Final[ContextVar[str]] = ContextVar("sign", default="")
"""Whose lines a task logs, where a program downloads more than one file."""
LOG: Final = logging.getLogger("damselfly")
_MAX_MB: Final = 40
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


@dataclass(frozen=True, slots=True)
class LogConfig:
    """Where a log goes if not to its usual place, and how much of it is kept.

    It is replaced when it has ``max_mb`` MiB, and ``backups`` old ones are kept; 0: the default.
    """

    max_mb: int = 0
    backups: int = 0
    path: str = ""


USUAL: Final = LogConfig()


@contextlib.contextmanager
def logging_to(
    path: Path,
    config: LogConfig = USUAL,
    *,
    sign: str = "",
    verbose: bool = False,
    console: bool = False,
) -> Generator[None]:
    """Write what the program logs to ``path``, with ``console`` to the standard output as well.

    ``config`` may name another path, and says how much is kept.  Raises ``LogError`` if it
    cannot be opened; a disk that is full later loses lines, nothing else.
    """
    path = Path(config.path).expanduser() if config.path else path
    handlers: list[logging.Handler] = [_opened(path, config)]
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


@contextlib.contextmanager
def lines_to(logger: logging.Logger, name: str, path: Path, config: LogConfig) -> Generator[None]:
    """Write the bare messages of ``logger`` to ``name`` beside the log that is at ``path``.

    Where ``config`` makes that a device, as ``/dev/stdout``, they go there as well.  Raises
    ``LogError``.
    """
    path = Path(config.path).expanduser() if config.path else path
    is_device = path.exists() and not path.is_file()
    handler = _opened(path if is_device else path.with_name(name), config)
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.setLevel(logging.NOTSET)
        logger.removeHandler(handler)
        handler.close()


class LineFormatter(logging.Formatter):
    """``2026-11-23 16:35:55.163 INFO sign:17918-1795451755.162 : message``, times local."""

    def __init__(self, sign: str) -> None:
        super().__init__()
        self._sign = sign
        self._redactor = Redactor()

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and a traceback on lines of its own if the record has one."""
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        level = _LEVELS.get(record.levelno, record.levelname[:4])
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        text = self._redactor.text(text)
        sign = SIGN.get() or self._sign
        mark = f"sign:{sign} " if sign else ""
        return f"{when}.{int(record.msecs):03d} {level} {mark}: {text}"


class _File(RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """A log that cannot be written does not disturb the work."""


def _opened(path: Path, config: LogConfig) -> logging.Handler:
    limit, backups = (config.max_mb or _MAX_MB) << 20, config.backups or _BACKUPS
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _File(path, maxBytes=limit, backupCount=backups, encoding="utf-8")
    except OSError as error:
        text = f"cannot write the log {path}: {error.strerror}; choose another home"
        raise LogError(text) from error
