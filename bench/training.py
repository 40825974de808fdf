"""S7: `train` on MIT-BIH with the default ensemble, from segments to a saved model."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import mitbih
from bench.rounds import timed
from bench.rows import Row
from cardioclarity.config import ConvertConfig, TrainConfig
from cardioclarity.convert import CONVERT
from cardioclarity.train import TRAIN
from cardioclarity.work import drive


def measure(archive: Path | None = None, *, detectors: Sequence[str] = (), seed: int = 0) -> list[Row]:
    """Convert, then time the two parts of `train`: what the units do, and the fit."""
    archive = archive or mitbih.archive()
    with tempfile.TemporaryDirectory() as root:
        drive(CONVERT, ConvertConfig(archive=str(archive), root=root), map)
        config = TrainConfig(root=root, detectors=tuple(detectors), seed=seed)
        plan = TRAIN.plan(config)
        receipts, prepare_cpu_s, prepare_s = timed(lambda: list(map(TRAIN.run, plan.units)))
        _, fit_cpu_s, fit_s = timed(lambda: TRAIN.finish(config, plan, iter(receipts)))
    return [
        Row(goal="S7", what="train: prepare the records", unit="s", ours=prepare_s),
        Row(goal="S7", what="train: fit, calibrate and save", unit="s", ours=fit_s, at_most=600.0),
        Row(goal="S7", what="train: both", unit="CPU s", ours=prepare_cpu_s + fit_cpu_s),
    ]
