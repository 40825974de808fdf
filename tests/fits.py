"""Models fitted on patients that never lived, each once for all tests that ask for it."""

from functools import cache

from builders import RECIPE, normals

from cardioclarity import training
from cardioclarity.detectors.protocol import Normals
from cardioclarity.ensemble import Model

FITTING, STOPPING, CALIBRATING = normals(5, 100, seed=0), normals(2, 100, seed=5), normals(4, 100, seed=7)
UNUSUAL = (30, 60, 61)
LIMITS = {"tachycardia_bpm": 100.0, "bradycardia_bpm": 50.0, "pause_s": 2.0}
MODELS = {"full": (), "template only": ("template",), "dense only": ("ae-dense",)}


def fit(detectors: tuple[str, ...], calibrating: Normals = CALIBRATING, *, seed: int = 0) -> Model:
    """Fit on five patients, stop by two, calibrate with four others."""
    return training.fit(FITTING, STOPPING, calibrating, recipe=RECIPE, detectors=detectors, seed=seed)


@cache
def model(name: str) -> Model:
    """One of MODELS."""
    return fit(MODELS[name])
