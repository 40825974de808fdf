"""What was delivered and what was set aside: the rows of `sources` and `quarantine`."""

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa

from cardioclarity.errors import DamageError
from cardioclarity.storage import Storage
from cardioclarity.tables import catalog, publish
from cardioclarity.tables.digests import KeySet, key_words
from cardioclarity.vocabulary import Reason, Stage
from cardioclarity.work import Quarantined


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What became of one source.

    Attributes:
        key: Its key in the archive.
        version: Its version in the listing.
        digest: SHA-256 of the bytes that were read; None where nobody read them.
        record_id: The record that came of it.
        reason: Why it was set aside.
    """

    key: str
    version: str
    digest: str | None
    record_id: str | None
    reason: Reason | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where rows come from.

    Attributes:
        archive: URL of the archive; None where records of the catalog are the inputs.
        run_id: The run.
        unit_id: The unit.
        seen_at: Start of the run.
    """

    archive: str | None
    run_id: str
    unit_id: str
    seen_at: dt.datetime


def input_name(*, version: str, key: str) -> str:
    """Name a source as the input of a unit, so that its receipt alone tells which version of which key it was."""
    return f"{version}:{key}"


def unread(quarantined: Quarantined) -> Delivery:
    """Rebuild the delivery of a source whose unit died before it could say what it had read."""
    version, _, key = quarantined.input.partition(":")
    return Delivery(key=key, version=version, digest=None, record_id=None, reason=quarantined.reason)


def stage_sources(root: Storage, deliveries: Sequence[Delivery], origin: Origin) -> publish.Staged:
    """Stage one row of `sources` per delivery."""
    columns = {
        "archive": origin.archive,
        "source_key": [row.key for row in deliveries],
        "source_version": [row.version for row in deliveries],
        "source_digest": [row.digest for row in deliveries],
        "record_id": [row.record_id for row in deliveries],
        "reason": [row.reason for row in deliveries],
        "run_id": origin.run_id,
        "seen_at": origin.seen_at,
    }
    return publish.stage(root, "sources", columns, run_id=origin.run_id, unit_id=origin.unit_id)


def stage_quarantine(root: Storage, quarantined: Sequence[Quarantined], origin: Origin) -> publish.Staged:
    """Stage one row of `quarantine` per input that was set aside: a source of the archive, or a catalogued record."""
    sources = [unread(row) if row.stage == Stage.CONVERT else None for row in quarantined]
    columns = {
        "stage": [row.stage for row in quarantined],
        "archive": origin.archive,
        "source_key": [source and source.key for source in sources],
        "source_version": [source and source.version for source in sources],
        "record_id": [row.input if row.stage != Stage.CONVERT else row.record_id for row in quarantined],
        "reason": [row.reason for row in quarantined],
        "message": [row.message for row in quarantined],
        "run_id": origin.run_id,
        "seen_at": origin.seen_at,
    }
    return publish.stage(root, "quarantine", columns, run_id=origin.run_id, unit_id=origin.unit_id)


def mended_sources(root: Storage, archive: str) -> list[tuple[object, ...]]:
    """List the keys of quarantine whose source of this archive has been read since.

    In memory are 16 bytes per source that was set aside, a few files, and the answer.

    Raises:
        DamageError: A file of `quarantine` or `sources` is damaged.
        StorageError: One could not be read.
    """
    named = ["archive", "source_key"]
    set_aside = KeySet.of(
        key_words("sources", rows)
        for rows in catalog.batches(root, "quarantine", named, stage=Stage.CONVERT, archive=archive)
    )
    read = catalog.batches(root, "sources", named, archive=archive, reason=None) if len(set_aside) else ()
    keys = (rows.filter(pa.array(set_aside.holds(key_words("sources", rows))))["source_key"] for rows in read)
    return [(Stage.CONVERT.value, archive, key, None) for part in keys for key in part.to_pylist()]


def mended_records(root: Storage, segment_ids: Collection[str], *, stage: Stage) -> list[tuple[object, ...]]:
    """List the keys of quarantine whose record stands in one of these segments, which this stage has read since.

    In memory are 16 bytes per record that was set aside, a few files, and the answer.

    Raises:
        DamageError: A file of `quarantine` or `records` is damaged.
        StorageError: One could not be read.
    """
    named = ["record_id"]
    set_aside = KeySet.of(
        key_words("records", rows) for rows in catalog.batches(root, "quarantine", named, stage=stage, source_key=None)
    )
    read = catalog.batches(root, "records", named, segment_ids=segment_ids) if len(set_aside) else ()
    ids = (rows.filter(pa.array(set_aside.holds(key_words("records", rows))))["record_id"] for rows in read)
    return [(stage.value, None, None, record_id) for part in ids for record_id in part.to_pylist()]


def damaged(record_ids: Sequence[str], *, stage: Stage, error: DamageError) -> tuple[Quarantined, ...]:
    """Set aside the records of a segment whose bytes are not those that were written: none of them is used."""
    return tuple(
        Quarantined(input=record_id, stage=stage, reason=Reason.DAMAGED, message=str(error)) for record_id in record_ids
    )
