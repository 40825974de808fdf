"""A root that was used, what killed runs leave in it, time that passes over it, and gc as a test calls it."""

import datetime as dt
import os
import re
from pathlib import Path
from typing import Any

import table_rows
from faults import state
from faults.road import Road, copy

from cardioclarity.garbage import Freed, GcConfig, collect
from cardioclarity.storage import Storage, open_storage
from cardioclarity.tables import lineage, snapshot
from cardioclarity.tables.schemas import SCHEMAS
from cardioclarity.waste import Amount

DAY_S = 86_400.0
MODEL = "0" * 32
SEGMENT = "f" * 32


def pass_time(root: Path | str, days: float, *, only: str = "") -> None:
    """Make all objects of a folder older, or those whose key matches."""
    for path in Path(root).rglob("*"):
        if path.is_file() and re.search(only, str(path.relative_to(root))):
            found = path.stat()
            os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns - round(days * DAY_S * 1e9)))


def leave_all(root: Storage) -> dict[str, list[str]]:
    """Leave what runs can leave behind when they are killed; class of gc → the keys."""
    left = {
        "probes": [".doctor/1b2c", ".gc/5f5f.json"],
        "training": ["models/staged-20260101T020000-0a0b0c0d-ab.npz"],
        "models": [f"models/{MODEL}/{name}" for name in ("CARD.md", "weights.safetensors")],
        "segments": [f"segments/{SEGMENT}.zarr/{name}" for name in ("zarr.json", "signal/zarr.json", "signal/c/0/0/0")]
        + [f"segments/{SEGMENT}.json"],
    }
    for keys in left.values():
        for key in keys:
            root.replace(key, b"[]")
    staged = (
        table_rows.stage(root, "records", table_rows.of_records(["a"]), run_id="killed", segment_id=SEGMENT),
        table_rows.stage(
            root, "events", table_rows.of_events(["e"]), run_id="killed", model_id=MODEL, segment_id=SEGMENT
        ),
        table_rows.stage(root, "sources", table_rows.of_sources(["a"]), run_id="killed"),
    )
    return left | {"files": [file.key for file in staged]}


def sizes(root: Storage) -> dict[str, int]:
    return {listed.key: listed.size for listed in root.list()}


def check(root: Storage) -> state.Seen:
    """Read all that counts, bytes included; what runs have vouched for is there unless newer objects stand in for it."""
    state.check_segments(root)
    seen = state.look(root)
    told = lineage.vouched(root)
    assert told.problems == {}
    assert told.missing(sizes(root)) == []
    return seen


def used(road: Road, folder: Path) -> Storage:
    """Copy the root of a road."""
    return open_storage(str(copy(road.root, folder / "root")))


def replaced(root: Storage) -> set[str]:
    """Files of tables that a snapshot named once."""
    live = {file.key for table in SCHEMAS for file in snapshot.live_files(snapshot.open_table(root, table))}
    return {key for key in sizes(root) if key.endswith(".parquet") and key.startswith("tables/")} - live


def gc(root: Storage, **settings: Any) -> Freed:
    return collect(GcConfig(root=root.url, **settings))


def at_once(root: Storage, **settings: Any) -> Freed:
    return gc(root, older_than=dt.timedelta(0), force=True, **settings)


def of_classes(freed: Freed) -> dict[str, Amount]:
    """The classes of which something was freed."""
    return {kind: amount for kind, amount in freed.classes.items() if amount.objects}
