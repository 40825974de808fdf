"""What an outside reader sees of a root, with public libraries alone and by the reader's rule."""

import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from cardioclarity.storage import Storage

TABLES = ("sources", "quarantine", "scores", "events", "beats", "runs", "records")
KEYS: Mapping[str, tuple[str, ...]] = {
    "sources": ("archive", "source_key"),
    "quarantine": ("stage", "archive", "source_key", "record_id"),
    "scores": ("record_id", "model_id", "head"),
    "runs": ("run_id",),
    "records": ("record_id",),
}
_PATIENCE_S = 60.0  # a look takes as long as a tiny run takes to publish, so many in a row may meet a change


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Digests of what counts; two roots with equal rows are equal, whichever runs made them.

    Attributes:
        records: The catalog.
        sources: What is known of the archive.
        quarantine: What was set aside.
        results: Scores, with the events and the evidence that the reader's rule gives them.
        champion: The model that is used, and the digest of its files.
        leftovers: Runs that have rows in `events` or `beats` which no scores name, with the number of rows.
        rows: Table → the rows themselves, as text, of the catalog and of what counts.
    """

    records: str
    sources: str
    quarantine: str
    results: str
    champion: str
    leftovers: Mapping[str, int] = field(default_factory=dict, compare=False)
    rows: Mapping[str, frozenset[str]] = field(default_factory=dict, compare=False, repr=False)


def look(root: Storage) -> Seen:
    """Read a root as it is now.

    Raises:
        AssertionError: A row stands twice, or rows contradict each other: half a run is seen.
    """
    if not DeltaTable.is_deltatable(root.join("tables/records"), root.delta_options()):
        return Seen(records="0", sources="0", quarantine="0", results="0-0-0", champion=_champion(root))
    tables = _pinned(root)
    for table, key in KEYS.items():
        twice = [k for k, n in Counter(zip(*(tables[table][c].to_pylist() for c in key), strict=True)).items() if n > 1]
        assert not twice, f"{table}: {twice}"
    events, beats, leftovers = _current(tables)
    _check_counts(tables, events, beats)
    current = tables | {"events": events, "beats": beats}
    rows = {table: texts(current[table]) for table in TABLES if table != "runs"}
    return Seen(
        records=digest(rows["records"]),
        sources=digest(rows["sources"]),
        quarantine=digest(rows["quarantine"]),
        results="-".join(digest(rows[table]) for table in ("scores", "events", "beats")),
        champion=_champion(root),
        leftovers=leftovers,
        rows={table: frozenset(of_one) for table, of_one in rows.items()},
    )


def _pinned(root: Storage) -> dict[str, pa.Table]:
    """Open `scores`, then the others, then `scores` again: equal looks mean that nothing was published in between."""
    until = time.monotonic() + _PATIENCE_S
    before, after, opened = None, _open(root, "scores"), {}
    while before is None or before.version() != after.version():
        assert time.monotonic() < until, f"scores changed at every look for {_PATIENCE_S:.0f} s"
        before = after
        opened = {table: _open(root, table) for table in TABLES if table != "scores"}
        after = _open(root, "scores")
    return {table: one.to_pyarrow_table() for table, one in (*opened.items(), ("scores", after))}


def _open(root: Storage, table: str) -> DeltaTable:
    return DeltaTable(root.join(f"tables/{table}"), storage_options=root.delta_options())


def _current(tables: Mapping[str, pa.Table]) -> tuple[pa.Table, pa.Table, dict[str, int]]:
    scores = tables["scores"]
    runs = {
        "events": set(_places(scores, "run_id")),
        "beats": set(_places(scores, "evidence_run_id")),
    }
    leftovers: Counter[str] = Counter()
    kept = {}
    for table, named in runs.items():
        places = _places(tables[table], "run_id")
        kept[table] = tables[table].filter(pa.array([place in named for place in places], pa.bool_()))
        leftovers.update(place[2] for place in places if place not in named)
    return kept["events"], kept["beats"], dict(leftovers)


def _places(table: pa.Table, run: str) -> list[tuple[str, str, str]]:
    return list(zip(*(table[name].to_pylist() for name in ("segment_id", "model_id", run)), strict=True))


def _check_counts(tables: Mapping[str, pa.Table], events: pa.Table, beats: pa.Table) -> None:
    """A verdict tells how many events it has; a reader of half a run finds another number."""
    found = Counter(zip(*(events[c].to_pylist() for c in ("record_id", "model_id", "kind")), strict=True))
    scores = tables["scores"]
    told = dict(
        zip(
            zip(*(scores[c].to_pylist() for c in ("record_id", "model_id", "head")), strict=True),
            scores["n_events"].to_pylist(),
            strict=True,
        )
    )
    assert {key: n for key, n in told.items() if n} == dict(found)
    twice = [key for key, n in Counter(events["event_id"].to_pylist()).items() if n > 1]
    assert not twice, twice
    assert set(_places(beats, "run_id")) == set(_places(scores, "evidence_run_id"))
    catalogued = set(
        zip(tables["records"]["record_id"].to_pylist(), tables["records"]["segment_id"].to_pylist(), strict=True)
    )
    assert set(zip(scores["record_id"].to_pylist(), scores["segment_id"].to_pylist(), strict=True)) <= catalogued
    for run in tables["runs"].to_pylist():
        assert run["inputs"] == run["done"] + run["quarantined"] + run["already_done"], run


def texts(table: pa.Table) -> list[str]:
    """Write rows as text, sorted, without what names a run or its time."""
    names = sorted(n for n in table.schema.names if n not in {"run_id", "evidence_run_id"} and not n.endswith("_at"))
    return sorted(repr(row) for row in zip(*(table[name].to_pylist() for name in names), strict=True))


def digest(rows: list[str]) -> str:
    """Digest rows in any order."""
    return f"{len(rows)}:{hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]}" if rows else "0"


def _champion(root: Storage) -> str:
    """Follow the highest number to its model and check that model's bytes."""
    numbers = [
        one.key for one in root.list("models/champion/") if re.fullmatch(r"models/champion/\d{8}\.json", one.key)
    ]
    if not numbers:
        return ""
    entry: dict[str, Any] = json.loads(root.fetch(max(numbers)))
    check_model(root, entry["model_id"])
    return str(entry["model_id"])


