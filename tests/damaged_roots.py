"""A small root with two of everything, and the ways in which one of its objects can be damaged."""

import functools
import random
import re
from pathlib import Path

from deltalake import DeltaTable

from cardioclarity.config import ConvertConfig, ScoreConfig, TrainConfig
from cardioclarity.convert import CONVERT
from cardioclarity.score import SCORE
from cardioclarity.storage import open_storage
from cardioclarity.synthetic import MIT, Scene, ecg, wfdb_files
from cardioclarity.train import TRAIN
from cardioclarity.work import drive

LINEAGE = ("run_id", "evidence_run_id")
BROKEN = b"ROE-RICHARD 1 360 1000\nROE-RICHARD.dat 212 200 11 1024 0 0 0 II\n"


def deliver(archive, *numbers, rate_hz=360.0, duration_s=30.0):
    for number in numbers:
        scene = Scene(name=f"night/{number}", seed=number, duration_s=duration_s, rate_hz=rate_hz)
        for key, data in wfdb_files(ecg(scene), MIT).items():
            archive.put_new(key, data)


def convert(folder):
    return drive(CONVERT, ConvertConfig(archive=str(folder / "archive"), root=str(folder / "root")), map)


def score(folder, **settings):
    return drive(SCORE, ScoreConfig(root=str(folder / "root"), **settings), map)


@functools.cache
def one_of_everything(folder: Path) -> Path:
    """Convert, train and score once; say where archive/ and root/ are."""
    archive, root = open_storage(str(folder / "archive")), str(folder / "root")
    deliver(archive, 0, 1, 2)
    deliver(archive, 3, rate_hz=250.0)
    archive.put_new("broken/ROE-RICHARD.hea", BROKEN)
    convert(folder)
    drive(TRAIN, TrainConfig(root=root, detectors=("template",)), map)
    score(folder, alarms_per_hour=2.0)
    return folder


@functools.cache
def two_of_everything(folder: Path) -> Path:
    """Convert twice, train two models, score with both, make a checkpoint; say where archive/ and root/ are."""
    archive, root = open_storage(str(folder / "archive")), str(folder / "root")
    deliver(archive, 0, 1, 2)
    archive.put_new("broken/ROE-RICHARD.hea", BROKEN)
    convert(folder)
    deliver(archive, 3, 4, rate_hz=250.0)
    archive.put_new("broken/ROE-JANE.hea", BROKEN)
    convert(folder)
    for seed in (0, 1):
        drive(TRAIN, TrainConfig(root=root, detectors=("template",), seed=seed, champion=True), map)
        score(folder, alarms_per_hour=2.0)
    DeltaTable(f"{root}/tables/runs").create_checkpoint()
    convert(folder)
    return folder


def rows(root, *tables):
    """Rows of every table that convert and score fill, or of some, without what names a run or its time."""
    found = {}
    for name in tables or ("records", "sources", "quarantine", "scores", "events", "beats"):
        table = DeltaTable(str(root / "tables" / name)).to_pyarrow_table()
        kept = [column for column in table.column_names if column not in LINEAGE and not column.endswith("_at")]
        found[name] = sorted(map(repr, table.select(kept).to_pylist()))
    return found


def objects(root):
    """Key of each object, in order."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def kind_of(key):
    """What a swap could mix up: a key without its numbers and digests, and the small variables of a segment as one."""
    key = re.sub(r"\.zarr/(?!signal/)\w+/", ".zarr/*/", key)
    return re.sub(r"[0-9a-f]{32,}|\d{20}|\d{8}(?=\.json)|\d{8}T\d{6}-[0-9a-f]{8}-[\w]*|c/[\d/]+", "*", key)


class Harm:
    """Does one kind of damage to one object, chosen by a seed, and undoes it."""

    def __init__(self, root, key, how, seed=0):
        self.key, self._path = key, root / key
        self._old = self._path.read_bytes()
        self._other = None
        chance = random.Random(f"{seed} {how} {key}")
        data = bytearray(self._old)
        if how == "flip":
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        elif how == "truncated":
            del data[chance.randrange(len(data)) :]
        elif how == "appended":
            data.append(chance.randrange(256))
        elif how == "swapped":
            self._other = root / sibling(root, key)
            self._others = self._other.read_bytes()
            data = self._others
            self._other.write_bytes(self._old)
        if how == "missing":
            self._path.unlink()
        else:
            self._path.write_bytes(bytes(data))

    def undo(self):
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_bytes(self._old)
        if self._other is not None:
            self._other.write_bytes(self._others)


def sibling(root, key):
    """Another object of the same kind with other content; None where there is none."""
    alike = [other for other in objects(root) if other != key and kind_of(other) == kind_of(key)]
    return next((other for other in alike if (root / other).read_bytes() != (root / key).read_bytes()), None)
