"""Synthetic ECGs with known truth, one recording or a whole archive of WFDB files, for the demo and for tests."""

from cardioclarity.synthetic.archive import (
    FINE,
    MIT,
    Adc,
    ArchiveTruth,
    Put,
    RecordTruth,
    digitise,
    short_records,
    wfdb_files,
    write_archive,
)
from cardioclarity.synthetic.pacing import Episode, Scene
from cardioclarity.synthetic.phantom import Recording, ecg
from cardioclarity.synthetic.scenes import demo_scenes

__all__ = ["FINE", "MIT", "Adc", "ArchiveTruth", "Episode", "Put", "RecordTruth", "Recording", "Scene"]
__all__ += ["demo_scenes", "digitise", "ecg", "short_records", "wfdb_files", "write_archive"]
