"""Whether the tables agree: what was delivered is catalogued or set aside, and what is scored is catalogued."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cardioclarity.storage import Storage
from cardioclarity.tables import checked
from cardioclarity.tables.digests import KeySet, key_words
from cardioclarity.tables.snapshot import LiveFile
from cardioclarity.verify.findings import Damage
from cardioclarity.verify.tables import Live
from cardioclarity.vocabulary import Problem, Stage

RESULTS: Final = ("scores", "events", "beats")
"""The tables that hold what a model found, a file per segment; `scores` decides what is visible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dangling:
    """A row of `sources` that leads nowhere, so that no `convert` would ever look at its file again.

    Attributes:
        archive: The archive.
        key: The file's key in it.
        version: The version that was read.
        record_id: The record that is no longer catalogued; None where the row says that the file was set aside, and
            nothing in `quarantine` says why.
        file: The file of `sources` that holds the row.
    """

    archive: str
    key: str
    version: str
    record_id: str | None
    file: LiveFile


def dangling(root: Storage, live: Live) -> Iterator[Dangling]:
    """Find the rows of `sources` that lead nowhere; in memory are 16 bytes per record.

    Raises:
        DamageError: A file of the three tables is damaged.
        StorageError: One could not be read.
    """
    records = checked.stream(root, live["records"], ["record_id"])
    catalogued = KeySet.of(key_words("records", rows) for _, rows in records)
    aside = checked.stream(root, live["quarantine"], ["stage", "archive", "source_key", "record_id"])
    set_aside = KeySet.of(key_words("quarantine", rows) for _, rows in aside)
    for file, rows in checked.stream(root, live["sources"], ["archive", "source_key", "source_version", "record_id"]):
        by_record = catalogued.holds(key_words("records", rows.select(["record_id"])))
        keys = rows.select(["archive", "source_key", "record_id"])
        keys = keys.add_column(0, "stage", [[Stage.CONVERT.value] * rows.num_rows])
        by_key = set_aside.holds(key_words("quarantine", keys))
        for row, is_record, is_aside in zip(rows.to_pylist(), by_record, by_key, strict=True):
            if not (is_aside if row["record_id"] is None else is_record):
                yield Dangling(
                    archive=row["archive"],
                    key=row["source_key"],
                    version=row["source_version"],
                    record_id=row["record_id"],
                    file=file,
                )


def of_no_segment(live: Live) -> Iterator[LiveFile]:
    """Find the files of results whose segment is not in the catalog any more, from the logs alone."""
    segments = {file.segment_id for file in live["records"] if file.n_rows}
    for table in RESULTS:
        yield from (file for file in live[table] if file.segment_id not in segments)


def disagreements(root: Storage, live: Live, *, read_data: bool) -> Iterator[Damage]:
    """Report what the tables say of each other that is not so.

    Raises:
        DamageError: A file of `records`, `sources` or `quarantine` is damaged.
        StorageError: One could not be read.
    """
    scored = {file.key: file for file in of_no_segment(live) if file.table == "scores"}
    for file in scored.values():
        yield Damage(
            key=file.key,
            problem=Problem.INCONSISTENT,
            affects=(f"table scores of model {file.partition['model_id']}, segment {file.segment_id}, not catalogued",),
            mend=f"remove the scores with: cardioclarity verify --root {root.name} --repair",
            segment_id=file.segment_id,
            model_id=file.partition["model_id"],
            table="scores",
        )
    lost: dict[str, int] = {}
    for row in dangling(root, live) if read_data else ():
        lost[row.file.key] = lost.get(row.file.key, 0) + 1
    for key, n_rows in lost.items():
        yield Damage(
            key=key,
            problem=Problem.INCONSISTENT,
            affects=(f"table sources: {n_rows} delivered files whose record is neither catalogued nor set aside",),
            mend=f"let convert read them again with: cardioclarity verify --root {root.name} --read-data --repair,"
            f" then cardioclarity convert ARCHIVE --root {root.name}",
        )
