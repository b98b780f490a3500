"""Runs the daemon: checks what it needs, logs, serves until it is told to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from ...engine.errors import ConfigError
from ...net.dfdaemon.contents import Contents
from ...net.dfdaemon.dfpath import DfgetContents
from ...net.dfdaemon.front import serve_daemon
from ...net.dfdaemon.local import LocalEndpoints, shown
from ...net.dfdaemon.metrics import DaemonMetrics
from ...net.dfdaemon.served import ACCESS_LOG, AccessLog
from ..interrupt import allow_many_connections, until_signal
from ..logs import LOG, LogConfig, lines_to, logging_to
from ..status import ExitError, ExitStatus, Stopped, first_cause
from ..values import version
from .values import with_status

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ...net.dfdaemon.settings import DaemonSettings
    from .settings import Told

_DFGET_ANSWERS_S: Final = 30.0


def run_daemon(told: Told, arguments: Sequence[str]) -> ExitStatus:
    """Serve until SIGINT or SIGTERM; raises ``ExitError``, ``OSError``, ``LogError``."""
    settings = told.settings
    _check_repo(settings.local_repo)
    if settings.dfpath is not None:
        _check_dfget(settings.dfpath)
    allow_many_connections()
    path, log = settings.work_home / "logs" / "dfdaemon.log", replace(LogConfig(), **told.log)
    with (
        logging_to(path, log, sign=str(os.getpid()), verbose=told.verbose),
        lines_to(ACCESS_LOG, "dfdaemon-access.log", path, log),
    ):
        for note in told.notes:
            print(f"dfdaemon: {note}", file=sys.stderr, flush=True)
            LOG.warning("%s", note)
        LOG.info("using config: %s", json.dumps(shown(settings)))
        try:
            trio.run(until_signal, partial(_serve, told, arguments))
        except Stopped as stopped:
            LOG.info("%s", stopped)
            print(stopped, flush=True)
        except BaseException as error:
            cause = first_cause(error)
            LOG.error("%s", cause)
            if isinstance(cause, ConfigError):
                raise with_status(cause, ExitStatus.BAD_CONFIG) from error
            raise
    return ExitStatus.SUCCESS


async def _serve(told: Told, arguments: Sequence[str]) -> None:
    settings, metrics = told.settings, DaemonMetrics(version())
    slots = trio.Semaphore(settings.bounds.connections)
    metrics.watch(
        "connections", "Connections of clients", lambda: settings.bounds.connections - slots.value
    )
    contents = _contents(told, metrics)
    pages = LocalEndpoints(["dfdaemon", *arguments], settings, metrics, version())
    serve = partial(serve_daemon, settings, contents, AccessLog(metrics), pages, slots=slots)
    async with trio.open_nursery() as nursery:
        await nursery.start(contents.run)
        host, port = await nursery.start(serve)
        line = _ready_line(settings, host, port)
        LOG.info("%s", line)
        print(line, flush=True)


def _contents(told: Told, metrics: DaemonMetrics) -> Contents | DfgetContents:
    if told.settings.dfpath is not None:
        return DfgetContents(told.settings, verbose=told.verbose)
    contents = Contents(told.settings)
    metrics.watch("blobs", "Contents that are here, or coming", lambda: contents.census().blobs)
    metrics.watch("blob_bytes", "Their bytes on disk", lambda: contents.census().held_bytes)
    metrics.watch("fetching", "Downloads under way", lambda: contents.census().fetching)
    metrics.count("downloads", "Downloads that ended well", lambda: contents.census().fetched)
    what = "Downloads that failed or were given up"
    metrics.count("downloads_failed", what, lambda: contents.census().failed)
    return contents


def _ready_line(settings: DaemonSettings, host: str, port: int) -> str:
    scheme = "http" if settings.cert_pem is None else "https"
    place = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    nodes = ",".join(map(str, dict.fromkeys(settings.supernodes))) or "none, all from the origin"
    return (
        f"dfdaemon ready: {place} mirror {settings.registry_mirror.remote} supernodes {nodes}"
        f" home {settings.work_home}"
    )


def _check_repo(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(0, "not writable")
    except OSError as error:
        text = f"localrepo {folder} cannot be used: {error.strerror}; name another with --localrepo"
        raise ExitError(text, ExitStatus.REPO_FAILED) from error


def _check_dfget(path: Path) -> None:
    if not path.exists():
        text = f"dfpath {path} does not exist; without --dfpath no dfget is needed"
        raise ExitError(text, ExitStatus.DFGET_MISSING)
    try:
        command = [str(path), "version"]
        done = subprocess.run(command, capture_output=True, timeout=_DFGET_ANSWERS_S, check=False)
        why = f"ended with {done.returncode}" if done.returncode else ""
    except OSError as error:
        why = str(error.strerror)
    except subprocess.TimeoutExpired:
        why = f"gave no answer for {_DFGET_ANSWERS_S:g} s"
    if why:
        text = f"dfpath {path}: '{path.name} version' {why}"
        raise ExitError(text, ExitStatus.DFGET_FAILED)
