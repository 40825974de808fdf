"""The patients of the demo archive: who they are and what happens to them, drawn by seed."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from cardioclarity.synthetic.pacing import MARGIN_S, Episode, Kind, Scene

TWELVE_LEADS: Final = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recorder:
    """What a device records."""

    rate_hz: float
    leads: tuple[str, ...]


_HOLTERS: Final = (_Recorder(rate_hz=360.0, leads=("MLII", "V1")), _Recorder(rate_hz=250.0, leads=("MLII", "V5")))
_ELECTROCARDIOGRAPH: Final = _Recorder(rate_hz=500.0, leads=TWELVE_LEADS)

_NORMAL_PATIENTS: Final = 12
_NORMAL_S: Final = (600, 840)
_EPISODES_S: Final = (420, 540)
_SHORT_S: Final = 10.0
_EDGE_S: Final = 60.0
_RESTING_BPM: Final = (58, 88)
"""So far inside 50 and 100 that breathing and Mayer waves do not lead out."""

_GAP_S: Final = 20.0
"""Least time between episodes: room for the heart rate to change and return."""

_LENGTH_S: Final[dict[Kind, tuple[float, float]]] = {
    "pause": (2.6, 3.8),
    "tachycardia": (40, 60),
    "bradycardia": (40, 60),
    "af": (45, 70),
    "bigeminy": (30, 45),
    "noise": (20, 40),
    "flat": (15, 30),
    "missing": (5, 20),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """What a patient of the second group has."""

    pvc_per_hour: float = 0.0
    pac_per_hour: float = 0.0
    wide_qrs: bool = False
    inverted_t: bool = False
    kinds: tuple[Kind, ...]


_CASES: Final = (
    _Case(pvc_per_hour=90, kinds=("pause", "pause")),
    _Case(pac_per_hour=90, kinds=("tachycardia",)),
    _Case(kinds=("af", "noise", "af")),
    _Case(pvc_per_hour=30, kinds=("bigeminy", "bigeminy")),
    _Case(pac_per_hour=15, kinds=("bradycardia", "pause", "bradycardia")),
    _Case(inverted_t=True, kinds=("tachycardia", "af")),
    _Case(pvc_per_hour=15, pac_per_hour=15, kinds=("noise", "flat", "missing")),
    _Case(pvc_per_hour=45, wide_qrs=True, kinds=("tachycardia", "noise")),
    _Case(pac_per_hour=30, kinds=("bigeminy", "pause", "flat")),
    _Case(pvc_per_hour=30, pac_per_hour=30, kinds=("pause", "tachycardia", "bradycardia", "af", "bigeminy")),
)
_SHORT_CASES: Final[tuple[Kind | None, ...]] = (None, None, None, "af", "tachycardia", "bigeminy")
_EDGE_CASES: Final[dict[str, tuple[Kind, ...]]] = {
    "no-beats": ("pause",),
    "flat": ("flat",),
    "noise": ("pause", "noise"),
}


def demo_scenes(seed: int) -> tuple[Scene, ...]:
    """Plan the readable records of the demo archive.

    Args:
        seed: The same seed gives the same plans.

    Returns:
        Scenes of four groups, whose names start with the group: ``normal/`` patients, patients with ``episodes/``,
        10-s ECGs in ``short/``, and in ``edge/`` what is hardly a record: 5 s long, without a beat, flat, all noise.
    """
    rng = np.random.default_rng(seed)
    return (*_normal(rng), *_with_episodes(rng), *_ten_seconds(rng), *_edges(rng))


def short_scene(number: int, *, seed: int, leads: tuple[str, ...]) -> Scene:
    """Plan one of many 10-s ECGs; every tenth fibrillates.

    Args:
        number: Its number, from 0; a folder holds a thousand.
        seed: Decides with the number.
        leads: Its leads.

    Returns:
        The plan.
    """
    rng = np.random.default_rng([seed, number])
    recorder = replace(_ELECTROCARDIOGRAPH, leads=leads)
    kind: Kind | None = "af" if number % 10 == 9 else None
    return _throughout(_patient(rng, f"{number // 1000:04d}/{number:07d}", _SHORT_S, recorder), kind)


def _patient(rng: np.random.Generator, name: str, duration_s: float, recorder: _Recorder) -> Scene:
    """Draw a patient without episodes."""
    return Scene(
        name=name,
        seed=int(rng.integers(2**32)),
        duration_s=duration_s,
        rate_hz=recorder.rate_hz,
        leads=recorder.leads,
        resting_bpm=float(rng.uniform(*_RESTING_BPM)),
    )


def _normal(rng: np.random.Generator) -> Iterator[Scene]:
    for number in range(1, _NORMAL_PATIENTS + 1):
        duration_s = float(rng.integers(*_NORMAL_S))
        yield _patient(rng, f"normal/{number:02d}", duration_s, _HOLTERS[number % 2])


def _with_episodes(rng: np.random.Generator) -> Iterator[Scene]:
    for number, case in enumerate(_CASES, 1):
        duration_s = float(rng.integers(*_EPISODES_S))
        scene = _patient(rng, f"episodes/{number:02d}", duration_s, _HOLTERS[number % 2])
        yield replace(
            scene,
            pvc_per_hour=case.pvc_per_hour,
            pac_per_hour=case.pac_per_hour,
            wide_qrs=case.wide_qrs,
            inverted_t=case.inverted_t,
            episodes=_spread(case.kinds, duration_s, rng),
        )


def _ten_seconds(rng: np.random.Generator) -> Iterator[Scene]:
    for number, kind in enumerate(_SHORT_CASES, 1):
        yield _throughout(_patient(rng, f"short/{number:02d}", _SHORT_S, _ELECTROCARDIOGRAPH), kind)


def _edges(rng: np.random.Generator) -> Iterator[Scene]:
    yield _patient(rng, "edge/five-seconds", 5.0, _HOLTERS[0])
    for name, kinds in _EDGE_CASES.items():
        yield _throughout(_patient(rng, f"edge/{name}", _EDGE_S, _HOLTERS[0]), *kinds)


def _throughout(scene: Scene, *kinds: Kind | None) -> Scene:
    """Let something fill the record; a pause even beyond both ends, so that no wave reaches in."""
    reach = {kind: MARGIN_S if kind == "pause" else 0.0 for kind in kinds if kind is not None}
    episodes = (
        Episode(kind=kind, start_s=0.0 - beyond, end_s=scene.duration_s + beyond) for kind, beyond in reach.items()
    )
    return replace(scene, episodes=tuple(episodes))


def _spread(kinds: tuple[Kind, ...], duration_s: float, rng: np.random.Generator) -> tuple[Episode, ...]:
    """Lay episodes one after another with random gaps."""
    lengths = np.array([rng.uniform(*_LENGTH_S[kind]) for kind in kinds])
    spare = duration_s - lengths.sum() - _GAP_S * (len(kinds) + 1)
    assert spare > 0, kinds
    gaps = _GAP_S + rng.dirichlet(np.ones(len(kinds) + 1)) * spare
    ends = np.cumsum(gaps[:-1] + lengths)
    return tuple(
        Episode(kind=kind, start_s=round(start, 3), end_s=round(end, 3))
        for kind, start, end in zip(kinds, (ends - lengths).tolist(), ends.tolist(), strict=True)
    )
