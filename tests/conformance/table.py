"""Makes README.md from what the suite found: ``python -m tests.conformance.table``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final

from .changes import CHANGES, TOLERANCES
from .checks import CHECKS, verdicts
from .findings import counted

README: Final = Path(__file__).with_name("README.md")

_HEAD: Final = """\
# conformance: recorded exchanges with Dragonfly v1 programs, replayed

`data/` holds what real supernodes (0.4.0, 1.0.6), dfgets and peer servers (0.3.0, 0.4.0, 1.0.6)
said to each other, to curl and to a scripted supernode. The suite puts the recorded requests to our
servers over real sockets, plays the recorded answers to our dfget, and compares field by field. The
origin of the recordings is made anew and is the proxy of the process, so that URLs are the recorded
ones, and with them task ids.

| file | what |
|---|---|
| `recorded.py` | reads the recordings |
| `web.py` | servers and a client by hand |
| `origin.py`, `scripted.py` | the origin; a supernode that answers as a scenario says |
| `*_replay.py` | a kind of recording each, as `Finding`s |
| `changes.py`, `findings.py` | what differs on purpose; how a difference is explained |
| `checks.py`, `table.py` | all comparisons; this page |

A difference that nobody explains fails the suite. So does an explanation that explains nothing, and
this page if it is not what the suite found (`python -m tests.conformance.table` writes it).
"""


def page() -> str:
    """Return the text of README.md."""
    return "\n".join([_HEAD, _counts(), _changes(), _tolerances()])


def _counts() -> str:
    rows = ["| recording | what is done | compared | same | changed on purpose | pending |"]
    rows.append("|---|---|---:|---:|---:|---:|")
    total: Counter[str] = Counter()
    for check in CHECKS:
        found = verdicts(check)
        count = counted(found)
        total += count
        rows.append(f"| `{check.source}` | {check.what} | {_numbers(count)} |")
    rows.append(f"| **all** | | {_numbers(total)} |")
    text = "\n".join(rows)
    return f"## How much is the same\n\n{text}\n"


def _numbers(count: Counter[str]) -> str:
    shown = [count["same"], count["changed"], count["pending"]]
    return " | ".join([str(count.total()), *[str(number) if number else "" for number in shown]])


def _changes() -> str:
    used = Counter(
        change.key for check in CHECKS for one in verdicts(check) for change in one.changes
    )
    rows = ["| change | why | items |", "|---|---|---:|"]
    for change in CHANGES:
        state = " *(pending)*" if change.is_pending else ""
        rows.append(f"| {change.key}{state} | {change.reason} | {used[change.key]} |")
    text = "\n".join(rows)
    return f"## What is changed on purpose\n\n{text}\n"


def _tolerances() -> str:
    text = "\n".join([f"- {line};" for line in TOLERANCES[:-1]] + [f"- {TOLERANCES[-1]}."])
    return f"## What is not compared\n\n{text}\n"


if __name__ == "__main__":
    README.write_text(page())
