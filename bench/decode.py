"""S1: WFDB signals against `wfdb.rdrecord`: the same files from the page cache, in turn on one core."""

from pathlib import Path

import numpy as np
import wfdb
from numpy.typing import NDArray

from bench import mitbih
from bench.rounds import WALL, in_turn, least
from bench.rows import Row
from cardioclarity import readers
from cardioclarity.readers import wfdb_header, wfdb_signal
from cardioclarity.readers.protocol import Limits, Source


def measure(archive: Path | None = None, *, rounds: int = 9) -> list[Row]:
    """Read all records of MIT-BIH in two ways of ours and two of wfdb."""
    headers = mitbih.headers(archive or mitbih.archive())
    for header in headers:
        assert np.array_equal(_samples(header), _digital(header).d_signal.T), header.name
    seconds = in_turn(
        {"ours": _samples, "record": _record, "digital": _digital, "default": _default}, headers, rounds=rounds
    )
    total = {way: least(own) for way, own in seconds.items()}

    def row(what: str, *, ours: str, peer: str, at_least: float | None = None) -> Row:
        ratio = total[peer] / total[ours]
        return Row(
            goal="S1", what=what, unit="CPU s", ours=total[ours], peer=total[peer], ratio=ratio, at_least=at_least
        )

    ours, peer = (least(seconds[way], WALL) for way in ("ours", "digital"))
    return [
        row("samples, against rdrecord(physical=False)", ours="ours", peer="digital", at_least=5.0),
        Row(goal="S1", what="the same by the wall clock", unit="s", ours=ours, peer=peer, ratio=peer / ours),
        row("samples, against rdrecord()", ours="ours", peer="default", at_least=10.0),
        row("Record with annotations and content id, against rdrecord()", ours="record", peer="default"),
    ]


def _samples(header: Path) -> NDArray[np.int16]:
    """Do what `rdrecord` does: header, file, digital samples of all signals; checksums and missing samples as well."""
    parsed = wfdb_header.parse(header.read_bytes(), Limits())
    wanted = range(len(parsed.signals))
    groups = wfdb_signal.groups(parsed.signals, wanted)
    files = {group.file: (header.parent / group.file).read_bytes() for group in groups}
    return wfdb_signal.decode(groups, files, wanted=wanted, n_samples=parsed.n_samples).signal


def _record(header: Path) -> object:
    source = Source(format="wfdb", key=header.name, version="", size=0)
    return readers.read(source, lambda key: (header.parent / key).read_bytes())


def _digital(header: Path) -> wfdb.Record:
    return wfdb.rdrecord(mitbih.name(header), physical=False)


def _default(header: Path) -> wfdb.Record:
    return wfdb.rdrecord(mitbih.name(header))
