"""A root that has gone the whole road once, shared by every test that only reads it."""

import functools
from pathlib import Path

from cardioclarity.config import ConvertConfig, ScoreConfig, TrainConfig
from cardioclarity.convert import CONVERT
from cardioclarity.score import SCORE
from cardioclarity.storage import open_storage
from cardioclarity.synthetic import MIT, Episode, Scene, ecg, wfdb_files
from cardioclarity.train import TRAIN
from cardioclarity.work import drive

NORMAL = tuple(Scene(name=f"normal/{n}", seed=n, duration_s=120.0, rate_hz=360.0) for n in range(4))
ILL = Scene(
    name="ill/DOE-JANE",
    seed=40,
    duration_s=150.0,
    rate_hz=360.0,
    pvc_per_hour=240.0,
    episodes=(Episode(kind="pause", start_s=40.0, end_s=43.4), Episode(kind="flat", start_s=100.0, end_s=121.0)),
)


@functools.cache
def scored(folder: Path) -> str:
    """Convert, train and score a small archive with one ill patient and one broken file; say where its root is."""
    archive, root = open_storage(str(folder / "archive")), str(folder / "root")
    for scene in (*NORMAL, ILL):
        for key, data in wfdb_files(ecg(scene), MIT).items():
            archive.put_new(key, data)
    archive.put_new("broken/ROE-RICHARD.hea", b"ROE-RICHARD 1 360 1000\nROE-RICHARD.dat 212 200 11 1024 0 0 0 II\n")
    drive(CONVERT, ConvertConfig(archive=archive.url, root=root), map)
    drive(TRAIN, TrainConfig(root=root, detectors=("template", "ae-dense")), map)
    drive(SCORE, ScoreConfig(root=root), map)
    return root
