"""The names of the objects in the log of a table, as the Delta protocol and delta-rs give them."""

import re
from typing import Final

COMMIT: Final = re.compile(r"(\d{20})\.json")
CHECKPOINT: Final = re.compile(r"(\d{20})\.checkpoint(?:\.[\d.]+)?\.parquet")
ENTRY: Final = re.compile(rf"{COMMIT.pattern}|{CHECKPOINT.pattern}")
"""What a reader looks at; one of its two groups holds the version."""

HINT: Final = "_last_checkpoint"

HALF_WRITTEN: Final = re.compile(
    r"_commit_[0-9a-f-]+\.json\.tmp(?:#\d+)?"
    rf"|(?:\d{{20}}\.(?:json|checkpoint(?:\.[\d.]+)?\.parquet)|{HINT})#\d+"
)
"""What a killed process leaves in a folder: delta-rs writes under such a name first and then gives the right one."""


def name_of(key: str) -> str:
    """Give the name at the end of an object's key."""
    return key.rpartition("/")[2]


def version_of(key: str) -> int | None:
    """Read off the key of a commit or a checkpoint its version; None of any other object."""
    found = ENTRY.fullmatch(name_of(key))
    return int(found[1] or found[2]) if found else None


def is_commit(key: str) -> bool:
    """Tell whether a key is that of a commit."""
    return COMMIT.fullmatch(name_of(key)) is not None


def is_checkpoint(key: str) -> bool:
    """Tell whether a key is that of a checkpoint."""
    return CHECKPOINT.fullmatch(name_of(key)) is not None