def check_model(root: Storage, model_id: str) -> None:
    """Check that a model is whole: its id names its description, and that names its files."""
    description = root.fetch(f"models/{model_id}/model.json")
    assert hashlib.sha256(description).hexdigest()[:32] == model_id
    for name, sha256 in json.loads(description)["files"].items():
        assert hashlib.sha256(root.fetch(f"models/{model_id}/{name}")).hexdigest() == sha256, name


def switched_runs(root: Storage) -> set[str]:
    """Name the runs whose results have counted at some time."""
    return {
        entry["cardioclarity_run_id"] for entry in _open(root, "scores").history() if "cardioclarity_run_id" in entry
    }


def check_segments(root: Storage) -> None:
    """Follow the chain catalog → manifest → bytes for every catalogued segment."""
    records = _open(root, "records").to_pyarrow_table(columns=["segment_id", "segment_digest"]).to_pylist()
    for segment_id, sha256 in {(row["segment_id"], row["segment_digest"]) for row in records}:
        manifest = root.fetch(f"segments/{segment_id}.json")
        assert hashlib.sha256(manifest).hexdigest() == sha256, segment_id
        for key, told in json.loads(manifest)["objects"].items():
            data = root.fetch(key)
            assert [len(data), hashlib.sha256(data).hexdigest()] == told, key


def check_between(root: Storage, old: Seen, new: Seen, here: str) -> None:
    """Look as a reader who comes after a run was cut off and before it is repeated.

    Raises:
        AssertionError: Of one table he sees neither the old rows nor the new ones, or a catalogued segment or a described model is not whole.
    """
    seen = look(root)
    for name in ("records", "sources", "quarantine", "results", "champion"):
        assert getattr(seen, name) in {getattr(old, name), getattr(new, name)}, f"{here}: {name}"
    if seen.sources != old.sources:  # what `sources` remembers is never read again, so all else must stand by then
        assert (seen.records, seen.quarantine) == (new.records, new.quarantine), here
    for listed in root.list("models/"):
        if described := re.fullmatch(r"models/([0-9a-f]{32})/model\.json", listed.key):
            check_model(root, described[1])
    if seen.records != "0":
        check_segments(root)
