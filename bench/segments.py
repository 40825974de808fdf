"""Segments against their limits: the bare codec and write of the same bytes (S2), the size of the source files (S9)."""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import google_crc32c
import numcodecs.blosc
import numpy as np
import wfdb

from cardioclarity.record import Annotations, Record, content_id
from cardioclarity.segments import layout, read, write
from cardioclarity.storage import open_storage
from cardioclarity.vocabulary import LEAD_ORDER, canonical_lead

ROUNDS = 7
T = TypeVar("T")


def measure(archive: Path | None = None) -> dict[str, float]:
    """Write the records of MIT-BIH as segments, and the same samples by the bare codec, in turn on one core.

    Returns:
        Speeds in MB of int16 samples per second (medians), `write_share` and `read_share` of the bare codec (medians
        over rounds that ran side by side, and their minimum), and `size_share` of the source's .dat files.
    """
    archive = archive or _archive()
    groups = layout.group(_record(header.with_suffix("")) for header in sorted(archive.glob("*.hea")))
    megabytes = sum(record.signal.nbytes for group in groups for record in group) / 1e6
    source_bytes = sum(file.stat().st_size for file in archive.glob("*.dat"))
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # zarr encodes in threads, the bare codec does not
    numcodecs.blosc.use_threads = False
    try:
        rounds = [_round(groups) for _ in range(ROUNDS)]
    finally:
        os.sched_setaffinity(0, cores)
    write_share = [bare / ours for ours, bare, *_ in rounds]
    read_share = [bare / ours for *_, ours, bare, _ in rounds]
    return {
        "write_mb_per_s": megabytes / statistics.median(r[0] for r in rounds),
        "bare_write_mb_per_s": megabytes / statistics.median(r[1] for r in rounds),
        "write_share": statistics.median(write_share),
        "write_share_min": min(write_share),
        "read_mb_per_s": megabytes / statistics.median(r[2] for r in rounds),
        "bare_read_mb_per_s": megabytes / statistics.median(r[3] for r in rounds),
        "read_share": statistics.median(read_share),
        "read_share_min": min(read_share),
        "size_share": rounds[0][4] / source_bytes,
    }


def _archive() -> Path:
    default = Path(__file__).parents[1] / "../shared/data"
    return Path(os.environ.get("CARDIOCLARITY_DATA") or default).resolve() / "mitdb"


def _record(path: Path) -> Record:
    """Decode one record by wfdb; the benchmark begins after that."""
    source = wfdb.rdrecord(str(path), physical=False)
    marks = wfdb.rdann(str(path), "atr")
    names = [canonical_lead(name) or name for name in source.sig_name]
    order = sorted(range(len(names)), key=lambda i: LEAD_ORDER[names[i]])
    leads = tuple(names[i] for i in order)
    signal = np.ascontiguousarray(source.d_signal.T[order], np.int16)
    return Record(
        record_id=content_id(signal=signal, rate_hz=float(source.fs), leads=leads, salt=path.name),
        rate_hz=float(source.fs),
        leads=leads,
        source_leads=tuple(source.sig_name[i] for i in order),
        signal=signal,
        gain=np.array(source.adc_gain, np.float64)[order],
        baseline=np.array(source.baseline, np.float64)[order],
        annotations=Annotations(
            sample=np.asarray(marks.sample, np.int64),
            symbol=tuple(marks.symbol),
            aux=tuple(note.strip("\0") for note in marks.aux_note),
        ),
    )


def _round(groups: list[list[Record]]) -> tuple[float, float, float, float, int]:
    """Time ours and the bare codec, writing and reading, and count our bytes."""
    with tempfile.TemporaryDirectory() as folder:
        root, bare = open_storage(f"{folder}/root"), Path(folder, "bare")
        bare.mkdir()
        ours_s, references = _timed(lambda: [write.write(group, root) for group in groups])
        bare_s, _ = _timed(lambda: _write_bare(groups, bare))
        ours_read_s, _ = _timed(
            lambda: [sum(1 for _ in read.read(root, ref.segment_id, digest=ref.digest)) for ref in references]
        )
        bare_read_s, _ = _timed(lambda: _read_bare(bare))
        return ours_s, bare_s, ours_read_s, bare_read_s, sum(listed.size for listed in root.list())


def _timed(call: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def _codec() -> numcodecs.blosc.Blosc:
    return numcodecs.blosc.Blosc("zstd", clevel=3, shuffle=numcodecs.blosc.BITSHUFFLE)


def _write_bare(groups: list[list[Record]], folder: Path) -> None:
    """Encode each record in tiles, with checksums, into one durable file: no format, no index, no metadata."""
    codec = _codec()
    for record in (record for group in groups for record in group):
        with Path(folder, record.record_id).open("wb") as file:
            for start in range(0, record.n_samples, layout.TILE_SAMPLES):
                tile = np.ascontiguousarray(record.signal[:, start : start + layout.TILE_SAMPLES])
                encoded = codec.encode(tile)
                file.write(len(encoded).to_bytes(4, "little") + encoded)
                file.write(google_crc32c.value(encoded).to_bytes(4, "little"))
            file.flush()
            os.fsync(file.fileno())


def _read_bare(folder: Path) -> None:
    codec = _codec()
    for path in folder.iterdir():
        data, at = path.read_bytes(), 0
        while at < len(data):
            size = int.from_bytes(data[at : at + 4], "little")
            encoded, crc = data[at + 4 : at + 4 + size], data[at + 4 + size : at + 8 + size]
            assert google_crc32c.value(encoded) == int.from_bytes(crc, "little")
            codec.decode(encoded)
            at += 8 + size


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
