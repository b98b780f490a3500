"""Files to change and what to do then: what an engine's settings come down to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ....engine.errors import ConfigError
from ....engine.records import dataclass

if TYPE_CHECKING:
    from pathlib import Path

_BACKUP: Final = ".before-dfdaemon"


@dataclass(frozen=True, slots=True)
class Upstream:
    """A registry as engines call it (``docker.io``), and where it really is.

    ``is_default``: it is what requests to the mirror are for that do not say more.
    """

    name: str
    server: str
    is_default: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the engine is to use: the daemon at ``url`` for these registries.

    ``authority`` is the PEM text of the CA that intercepted clients have to trust.
    """

    url: str
    upstreams: tuple[Upstream, ...]
    authority: str = ""

    @property
    def address(self) -> str:
        """``host:port`` of the daemon."""
        return self.url.partition("://")[2]

    def only_by_proxy(self, engine: str) -> tuple[str, ...]:
        """Return notes about registries that ``engine`` cannot mean when it asks a mirror."""
        others = [one.name for one in self.upstreams if not one.is_default]
        return tuple(
            [
                f"{engine} does not tell a mirror that it means {name}: use --mode proxy"
                for name in others
            ]
        )


@dataclass(frozen=True, slots=True)
class Change:
    """A file, by its path from the root, and all that is to stand in it."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Plan:
    """``then`` are commands that make the engine read the files, ``notes`` what else to know."""

    changes: tuple[Change, ...]
    then: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Files:
    """The files of a host under its ``root``."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, path: str) -> str:
        """Return what stands in a file, nothing if there is none; raises ``ConfigError``."""
        try:
            return self._at(path).read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {self._at(path)}: {error}") from error

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in a folder in order, none if there is no folder."""
        here = self._at(folder)
        return sorted([one.name for one in here.iterdir()]) if here.is_dir() else []

    def write(self, change: Change) -> str:
        """Make a file what it should be, keeping the first original; return what was done.

        Raises ``ConfigError`` if it cannot be written.
        """
        path = self._at(change.path).resolve()
        before = self.read(change.path)
        if before == change.text:
            return f"unchanged: {path}"
        backup = path.with_name(path.name + _BACKUP)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            kept = bool(before) and not backup.exists()
            if kept:
                backup.write_text(before, encoding="utf-8")
                backup.chmod(path.stat().st_mode)
            new = path.with_name(f".{path.name}.new")
            new.write_text(change.text, encoding="utf-8")
            new.chmod(path.stat().st_mode if path.exists() else 0o644)
            new.replace(path)
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}") from error
        return f"wrote {path}" + (f"; what was there: {backup}" if kept else "")

    def _at(self, path: str) -> Path:
        return self._root / path.lstrip("/")
