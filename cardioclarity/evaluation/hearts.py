"""More normal hearts: records of other archives that every fit of a protocol learns from too, and none of which is tested."""

import logging
from collections.abc import Collection, Iterator, Sequence

from cardioclarity import readers
from cardioclarity.cohort import Candidate, with_normals
from cardioclarity.errors import DataError, NotFoundError
from cardioclarity.evaluation.fits import candidate
from cardioclarity.evaluation.subjects import sources_of
from cardioclarity.examples import Recipe, prepare
from cardioclarity.record import Record
from cardioclarity.storage import Storage

log = logging.getLogger(__name__)


def gather(archives: Sequence[Storage], recipe: Recipe, *, tested: Collection[str]) -> list[Candidate]:
    """Prepare the records that hold beats known to be normal, by the rule of `train`.

    Whose they are is taken from their files; a record that does not say it counts as a patient of its own.

    Args:
        archives: Where they lie.
        recipe: How to prepare them.
        tested: Ids of the records of the protocol: a copy of one of them would be on both sides.

    Returns:
        The records, in the order of their keys.

    Raises:
        NotFoundError: An archive does not exist or holds no ECG, none of the records has a normal beat, or one is a copy of a
            record of the protocol.
        StorageError: A store did not answer.
    """
    found = list(_prepared(archives, recipe, tested))
    if not (normal := with_normals(found)):
        raise NotFoundError(
            f"{' and '.join(archive.name for archive in archives)}: none of the {len(found)} records says which of its beats "
            "are normal (reference annotations or a sinus rhythm code); leave the archive out of --also"
        )
    return normal


def _prepared(archives: Sequence[Storage], recipe: Recipe, tested: Collection[str]) -> Iterator[Candidate]:
    seen: set[str] = set()
    for archive, record, key in _read(archives):
        if record.record_id in seen:
            log.warning("%s: %s is a copy of an earlier record and is passed over", archive.name, key)
            continue
        seen.add(record.record_id)
        if record.record_id in tested:
            raise NotFoundError(
                f"{archive.name}: {key} is a copy of a record of the protocol, which would be fitted and tested; leave the "
                "archive out of --also"
            )
        yield candidate(record.patient.patient_id or f"{archive.name}/{key}", record, prepare(record, recipe))


def _read(archives: Sequence[Storage]) -> Iterator[tuple[Storage, Record, str]]:
    """Read what can be read; of the others the log tells."""
    for archive in archives:
        for source in sources_of(archive):
            try:
                yield archive, readers.read(source, archive.fetch_checked), source.key
            except DataError as error:
                log.warning("%s: %s cannot be read and teaches nothing: %s", archive.name, source.key, error)
