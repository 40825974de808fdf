"""S2: `convert` of MIT-BIH, end to end in one process, against a loop of wfdb and zarr and against the bare codec."""

import tempfile
from pathlib import Path

import wfdb
import zarr

from bench import bare, mitbih
from bench.rounds import CPU, WALL, in_turn, least, share
from bench.rows import Row
from cardioclarity.config import ConvertConfig
from cardioclarity.convert import CONVERT
from cardioclarity.segments import layout
from cardioclarity.work import drive


def measure(archive: Path | None = None, *, rounds: int = 7) -> list[Row]:
    """Convert all records into a fresh root; the peers write the same samples and nothing else."""
    archive = archive or mitbih.archive()
    headers = mitbih.headers(archive)
    groups = layout.group(map(mitbih.read, headers))
    with tempfile.TemporaryDirectory() as scratch:

        def fresh() -> Path:
            return Path(tempfile.mkdtemp(dir=scratch))

        seconds = in_turn(
            {
                "ours": lambda _: drive(CONVERT, ConvertConfig(archive=str(archive), root=str(fresh())), map),
                "loop": lambda _: _loop(headers, fresh()),
                "bare": lambda _: bare.write(groups, fresh()),
            },
            [None],
            rounds=rounds,
        )
    rows = []
    for clock, unit in ((CPU, "CPU s"), (WALL, "s")):
        ours, loop, limit = (least(seconds[way], clock) for way in ("ours", "loop", "bare"))
        rows += [
            Row(
                goal="S2",
                what="convert, against a loop of rdrecord(physical=False) and zarr's default write",
                unit=unit,
                ours=ours,
                peer=loop,
                ratio=loop / ours,
                at_least=4.0,
            ),
            Row(
                goal="S2",
                what="convert, share of the bare codec and write of the same samples",
                unit=unit,
                ours=ours,
                peer=limit,
                ratio=share(seconds["bare"], seconds["ours"], clock),
                at_least=0.6,
            ),
        ]
    return rows


def _loop(headers: list[Path], folder: Path) -> None:
    """Write what wfdb reads, one group per record, by zarr's defaults."""
    for header in headers:
        record = wfdb.rdrecord(mitbih.name(header), physical=False)
        group = zarr.create_group(folder / header.stem)
        group.create_array("signal", data=record.d_signal.astype("int16"))
