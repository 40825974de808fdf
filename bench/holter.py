"""S3, S4, S6: a 24-h recording of two leads through `convert` and `score`, and what of it the bare compute takes."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from bench import mitbih
from bench.drives import Ran, convert_and_score, in_child
from bench.rounds import CPU, WALL, Seconds, in_turn, least
from bench.rows import Row
from cardioclarity import models
from cardioclarity.config import ConvertConfig, ScoreConfig, TrainConfig
from cardioclarity.convert import CONVERT
from cardioclarity.detectors.autoencoder import FittedAutoencoder
from cardioclarity.ensemble import Model
from cardioclarity.events import Evidence, Levels
from cardioclarity.examples import Examples, prepare
from cardioclarity.filtering import band_pass
from cardioclarity.judgement import decide
from cardioclarity.readers import wfdb_signal
from cardioclarity.rpeaks import detect
from cardioclarity.score import SCORE
from cardioclarity.segments.read import read as read_segment
from cardioclarity.storage import open_storage
from cardioclarity.tables import catalog, rows
from cardioclarity.tables.runs import judgement
from cardioclarity.train import TRAIN
from cardioclarity.work import drive

TILED: Final = "119"
TEACHERS: Final = ("101", "106", "112", "115", "122", "220")
WORKERS: Final = 2


def measure(
    archive: Path | None = None,
    *,
    hours: tuple[float, float] = (6.0, 24.0),
    rounds: int = 3,
    teachers: tuple[str, ...] = TEACHERS,
    tiled: str = TILED,
) -> list[Row]:
    """Tile a real record to a Holter, convert and score it on two workers; then hold the parts side by side on one core.

    The model is the default ensemble, trained on a few records: its speed does not depend on what it has learned.

    Args:
        archive: Folder of MIT-BIH.
        hours: Lengths of the recording; parts are timed on the shorter one.
        rounds: How often parts are timed.
        teachers: Records that the model learns from.
        tiled: The record that becomes a Holter.
    """
    archive = archive or mitbih.archive()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        in_child(_make_model, archive, scratch / "model", teachers)
        for length in hours:
            write_holter(archive / f"{tiled}.hea", scratch / f"archive-{length:g}", hours=length)
        ran = {length: in_child(_run, scratch, length) for length in hours}
        parts = in_child(_parts, scratch, hours[0], rounds)
    short, long = (ran[length] for length in hours)
    what = f"{hours[1]:g} h of 2 leads at 360 Hz"
    total_s = long.convert_s + long.score_s
    return [
        Row(goal="S4", what=f"{what}: convert and score, {WORKERS} workers", unit="s", ours=total_s, at_most=60.0),
        Row(goal="S4", what=f"{what}: the same, all processes", unit="CPU s", ours=long.cpu_s),
        Row(goal="S4", what=f"{what}: convert", unit="s", ours=long.convert_s),
        Row(goal="S4", what=f"{what}: score", unit="s", ours=long.score_s),
        Row(goal="S6", what=f"{what}: peak of the driver", unit="MB", ours=long.driver_bytes / 1e6),
        Row(
            goal="S6",
            what=f"{what}: peak of a worker, against {hours[0]:g} h",
            unit="MB",
            ours=long.worker_bytes / 1e6,
            peer=short.worker_bytes / 1e6,
            ratio=long.worker_bytes / short.worker_bytes,
        ),
        *_part_rows(parts, hours[0]),
    ]


def _part_rows(seconds: Mapping[str, Seconds], hours: float) -> Iterator[Row]:
    what = f"{hours:g} h of 2 leads, one core"
    peers = {
        "bare": ("filter, R peaks and networks on arrays in memory", 1.25),
        "science": ("all of the science on arrays in memory", None),
    }
    for clock, unit in ((CPU, "CPU s"), (WALL, "s")):
        ours = least(seconds["score"], clock)
        for peer, (name, at_most) in peers.items():
            limit = least(seconds[peer], clock)
            yield Row(
                goal="S3",
                what=f"{what}: score, against {name}",
                unit=unit,
                ours=ours,
                peer=limit,
                ratio=ours / limit,
                at_most=at_most,
            )
    for part in ("read", "prepare", "evidence", "judge and lay out"):
        yield Row(goal="S3", what=f"{what}: {part}", unit="CPU s", ours=least(seconds[part]))


def write_holter(header: Path, folder: Path, *, hours: float) -> None:
    """Repeat a record to a length and write it as the recorders of MIT-BIH did, without annotations."""
    record = mitbih.read(header)
    n_samples = round(hours * 3600 * record.rate_hz)
    signal = np.tile(record.signal, -(-n_samples // record.n_samples))[:, :n_samples]
    sums = np.add.reduce(signal, axis=1, dtype=np.int16)
    lines = [
        f"holter.dat 212 {gain:g}({baseline:g})/mV 11 1024 {row[0]} {checksum} 0 {lead}"
        for gain, baseline, row, checksum, lead in zip(
            record.gain, record.baseline, signal, sums, record.leads, strict=True
        )
    ]
    folder.mkdir(parents=True)
    head = f"holter {len(lines)} {record.rate_hz:g} {n_samples}"
    (folder / "holter.hea").write_text("\n".join([head, *lines, ""]))
    (folder / "holter.dat").write_bytes(wfdb_signal.encode(signal, 212))


def _make_model(archive: Path, root: Path, teachers: Sequence[str]) -> None:
    """Train the default ensemble on the first minutes of a few records."""
    chosen = root / "archive"
    chosen.mkdir(parents=True)
    for name in teachers:
        for file in archive.glob(f"{name}.*"):
            shutil.copy(file, chosen)
    drive(CONVERT, ConvertConfig(archive=str(chosen), root=str(root)), map)
    drive(TRAIN, TrainConfig(root=str(root), minutes_per_record=15.0), map)


def _run(scratch: Path, hours: float) -> Ran:
    root = scratch / f"root-{hours:g}"
    shutil.copytree(scratch / "model" / "models", root / "models")
    return convert_and_score(scratch / f"archive-{hours:g}", root, WORKERS)


def _parts(scratch: Path, hours: float, rounds: int) -> dict[str, Seconds]:
    """Time the whole and its parts in turn on one core; the model is loaded and the recording converted."""
    torch.set_num_threads(1)  # as in a worker
    model_root, converted = scratch / "model", scratch / "converted"
    shutil.copytree(model_root / "models", converted / "models")
    drive(CONVERT, ConvertConfig(archive=str(scratch / f"archive-{hours:g}"), root=str(converted)), map)
    fresh = [shutil.copytree(converted, scratch / f"fresh-{turn}") for turn in range(rounds + 1)]
    drive(SCORE, ScoreConfig(root=str(fresh.pop())), map)  # loads what loads once
    root = open_storage(str(converted))
    (segment,) = catalog.segments(root)
    model = models.load(root, str(models.champion(root)))
    ((_, record),) = read_segment(root, segment.segment_id, digest=segment.digest)
    examples, levels = prepare(record, model.recipe), model.levels(**judgement({}))
    evidence = model.evidence(examples)
    signal_mv = record.millivolts()
    ways: dict[str, Callable[[None], object]] = {
        "score": lambda _: drive(SCORE, ScoreConfig(root=str(fresh.pop())), map),
        "bare": lambda _: _bare(model, signal_mv, record.rate_hz, examples),
        "science": lambda _: decide(model.evidence(prepare(record, model.recipe)), levels),
        "read": lambda _: list(read_segment(root, segment.segment_id, digest=segment.digest)),
        "prepare": lambda _: prepare(record, model.recipe),
        "evidence": lambda _: model.evidence(examples),
        "judge and lay out": lambda _: _lay_out(evidence, levels),
    }
    return in_turn(ways, [None], rounds=rounds)


def _bare(model: Model, signal_mv: NDArray[np.float32], rate_hz: float, examples: Examples) -> None:
    """What no scoring can do without: the filter on each lead, R peaks on one, the networks on beats that are cut."""
    band_pass(signal_mv, rate_hz=rate_hz, low_hz=model.recipe.low_hz, high_hz=model.recipe.high_hz)
    detect(signal_mv[0], rate_hz=rate_hz)
    for member in model.members.values():
        if isinstance(member, FittedAutoencoder):
            member.score(examples)


def _lay_out(evidence: Evidence, levels: Levels) -> None:
    judged = [rows.Judged(0, evidence, *decide(evidence, levels))]
    patients = {evidence.record_id: None}
    rows.score_columns(judged, patients)
    rows.event_columns(judged, patients, model_id="")
    rows.beat_columns(judged)
