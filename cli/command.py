"""A command as a table of its flags, from which parser, help, documents and completion are made.

A table's flags fill the typed object beside it: a flag's long name, hyphens as underscores, is
the name of its field.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NoReturn, TypeVar

from ..engine.errors import ConfigError
from .units import as_argument
from .values import suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Option:
    """One flag: ``--long`` and perhaps ``-short``.

    ``metavar`` empty: a switch.  ``parse`` turns the text into a value and raises
    ``ConfigError``.  ``action`` ``append`` or ``extend``: may be given more than once.
    ``words`` are the only values there are, if they are few.
    """

    long: str
    help: str
    metavar: str = ""
    short: str = ""
    parse: Callable[[str], object] = str
    action: str = "store"
    words: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The flag as it is written, the short form first."""
        return ((f"-{self.short}",) if self.short else ()) + (f"--{self.long}",)


@dataclass(frozen=True, slots=True)
class Command(Generic[T]):
    """One thing that can be done: its flags, and the type of the object that holds them.

    With ``words`` it takes one of them as well, which goes to the field ``word``.
    """

    prog: str
    description: str
    options: tuple[Option, ...]
    flags: type[T]
    epilog: str = ""
    words: tuple[str, ...] = ()

    @property
    def usage(self) -> str:
        """How it is called."""
        word = f" {'|'.join(self.words)}" if self.words else ""
        return f"{self.prog}{word}{' [flags]' if self.options else ''}"

    def parse(self, arguments: Sequence[str]) -> T:
        """Return the flags; ``ConfigError`` if they make no sense, ``SystemExit`` for help."""
        flags, rest = self._parser().parse_known_args(arguments, self.flags())
        if not rest:
            return flags
        if not rest[0].startswith("-"):
            raise ConfigError(f"unexpected argument {rest[0]!r}: every value belongs to a flag")
        known = [name for option in self.options for name in option.names]
        unknown = rest[0].partition("=")[0]
        raise ConfigError(f"unknown flag {unknown}{suggestion(unknown, known)}")

    def help(self) -> str:
        """Return the help text."""
        return self._parser().format_help()

    def _parser(self) -> argparse.ArgumentParser:
        parser = _Parser(
            prog=self.prog,
            description=self.description,
            epilog=self.epilog,
            usage=self.usage,
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
        )
        if self.words:
            parser.add_argument("word", choices=self.words, metavar="|".join(self.words))
        for option in self.options:
            if option.metavar:
                parser.add_argument(
                    *option.names,
                    metavar=option.metavar,
                    help=option.help,
                    action=option.action,
                    type=as_argument(option.parse),
                )
            else:
                parser.add_argument(*option.names, help=option.help, action="store_true")
        return parser


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)
