"""The drawings in engine/README.md, made from the tables.  ``python -m tests.diagrams`` redraws."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Final, TypeAlias

from damselfly.engine import cdn, download, served

Table: TypeAlias = Mapping[Any, Mapping[Any, Enum]]
README: Final = Path(__file__).parent.parent / "engine" / "README.md"
TABLES: Final[Mapping[str, Table]] = {
    "download": download.LIFE,
    "cdn": cdn.LIFE,
    "served": served.LIFE,
}
_DRAWING: Final = re.compile(r"(<!-- (\w+): drawn -->\n).*?(<!-- end -->)", re.DOTALL)


def draw(table: Table) -> str:
    """Return a state machine as a Mermaid diagram; the table's first row is the start."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {next(iter(table)).name}"]
    for state, row in table.items():
        lines += [f"    {state.name} --> {after.name}: {why.name}" for why, after in row.items()]
        lines += [] if row else [f"    {state.name} --> [*]"]
    return "\n".join([*lines, "```"])


def redrawn(text: str) -> str:
    """Return a README with every drawing made anew."""
    return _DRAWING.sub(lambda m: f"{m[1]}{draw(TABLES[m[2]])}\n{m[3]}", text)


if __name__ == "__main__":
    README.write_text(redrawn(README.read_text()))
