"""The whole road on a tiny archive, step by step, in this process or in another: what the fault tests disturb."""

import contextlib
import datetime as dt
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from cardioclarity.config import ConvertConfig, ReportConfig, ScoreConfig, StorageOptions, TrainConfig, VerifyConfig
from cardioclarity.convert import CONVERT
from cardioclarity.garbage import Freed, GcConfig, collect
from cardioclarity.report import report
from cardioclarity.score import SCORE
from cardioclarity.storage import Storage, open_storage
from cardioclarity.synthetic import FINE, MIT, Episode, Scene, ecg, wfdb_files
from cardioclarity.train import TRAIN
from cardioclarity.verify import Damage, verify
from cardioclarity.work import Summary, drive

_SECONDS = 24.0
_SCENES = (
    # Annotated or not: a segment with annotations has eight objects more. Two rates make two segments.
    (Scene(name="a/1", seed=1, duration_s=_SECONDS, rate_hz=360.0), MIT, True),
    (Scene(name="a/2", seed=2, duration_s=_SECONDS, rate_hz=360.0, pvc_per_hour=600.0), MIT, True),
    (Scene(name="b/3", seed=3, duration_s=_SECONDS, rate_hz=250.0), FINE, False),
    (
        Scene(
            name="b/4",
            seed=4,
            duration_s=_SECONDS,
            rate_hz=250.0,
            episodes=(Episode(kind="flat", start_s=8.0, end_s=19.0),),
        ),
        FINE,
        False,
    ),
)
_BROKEN = b"ROE-RICHARD 1 360 1000\nROE-RICHARD.dat 212 200 11 1024 0 0 0 II\n"


@dataclass(frozen=True, kw_only=True)
class Road:
    """An archive, a root, and the verbs between them; as JSON it travels to another process."""

    archive: str
    root: str
    storage: StorageOptions = field(default_factory=StorageOptions)

    @property
    def place(self) -> Storage:
        return open_storage(self.root, self.storage)

    def to(self, root: str | Path) -> "Road":
        return Road(archive=self.archive, root=str(root), storage=self.storage)

    def convert(self, mapper: Any = map, **settings: Any) -> Summary:
        config = ConvertConfig(
            archive=self.archive,
            root=self.root,
            archive_storage=self.storage,
            root_storage=self.storage,
            **settings,
        )
        return drive(CONVERT, config, mapper)

    def train(self, mapper: Any = map) -> Summary:
        return drive(TRAIN, TrainConfig(root=self.root, root_storage=self.storage, detectors=("template",)), mapper)

    def score(self, mapper: Any = map, **settings: Any) -> Summary:
        return drive(SCORE, ScoreConfig(root=self.root, root_storage=self.storage, **settings), mapper)

    def judge_again(self, mapper: Any = map) -> Summary:
        """Other limits than `score` has: the stored evidence is judged again, and other events come of it."""
        return self.score(mapper, tachycardia_bpm=60.0, alarms_per_hour=300.0)

    def report(self) -> None:
        report(ReportConfig(root=self.root, root_storage=self.storage, max_events=2))

    def collect(self, *, dry_run: bool = False) -> Freed:
        """Free what is older than a day."""
        day = dt.timedelta(days=1)
        return collect(GcConfig(root=self.root, root_storage=self.storage, older_than=day, dry_run=dry_run))

    def verify(self) -> tuple[Damage, ...]:
        """Check every byte; what nothing names is no damage."""
        return verify(VerifyConfig(root=self.root, root_storage=self.storage, read_data=True)).damaged

    def go(self, steps: tuple[str, ...]) -> Self:
        for step in steps:
            getattr(self, step)()
        return self

    def as_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        plain = json.loads(text)
        return cls(**plain | {"storage": StorageOptions(**plain["storage"])})


STEPS = ("convert", "train", "score", "judge_again", "report")
FOLLOWING = dict(zip(STEPS, (*STEPS[1:], "end"), strict=True))


def write_archive(archive: Storage) -> None:
    """Four records that make two segments, one of them delivered twice, and one that is broken."""
    for scene, adc, annotated in _SCENES:
        files = wfdb_files(ecg(scene), adc, annotated=annotated)
        for key, data in files.items():
            archive.put_new(key, data)
        if scene.seed == 3:
            for key, data in files.items():
                archive.put_new(f"again/{key}", data)
    archive.put_new("broken/ROE-RICHARD.hea", _BROKEN)


@contextlib.contextmanager
def fast_folder() -> Iterator[Path]:
    """A folder in memory where the machine has one: hundreds of roots are made and synced."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if os.access(shm, os.W_OK) else None, prefix="faults-") as folder:
        yield Path(folder)


def age(root: str | Path) -> None:
    """Let every file look a month old, to the store's own clock."""
    then = Path(root).stat().st_mtime - 30 * 24 * 3600
    for path in Path(root).rglob("*"):
        os.utime(path, (then, then))


def copy(source: str | Path, target: str | Path) -> Path:
    """Copy a root that lies in a folder; times of modification come along."""
    return shutil.copytree(source, target)
