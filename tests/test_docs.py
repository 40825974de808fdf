"""What the documentation quotes is what the program says."""

import ast
import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
_HOLE = "…"


def said() -> str:
    """All texts of the source, with a hole where a value is put in."""
    texts = []
    for folder in ("cardioclarity", "flows"):
        for path in sorted((PROJECT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts.append(node.value)
                elif isinstance(node, ast.JoinedStr):
                    parts = (part.value if isinstance(part, ast.Constant) else _HOLE for part in node.values)
                    texts.append("".join(map(str, parts)))
    return "\n".join(texts)


def symptoms() -> list[str]:
    """The messages in the first column of every table of failure modes, without code that is typed rather than read."""
    rows = [line.split(" | ")[0] for line in (PROJECT / "docs/failure-modes.md").read_text().splitlines()]
    quoted = [text for row in rows if row.startswith("| ") for text in re.findall(r"`([^`]+)`", row)]
    return [text for text in quoted if " " in text]


SAID = said()


@pytest.mark.parametrize("symptom", symptoms())
def test_every_quoted_message_is_one_that_the_program_gives(symptom):
    parts = [part.strip() for part in re.split(r"…|\bN\b|'…'", symptom)]
    assert not [part for part in parts if len(part) > 3 and part not in SAID]
