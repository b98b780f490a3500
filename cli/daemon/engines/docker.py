"""Docker: ``daemon.json`` for the mirror, which it asks for images of docker.io alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, cast

from ....engine.errors import ConfigError
from .plan import Change, Plan
from .proxying import service_plan

if TYPE_CHECKING:
    from .plan import Files, Wanted

_SETTINGS: Final = "/etc/docker/daemon.json"


def docker_mirror(wanted: Wanted, files: Files) -> Plan:
    """Return the plan that puts the daemon before Docker's other mirrors.

    Raises ``ConfigError`` if Docker's settings cannot be understood.
    """
    settings = _settings(files.read(_SETTINGS))
    mirrors = settings.get("registry-mirrors", [])
    if not isinstance(mirrors, list):
        raise ConfigError(f"{_SETTINGS}: registry-mirrors is no list; correct it first")
    known = [one for one in cast("list[str]", mirrors) if one.rstrip("/") != wanted.url]
    settings["registry-mirrors"] = [wanted.url, *known]
    return Plan(
        (Change(_SETTINGS, json.dumps(settings, indent=2) + "\n"),),
        ("systemctl reload docker",),
        wanted.only_by_proxy("docker"),
    )


def docker_proxy(wanted: Wanted, files: Files) -> Plan:
    """Return the plan that makes Docker pull through the daemon."""
    del files
    return service_plan(wanted, "docker", "/etc/docker/certs.d")


def _settings(text: str) -> dict[str, object]:
    try:
        found: object = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise ConfigError(f"{_SETTINGS} is not valid JSON: {error}; correct it first") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{_SETTINGS} is no JSON object; correct it first")
    return cast("dict[str, object]", found)
