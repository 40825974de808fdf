"""What was delivered and what was set aside: the rows of `sources` and `quarantine`."""

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cardioclarity.errors import DamageError
from cardioclarity.storage import Storage
from cardioclarity.tables import catalog, publish
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
    """List the keys of quarantine whose source of this archive has been read since."""
    set_aside = {
        row["source_key"]
        for row in catalog.quarantine(root)
        if (row["stage"], row["archive"]) == (Stage.CONVERT, archive)
    }
    read = {row.key for row in catalog.sources(root, archive) if row.reason is None} if set_aside else set()
    return [(Stage.CONVERT.value, archive, key, None) for key in sorted(set_aside & read)]


def mended_records(root: Storage, segment_ids: Collection[str], *, stage: Stage) -> list[tuple[object, ...]]:
    """List the keys of quarantine whose record stands in one of these segments, which this stage has read since."""
    set_aside = {row["record_id"] for row in catalog.quarantine(root) if row["stage"] == stage}
    read = {record.record_id for record in catalog.records(root, segment_ids=segment_ids)} if set_aside else set()
    return [(stage.value, None, None, record_id) for record_id in sorted(set_aside & read)]


def damaged(record_ids: Sequence[str], *, stage: Stage, error: DamageError) -> tuple[Quarantined, ...]:
    """Set aside the records of a segment whose bytes are not those that were written: none of them is used."""
    return tuple(
        Quarantined(input=record_id, stage=stage, reason=Reason.DAMAGED, message=str(error)) for record_id in record_ids
    )
