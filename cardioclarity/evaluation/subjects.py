"""The records of a protocol, found in one or several archives and read by the product's own readers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from cardioclarity import readers
from cardioclarity.errors import DataError, NotFoundError
from cardioclarity.evaluation.protocol import Protocol
from cardioclarity.readers import wfdb_header
from cardioclarity.readers.archive import Census, group
from cardioclarity.readers.protocol import Limits, Source
from cardioclarity.record import Record
from cardioclarity.storage import Storage

_SHOWN = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One record of a protocol.

    Attributes:
        name: As the protocol has it: the name of its header without folder and suffix.
        patient: Whose it is.
        source: Where its files lie.
        archive: In which archive.
    """

    name: str
    patient: str
    source: Source
    archive: Storage = field(repr=False)

    def read(self) -> Record:
        """Read the record.

        Raises:
            NotFoundError: Its files cannot be read: no figure is given for less than the protocol names.
            StorageError: The store did not answer.
        """
        try:
            return readers.read(self.source, self.archive.fetch_checked)
        except DataError as error:
            raise NotFoundError(f"{self.archive.name}: record {self.name} cannot be read: {error}") from error

    def channels(self, record: Record) -> list[int]:
        """Give the row of the record that holds each channel, in the order of the file; leads that are no ECG have none."""
        if self.source.format != "wfdb":
            return list(range(len(record.leads)))
        header = wfdb_header.parse(self.archive.fetch_checked(self.source.key), Limits())
        stored = [spec.description for spec in header.signals]
        rows = list(range(len(record.leads)))
        return [row for description in stored if (row := _take(rows, record, description)) is not None]


def _take(rows: list[int], record: Record, description: str) -> int | None:
    """Take the first row of a name that is left."""
    for row in rows:
        if record.source_leads[row] == description:
            rows.remove(row)
            return row
    return None


def gather(protocol: Protocol, archives: Sequence[Storage]) -> dict[str, Subject]:
    """Find the records of a protocol.

    Args:
        protocol: Names the records, or takes all that are there.
        archives: Where to look.

    Returns:
        Name → subject, in the order of the protocol, else by name.

    Raises:
        NotFoundError: An archive does not exist or holds no ECG, or records are missing; the message names them.
    """
    found = dict(_found(archives))
    wanted = protocol.wanted() or tuple(sorted(found))
    wanted = tuple(name for name in wanted if name not in protocol.exclude)
    where = " and ".join(archive.name for archive in archives)
    if missing := [name for name in wanted if name not in found]:
        shown = ", ".join(missing[:_SHOWN]) + (f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else "")
        raise NotFoundError(
            f"{where}: {len(missing)} of the {len(wanted)} records of protocol {protocol.name} are missing: {shown}; nothing was "
            "measured, since figures of a part are not comparable"
        )
    if doubled := [name for name in wanted if len(found[name]) > 1]:
        places = ", ".join(f"{archive.name} {source.key}" for archive, source in found[doubled[0]])
        raise NotFoundError(
            f"{where}: {len(doubled)} records stand there more than once, such as {doubled[0]}: {places}; name the folder "
            "that holds the database"
        )
    return {
        name: Subject(name=name, patient=protocol.patient(name), source=source, archive=archive)
        for name in wanted
        for archive, source in found[name]
    }


def _found(archives: Sequence[Storage]) -> Iterator[tuple[str, list[tuple[Storage, Source]]]]:
    """Give the records of all archives by name."""
    by_name: dict[str, list[tuple[Storage, Source]]] = {}
    for archive in archives:
        for source in sources_of(archive):
            by_name.setdefault(PurePosixPath(source.key).stem, []).append((archive, source))
    yield from by_name.items()


def sources_of(archive: Storage) -> list[Source]:
    """Find the records of an archive; an archive may hold other files, but not nothing.

    Raises:
        NotFoundError: It does not exist, or is empty.
    """
    if not archive.exists():
        raise NotFoundError(
            f"archive {archive.name} does not exist, or is no folder and no zip or tar file; give the folder or URL that"
            " holds the database"
        )
    census = Census()
    sources = list(group(archive.list(), census))
    if not sources and not census.ignored:
        raise NotFoundError(f"archive {archive.name} is empty; give the folder or URL that holds the database")
    return sources


def locate(archives: Sequence[Storage], fits: Callable[[str], bool]) -> list[tuple[Storage, str]]:
    """Find the objects of all archives whose name, without the folder, fits: archive and key of each."""
    return [
        (archive, listed.key)
        for archive in archives
        for listed in archive.list()
        if fits(PurePosixPath(listed.key).name)
    ]
