"""convert: archive files → segments and catalog; only what is new."""

import datetime as dt
import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice

from cardioclarity import patients, readers
from cardioclarity.config import ConvertConfig, StorageOptions
from cardioclarity.errors import DataError, NotFoundError, UsageError
from cardioclarity.ledger import Known, Ledger
from cardioclarity.readers.archive import Census, group
from cardioclarity.readers.protocol import Fetch, Limits, Listed, Source
from cardioclarity.record import Record
from cardioclarity.segments.freeing import require_whole
from cardioclarity.segments.layout import SegmentRef
from cardioclarity.segments.layout import group as group_records
from cardioclarity.segments.write import write as write_segment
from cardioclarity.storage import Storage, open_storage
from cardioclarity.tables import catalog, deliveries, publish, runs
from cardioclarity.tables.deliveries import Delivery, Origin
from cardioclarity.vocabulary import Stage
from cardioclarity.work import Plan, Quarantined, Receipt, RunState, Summary, Verb, new_run_id

log = logging.getLogger(__name__)

UNIT_RECORDS = 1024
UNIT_BYTES = 64 << 20
"""One unit holds its records in memory: 64 MB of format 212 are 90 MB of samples, a segment of the wanted size."""

_FETCHES_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertUnit:
    """A slice of the listing.

    Attributes:
        id: Hash of the slice's keys and versions.
        archive: URL of the archive.
        archive_storage: How to reach it.
        root: URL of the root.
        root_storage: How to reach it.
        run_id: The run.
        started_at: Its start.
        sources: The records to read.
        patients: Pseudonym of the patient per source where a patients file names one; empty without. No raw id travels.
        stage: Where a unit that dies is filed.
    """

    id: str
    archive: str
    archive_storage: StorageOptions
    root: str
    root_storage: StorageOptions
    run_id: str
    started_at: dt.datetime
    sources: tuple[Source, ...] = field(repr=False)
    patients: tuple[str, ...] = field(default=(), repr=False)
    stage: Stage = Stage.CONVERT

    @property
    def inputs(self) -> tuple[str, ...]:
        """``version:key`` of each source."""
        return tuple(deliveries.input_name(version=source.version, key=source.key) for source in self.sources)


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What a unit staged: one file of catalog rows per segment, and the rows about its sources.

    Attributes:
        records: Rows of the catalog, a file per segment.
        segments: Segment and its stored bytes, in the order of `records`.
        sources: What became of each source.
        quarantine: What was set aside, if anything was.
    """

    records: tuple[publish.Staged, ...]
    segments: tuple[tuple[str, int], ...]
    sources: publish.Staged
    quarantine: publish.Staged | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Units:
    """The units of a plan, made one by one from the ledger as they are asked for."""

    blank: ConvertUnit
    ledger: Ledger = field(repr=False)

    def __iter__(self) -> Iterator[ConvertUnit]:
        is_told = self.ledger.n_named() > 0
        for pairs in self.ledger.units():
            sources = tuple(source for source, _ in pairs)
            identity = hashlib.sha256("\n".join(f"{source.key}\t{source.version}" for source in sources).encode())
            named = tuple(patient for _, patient in pairs) if is_told else ()
            yield replace(self.blank, id=identity.hexdigest()[:16], sources=sources, patients=named)


def plan(config: ConvertConfig) -> Plan[ConvertUnit]:
    """List the archive and keep what the table `sources` does not know in this version.

    Raises:
        NotFoundError: There is no such archive, or it holds no record of a known format.
        StorageError: A store did not answer, or the temporary folder is full.
    """
    archive = open_storage(config.archive, config.archive_storage)
    if not archive.exists():
        raise NotFoundError(
            f"archive {archive.name} does not exist, or is no folder and no zip or tar file; give the folder or URL that"
            " holds the ECG files"
        )
    root = open_storage(config.root, config.root_storage)
    if f"{root.url}/".startswith(f"{archive.url}/"):
        raise UsageError(
            f"root {root.name} lies in the archive {archive.name}, which would then list what is written; give another --root"
        )
    return plan_listing(config, archive.list())


def plan_listing(config: ConvertConfig, listing: Iterable[Listed]) -> Plan[ConvertUnit]:
    """Plan as `plan` does, from a listing at hand: two sorted streams and a ledger, whatever their length.

    Args:
        config: The settings.
        listing: Objects of the archive, sorted by key in UTF-8 byte order.
    """
    archive, root = open_storage(config.archive, config.archive_storage), open_storage(config.root, config.root_storage)
    census = Census()
    listed = group(listing, census)
    first = next(listed, None)
    if first is None:
        raise NotFoundError(f"archive {archive.name} holds no ECG record of a known format ({census}); formats: WFDB")
    ledger = Ledger()
    ledger.name(patients.read(config.patients, config.archive_storage) if config.patients else ())
    publish.create_tables(root)
    rows = catalog.known_sources(root, archive.url)
    ledger.know(Known(row.key, row.version, row.reason is not None) for row in rows)
    new = ledger.unseen(chain([first], listed), again=config.retry_quarantined)
    n_units = 0
    for n_units, part in enumerate(_slices(islice(new, config.max_records)), start=1):
        ledger.add(n_units, part)
    for _ in new:  # beyond the batch, what is known still counts
        pass
    if census.ignored:
        log.info("archive %s: left aside, part of no record: %s", archive.name, census)
    if n_units and (n_named := ledger.n_named()) and not ledger.n_new_named():
        log.warning(
            "none of the %d patients in the file belongs to a new record: source_key is the header's key in the archive, "
            "such as 100.hea, and a record that is converted already keeps its patient",
            n_named,
        )
    run_id, started_at = new_run_id(), dt.datetime.now(dt.UTC)
    blank = ConvertUnit(
        id="",
        archive=archive.url,
        archive_storage=config.archive_storage,
        root=root.url,
        root_storage=config.root_storage,
        run_id=run_id,
        started_at=started_at,
        sources=(),
    )
    return Plan(
        run_id=run_id,
        started_at=started_at,
        already_done=ledger.n_known,
        units=_Units(blank=blank, ledger=ledger),
        expected_units=n_units,
    )


def _slices(sources: Iterable[Source]) -> Iterator[tuple[Source, ...]]:
    part: list[Source] = []
    n_bytes = 0
    for source in sources:
        if part and (len(part) == UNIT_RECORDS or n_bytes + source.size > UNIT_BYTES):
            yield tuple(part)
            part, n_bytes = [], 0
        part.append(source)
        n_bytes += source.size
    if part:
        yield tuple(part)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """One source after the attempt to read it: what it became, or why it is set aside."""

    source: Source
    digest: str
    record: Record | None = None
    error: DataError | None = None

    def delivery(self) -> Delivery:
        return Delivery(
            key=self.source.key,
            version=self.source.version,
            digest=self.digest,
            record_id=None if self.record is None else self.record.record_id,
            reason=None if self.error is None else self.error.reason,
        )

    def quarantined(self) -> Quarantined | None:
        if self.error is None:
            return None
        name = deliveries.input_name(version=self.source.version, key=self.source.key)
        return Quarantined(input=name, stage=Stage.CONVERT, reason=self.error.reason, message=str(self.error))


def run(unit: ConvertUnit) -> Receipt[Converted]:
    """Read each source, write the segments of the unit and stage its rows; bad data becomes quarantine rows."""
    archive = open_storage(unit.archive, unit.archive_storage)
    root = open_storage(unit.root, unit.root_storage)
    attempts = _attempts(archive, unit)
    records = {item.record.record_id: item.record for item in reversed(attempts) if item.record is not None}
    segments = [(part, write_segment(part, root)) for part in group_records(records.values())]
    staged = [_stage_segment(root, unit, part, ref) for part, ref in segments]
    quarantined = tuple(row for item in attempts if (row := item.quarantined()))
    log.info("unit %s: %d records in %d segments, %d set aside", unit.id, len(records), len(staged), len(quarantined))
    origin = Origin(archive=unit.archive, run_id=unit.run_id, unit_id=unit.id, seen_at=unit.started_at)
    return Receipt(
        unit_id=unit.id,
        done=len(attempts) - len(quarantined),
        quarantined=quarantined,
        output=Converted(
            records=tuple(staged),
            segments=tuple((ref.segment_id, ref.n_bytes) for _, ref in segments),
            sources=deliveries.stage_sources(root, [item.delivery() for item in attempts], origin),
            quarantine=deliveries.stage_quarantine(root, quarantined, origin) if quarantined else None,
        ),
    )


def _attempts(archive: Storage, unit: ConvertUnit) -> list[_Read]:
    """Read the sources in their order; many at once where each fetch is a round trip over a network."""
    named = unit.patients or ("",) * len(unit.sources)
    if "://" not in archive.url:
        return [_attempt(archive.fetch_checked, *pair) for pair in zip(unit.sources, named, strict=True)]
    with ThreadPoolExecutor(_FETCHES_AT_ONCE) as pool:
        return list(pool.map(partial(_attempt, archive.fetch_checked), unit.sources, named))


def _attempt(fetch: Fetch, source: Source, patient: str) -> _Read:
    digest = hashlib.sha256()

    def hashed(key: str) -> bytes:
        data = fetch(key)
        digest.update(data)
        return data

    try:
        record = readers.read(source, hashed, Limits())
    except DataError as error:
        return _Read(source=source, digest=digest.hexdigest(), error=error)
    if patient:
        record = replace(record, patient=replace(record.patient, patient_id=patient))
    return _Read(source=source, digest=digest.hexdigest(), record=record)


def _stage_segment(root: Storage, unit: ConvertUnit, records: Sequence[Record], ref: SegmentRef) -> publish.Staged:
    """Stage the catalog rows of one segment."""
    rows = {
        "record_id": [record.record_id for record in records],
        "patient_id": [record.patient.patient_id for record in records],
        "segment_digest": ref.digest,
        "leads": [record.leads for record in records],
        "source_leads": [record.source_leads for record in records],
        "rate_hz": [record.rate_hz for record in records],
        "n_samples": [record.n_samples for record in records],
        "duration_s": [record.duration_s for record in records],
        "age": [record.patient.age for record in records],
        "sex": [record.patient.sex for record in records],
        "device": [record.patient.device for record in records],
        "diagnosis_codes": [record.patient.diagnosis_codes for record in records],
        "notes": [record.notes for record in records],
        "converted_at": unit.started_at,
        "run_id": unit.run_id,
    }
    partition = {"segment_id": ref.segment_id}
    return publish.stage(root, "records", rows, run_id=unit.run_id, unit_id=unit.id, partition=partition)


def finish(config: ConvertConfig, plan: Plan[ConvertUnit], receipts: Iterator[Receipt[Converted]]) -> Summary:
    """Publish: records, quarantine and sources in this order, a commit each, then the line in `runs`.

    Raises:
        StorageError: A segment of this run is not whole any more; nothing was published, the same command writes it anew.
    """
    archive, root = open_storage(config.archive, config.archive_storage), open_storage(config.root, config.root_storage)
    records: list[publish.Staged] = []
    segments: dict[str, int] = {}
    sources: list[publish.Staged] = []
    quarantine: list[publish.Staged] = []
    done = set_aside = 0
    for receipt in receipts:
        done, set_aside = done + receipt.done, set_aside + len(receipt.quarantined)
        output = receipt.output or _after_death(root, archive, plan, receipt)
        records.extend(output.records)
        segments.update(output.segments)
        sources.append(output.sources)
        quarantine.extend([output.quarantine] if output.quarantine else [])
    if sources:
        # Objects of an earlier run that never published are found "already there" by this one, and `gc` is free to delete
        # them until it sees the rows staged beside them. So they are looked for after staging, and before the commit: what
        # the catalog names is there.
        require_whole(root, segments)
        publish.add_new(root, records, run_id=plan.run_id)
        # What is set aside stands in quarantine before `sources` remembers it: a run that dies between is repeated whole.
        publish.upsert(root, "quarantine", quarantine, run_id=plan.run_id)
        publish.upsert(root, "sources", sources, run_id=plan.run_id)
        mended = deliveries.mended_sources(root, archive.url)
        publish.upsert(root, "quarantine", [], run_id=f"{plan.run_id}-mended", gone=mended)
    summary = Summary(
        verb=CONVERT.name,
        run_id=plan.run_id,
        state=RunState.COMPLETED if sources else RunState.NOTHING_NEW,
        done=done,
        quarantined=set_aside,
        already_done=plan.already_done,
    )
    spelled = replace(config, archive=archive.url)  # one archive has many spellings, and is one archive in `runs`
    runs.log_run(root, spelled, plan, summary, staged=[*records, *sources, *quarantine])
    return summary


def _after_death(root: Storage, archive: Storage, plan: Plan[ConvertUnit], receipt: Receipt[Converted]) -> Converted:
    """Stage the rows of a unit that killed its worker: all its sources are set aside, and not tried every night."""
    origin = Origin(archive=archive.url, run_id=plan.run_id, unit_id=receipt.unit_id, seen_at=plan.started_at)
    unread = [deliveries.unread(row) for row in receipt.quarantined]
    return Converted(
        records=(),
        segments=(),
        sources=deliveries.stage_sources(root, unread, origin),
        quarantine=deliveries.stage_quarantine(root, receipt.quarantined, origin),
    )


CONVERT = Verb(name="convert", plan=plan, run=run, finish=finish)
