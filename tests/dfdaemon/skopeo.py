"""Running programs as clients; skopeo, which copies images, above all."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Final

from .processes import PATIENCE_S
from .registry import PASSWORD, USER

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .image import Image
    from .registry import Registry

CREDENTIALS: Final = f"{USER}:{PASSWORD}"
_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")


class Skopeo:
    """Copies images with a ``registries.conf`` of its own in ``folder``.

    ``mirrors`` are what goes before which registry; ``settings`` all that is to stand in the file.
    """

    def __init__(
        self, folder: Path, *, mirrors: Mapping[str, str] | None = None, settings: str = ""
    ) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._registries = folder / "registries.conf"
        for place, mirror in (mirrors or {}).items():
            settings += f'[[registry]]\nlocation = "{place}"\ninsecure = true\n'
            settings += f'[[registry.mirror]]\nlocation = "{mirror}"\ninsecure = true\n'
        self._registries.write_text(settings)

    def push(self, image: Image, registry: Registry, name: str = "library/image:1") -> str:
        """Put an image into a registry, with ``CREDENTIALS``; return its name there."""
        place = f"{registry.address}/{name}"
        source, target = f"oci:{image.layout}", f"docker://{place}"
        done = self._run(
            "copy", "--dest-tls-verify=false", "--dest-creds", CREDENTIALS, source, target
        )
        assert done.returncode == 0, done.stdout
        return place

    def pull(self, place: str, name: str, *flags: str, **environment: str) -> Path:
        """Get an image from ``host/name:tag`` into a new folder; it must succeed."""
        target = self._folder / name
        done = self.try_pull(place, name, *flags, **environment)
        assert done.returncode == 0, done.stdout
        return target

    def try_pull(
        self, place: str, name: str, *flags: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Try to get an image; what was printed is in ``stdout``."""
        target = f"dir:{self._folder / name}"
        return self._run("copy", *flags, f"docker://{place}", target, **environment)

    def _run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        settings = ["--insecure-policy", "--registries-conf", str(self._registries)]
        return run("skopeo", *settings, *arguments, home=self._folder, **environment)


def assert_same_image(folder: Path, image: Image) -> None:
    """Fail unless a pulled folder has every part of the image."""
    for digest in (*image.layers, image.config):
        assert (folder / digest.partition(":")[2]).read_bytes() == image.content[digest]


def run(*command: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, without proxies or settings of the user who runs the tests."""
    kept = {name: value for name, value in os.environ.items() if name.upper() not in _PROXIES}
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
        env={**kept, "HOME": str(home), "XDG_RUNTIME_DIR": str(home), **environment},
        check=False,
    )
