from __future__ import annotations

import errno
import signal

import pytest
import trio
import trio.lowlevel

from damselfly.cli.interrupt import until_signal
from damselfly.cli.status import ExitError, ExitStatus, Stopped, run_program
from damselfly.engine.errors import ConfigError, DamselflyError


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ConfigError("size 'x': expected 1"), 1, "size 'x': expected 1; see --help"),
        (DamselflyError("it broke"), 1, "it broke"),
        (ExitError("no", ExitStatus.NEED_AUTH), 79, "no"),
        (Stopped(signal.SIGTERM), 143, "stopped by SIGTERM"),
        (KeyboardInterrupt(), 130, "stopped by SIGINT"),
        (OSError(errno.ENOENT, "No such file", "/x"), 1, "No such file: /x"),
        (OSError("odd"), 1, "odd"),
        (ExceptionGroup("", [ExceptionGroup("", [DamselflyError("deep")])]), 1, "deep"),
        (
            BaseExceptionGroup("", [ConfigError("a"), KeyboardInterrupt()]),
            130,
            "stopped by SIGINT",
        ),
        (
            KeyError("k"),
            2,
            "internal error: KeyError: 'k'; run again with --verbose and report what it prints",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_exception_becomes_a_line_and_a_status(
    error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> ExitStatus:
        raise error

    assert run_program("prog", fail, verbose=False) == status
    assert capsys.readouterr() == ("", f"prog: {line}\n")


def test_success_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program("prog", lambda: ExitStatus.SUCCESS, verbose=True) == 0
    assert capsys.readouterr() == ("", "")


def test_work_ends_what_runs_beside_it() -> None:
    async def work() -> str:
        await trio.lowlevel.checkpoint()
        return "done"

    assert trio.run(until_signal, work, trio.sleep_forever) == "done"


def test_errors_of_the_work_come_as_they_are() -> None:
    async def work() -> None:
        raise DamselflyError("oh")

    with pytest.raises(DamselflyError, match="oh"):
        trio.run(until_signal, work, trio.sleep_forever)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_work_in_an_orderly_way(number: signal.Signals) -> None:
    left: list[str] = []

    async def work() -> None:
        signal.raise_signal(number)
        try:
            await trio.sleep_forever()
        finally:
            left.append("cleaned up")

    with pytest.raises(Stopped, match=number.name):
        trio.run(until_signal, work)
    assert left == ["cleaned up"]
