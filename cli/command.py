"""A command as a table of its flags, from which parser, help, documents and completion are made.

A table's flags fill the typed object beside it: a flag's long name, in small letters with
underscores between its words, is the name of its field.

Command lines are understood as Dragonfly's programs do: ``--switch=false``, and whatever follows
a flag that takes a value is its value, also if it begins with a hyphen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from ..engine.errors import ConfigError
from ..engine.expressions import expression
from ..engine.records import dataclass
from .units import as_argument
from .values import parse_switch, suggestion

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

T = TypeVar("T")
_WORD_BEGINS: Final = expression(r"(?<=[a-z0-9])(?=[A-Z])")


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

    @property
    def off(self) -> str:
        """How a switch is turned off that was turned on before."""
        return f"--{self.long}=false"

    @property
    def field(self) -> str:
        """The field of the flags that it fills: ``host_ip`` of ``hostIp``."""
        return _WORD_BEGINS.sub("_", self.long).replace("-", "_").lower()


@dataclass(frozen=True, slots=True)
class Command(Generic[T]):
    """One thing that can be done: its flags, and the type of the object that holds them.

    With ``words`` it takes one of them as well, which goes to the field ``word``.
    ``ineffective``: flags of Dragonfly that would do nothing, and why.
    """

    prog: str
    description: str
    options: tuple[Option, ...]
    flags: type[T]
    epilog: str = ""
    words: tuple[str, ...] = ()
    ineffective: Mapping[str, str] | None = None

    @property
    def word(self) -> str:
        """What names it among a program's commands."""
        return self.prog.rpartition(" ")[2]

    @property
    def usage(self) -> str:
        """How it is called."""
        word = f" {'|'.join(self.words)}" if self.words else ""
        return f"{self.prog}{word}{' [flags]' if self.options else ''}"

    def parse(self, arguments: Sequence[str]) -> T:
        """Return the flags; ``ConfigError`` if they make no sense, ``SystemExit`` for help."""
        if (flags := self._parsed(arguments)) is not None:
            return flags
        spelt = list(self._spelt(arguments))
        flags, rest = self._parser().parse_known_args(spelt, self.flags())
        if not rest:
            return flags
        if not rest[0].startswith("-"):
            raise ConfigError(f"unexpected argument {rest[0]!r}: every value belongs to a flag")
        known = [name for option in self.options for name in option.names]
        unknown = rest[0].partition("=")[0]
        if (why := (self.ineffective or {}).get(unknown)) is not None:
            raise ConfigError(f"flag {unknown} has no effect here: {why}; leave it out")
        raise ConfigError(f"unknown flag {unknown}{suggestion(unknown, known)}")

    def help(self) -> str:
        """Return the help text."""
        return self._parser().format_help()

    def _parsed(self, arguments: Iterable[str]) -> T | None:
        """Return the flags if they are plain and right: argparse takes long to import."""
        if self.words:
            return None
        flags = self.flags()
        options = {name: option for option in self.options for name in option.names}
        words = iter(arguments)
        for word in words:
            name, equals, text = word.partition("=")
            option = options.get(name)
            if option is None:
                return None
            value = text if equals else next(words, None) if option.metavar else "true"
            if value is None:
                return None
            try:
                _fill(flags, option, value)
            except (ConfigError, ValueError):
                return None
        return flags

    def _spelt(self, arguments: Iterable[str]) -> Iterator[str]:
        """Give the arguments as argparse wants them written."""
        options = {name: option for option in self.options for name in option.names}
        words = iter(arguments)
        for word in words:
            name, equals, value = word.partition("=")
            option = options.get(name)
            if option is None:
                yield word
            elif option.metavar:
                value = value if equals else next(words, None)
                yield name if value is None else f"{name}={value}"
            elif equals:
                yield f"--{option.long}" if _is_on(option, value) else option.off
            else:
                yield word

    def _parser(self) -> ArgumentParser:
        from argparse import SUPPRESS

        from .parser import Parser

        parser = Parser(
            prog=self.prog,
            description=self.description,
            epilog=self.epilog,
            usage=self.usage,
            allow_abbrev=False,
            argument_default=SUPPRESS,
        )
        if self.words:
            parser.add_argument("word", choices=self.words, metavar="|".join(self.words))
        for option in self.options:
            if option.metavar:
                parser.add_argument(
                    *option.names,
                    dest=option.field,
                    metavar=option.metavar,
                    help=option.help,
                    action=option.action,
                    type=as_argument(option.parse),
                )
            else:
                parser.add_argument(
                    *option.names, dest=option.field, help=option.help, action="store_true"
                )
                parser.add_argument(
                    option.off, dest=option.field, help=SUPPRESS, action="store_false"
                )
        return parser


def command_named(commands: Sequence[Command[Any]], words: Sequence[str]) -> Command[Any]:
    """Return the command that ``words`` begin with, without any the first: the program itself.

    Raises ``ConfigError``.
    """
    if not words:
        return commands[0]
    for command in commands[1:]:
        if command.word == words[0]:
            return command
    raise unknown_command(commands, words[0])


def unknown_command(commands: Sequence[Command[Any]], word: str) -> ConfigError:
    """Return the error to raise about a ``word`` that names none of a program's commands."""
    known = [command.word for command in commands[1:]]
    return ConfigError(f"unknown command {word!r}{suggestion(word, known)}")


def _fill(flags: object, option: Option, text: str) -> None:
    """Put the value of one option among the flags, as argparse would."""
    value: Any = option.parse(text) if option.metavar else parse_switch(text)
    if option.action != "store":
        before = getattr(flags, option.field)
        value = [*before, *value] if option.action == "extend" else [*before, value]
    setattr(flags, option.field, value)


def _is_on(option: Option, text: str) -> bool:
    try:
        return parse_switch(text)
    except ConfigError as error:
        raise ConfigError(f"argument {'/'.join(option.names)}: {error}") from None
