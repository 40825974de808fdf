"""WFDB signals against `wfdb.rdrecord`: the same files from the page cache, in turn on one core (S1)."""

import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import wfdb
from numpy.typing import NDArray

from cardioclarity import readers
from cardioclarity.readers import wfdb_header, wfdb_signal
from cardioclarity.readers.protocol import Limits, Source

ROUNDS = 9
PEER = "wfdb.rdrecord(physical=False)"


def measure(archive: Path | None = None, *, rounds: int = ROUNDS) -> list[dict[str, str | float]]:
    """Read all records of MIT-BIH in two ways of ours and two of wfdb; in each round each way reads record after record.

    CPU seconds of this process, so that a busy machine does not count against whoever takes longer.

    Returns:
        One row per way: `way`, `min_s` and `median_s`, the sums over the records of each record's minimum and median
        over the rounds; `times_faster_min` and `times_faster_median`, the ratio of wfdb's digital samples to it.
    """
    headers = sorted((archive or _archive()).glob("*.hea"))
    for header in headers:
        assert np.array_equal(_samples(header), wfdb.rdrecord(_name(header), physical=False).d_signal.T), header.name
    ways: dict[str, Callable[[Path], object]] = {
        PEER: lambda header: wfdb.rdrecord(_name(header), physical=False),
        "wfdb.rdrecord()": lambda header: wfdb.rdrecord(_name(header)),
        "ours, header and samples": _samples,
        "ours, Record with annotations and content id": _record,
    }
    seconds: dict[str, list[list[float]]] = {way: [] for way in ways}
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        for _ in range(rounds):
            for way, read in ways.items():
                seconds[way].append([_seconds(read, header) for header in headers])
    finally:
        os.sched_setaffinity(0, cores)
    least = {way: sum(map(min, zip(*own, strict=True))) for way, own in seconds.items()}
    middle = {way: sum(map(statistics.median, zip(*own, strict=True))) for way, own in seconds.items()}
    return [
        {
            "way": way,
            "min_s": least[way],
            "median_s": middle[way],
            "times_faster_min": least[PEER] / least[way],
            "times_faster_median": middle[PEER] / middle[way],
        }
        for way in ways
    ]


def _archive() -> Path:
    default = Path(__file__).parents[1] / "../shared/data"
    return Path(os.environ.get("CARDIOCLARITY_DATA") or default).resolve() / "mitdb"


def _name(header: Path) -> str:
    return str(header.with_suffix(""))


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


def _seconds(read: Callable[[Path], object], header: Path) -> float:
    start = time.process_time()
    read(header)
    return time.process_time() - start


if __name__ == "__main__":
    for row in measure():
        print(json.dumps(row))
