"""S2, S9: segments against the bare codec and write of the same samples, and against the size of the source files."""

import tempfile
from pathlib import Path

from bench import bare, mitbih
from bench.rounds import WALL, in_turn, middle, share
from bench.rows import Row
from cardioclarity.segments import layout, read, write
from cardioclarity.storage import Storage, open_storage


def measure(archive: Path | None = None, *, rounds: int = 7) -> list[Row]:
    """Write the records of MIT-BIH as segments and read them back, beside the bare codec."""
    archive = archive or mitbih.archive()
    groups = layout.group(map(mitbih.read, mitbih.headers(archive)))
    megabytes = sum(record.signal.nbytes for records in groups for record in records) / 1e6
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)

        def fresh() -> Path:
            return Path(tempfile.mkdtemp(dir=scratch))

        root, plain = open_storage(str(fresh())), fresh()
        references = [write.write(records, root) for records in groups]
        bare.write(groups, plain)
        seconds = in_turn(
            {
                "write": lambda _: [write.write(records, open_storage(str(fresh()))) for records in groups],
                "bare write": lambda _: bare.write(groups, fresh()),
                "read": lambda _: _read(root, references),
                "bare read": lambda _: bare.read(plain),
            },
            [None],
            rounds=rounds,
        )
        stored_bytes = sum(listed.size for listed in root.list())
    source_bytes = sum(file.stat().st_size for file in archive.glob("*.dat"))

    def row(way: str) -> Row:
        ours, limit = seconds[way], seconds[f"bare {way}"]
        return Row(
            goal="S2",
            what=f"{way} int16 samples, against the bare codec, by the wall clock",
            unit="MB/s",
            ours=megabytes / middle(ours, WALL),
            peer=megabytes / middle(limit, WALL),
            ratio=share(limit, ours, WALL),
        )

    size = Row(
        goal="S9",
        what="segments, all objects, against the source's signal files",
        unit="MB",
        ours=stored_bytes / 1e6,
        peer=source_bytes / 1e6,
        ratio=stored_bytes / source_bytes,
        at_most=0.55,
    )
    return [row("write"), row("read"), size]


def _read(root: Storage, references: list[layout.SegmentRef]) -> int:
    return sum(1 for ref in references for _ in read.read(root, ref.segment_id, digest=ref.digest))
