"""When the heart of a phantom beats: the plan of a synthetic ECG and its beat times."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from cardioclarity.synthetic.noise import coloured

Kind = Literal["pause", "tachycardia", "bradycardia", "af", "bigeminy", "noise", "flat", "missing"]
"""What an episode is. The first five change the beats, the others the signal."""

UNREADABLE: Final[frozenset[Kind]] = frozenset({"noise", "flat", "missing"})
"""Episodes in which nobody could find a beat."""

MARGIN_S: Final = 3.0
"""Beats are made this far beyond both ends, so that a T wave of the beat before reaches into the record."""

_CLOCK_HZ: Final = 4.0
_RATE_BPM: Final[dict[Kind, tuple[float, float]]] = {
    "tachycardia": (118.0, 140.0),
    "bradycardia": (34.0, 41.0),
    "af": (80.0, 110.0),
}
_AUTONOMIC_HZ: Final = ((0.1, 0.01), (0.25, 0.015), (0.008, 0.003))
_RAMP_S: Final = 8.0
_CLEARANCE_S: Final = 6.0
_ECTOPIC_SPACING: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """A stretch of a record that is not normal.

    Attributes:
        kind: What happens.
        start_s: First second. Of a pause in a truth: the R peak before it.
        end_s: End. Of a pause in a truth: the R peak that ends it; in a scene a pause has the length end - start.
    """

    kind: Kind
    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        """An episode has a length."""
        assert self.start_s < self.end_s, self


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The plan of one synthetic record: a patient and what happens to them.

    Attributes:
        name: Name of the record.
        seed: All that is random follows from it.
        duration_s: Length in seconds.
        rate_hz: Samples per second.
        leads: Canonical lead names, in the order of the recorder's file; the first is the one that is read first.
        resting_bpm: Mean sinus rate outside episodes.
        pvc_per_hour: Premature ventricular beats.
        pac_per_hour: Premature atrial beats.
        wide_qrs: Conduction as in left bundle branch block.
        inverted_t: T waves point away from the QRS.
        episodes: In the order of time; those that change the beats do not overlap.
    """

    name: str
    seed: int
    duration_s: float
    rate_hz: float
    leads: tuple[str, ...] = ("MLII", "V1")
    resting_bpm: float = 70.0
    pvc_per_hour: float = 0.0
    pac_per_hour: float = 0.0
    wide_qrs: bool = False
    inverted_t: bool = False
    episodes: tuple[Episode, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Beats:
    """The beats of a scene, from `MARGIN_S` before its start to `MARGIN_S` after its end.

    Attributes:
        time_s: (beat,) float64, R peaks, ascending.
        rr_s: (beat,) float64, interval to the previous R peak; of the first beat, to the next.
        symbol: (beat,) str, N, V or A.
        fibrillating: (beat,) bool, the atria fibrillate: no P wave.
    """

    time_s: NDArray[np.float64]
    rr_s: NDArray[np.float64]
    symbol: NDArray[np.str_]
    fibrillating: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class _Clock:
    """The pacemaker: one turn of its phase is one sinus beat."""

    time_s: NDArray[np.float64]
    turned: NDArray[np.float64]

    def turns_at(self, time_s: float) -> float:
        return float(np.interp(time_s, self.time_s, self.turned))

    def times_of(self, turns: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.interp(turns, self.turned, self.time_s)


def beats(scene: Scene, rng: np.random.Generator) -> Beats:
    """Place every beat of a scene.

    The phase of the dynamical model runs at the momentary heart rate, whose spectrum has a respiratory and a Mayer
    band; a beat falls wherever the phase completes a turn. Rhythm episodes and early beats move these turns.

    Args:
        scene: The plan.
        rng: Source of chance.

    Returns:
        The beats.

    Source: McSharry, Clifford, Tarassenko, Smith 2003, IEEE Trans Biomed Eng 50:289, doi 10.1109/TBME.2003.808805.
    """
    clock = _clock(scene, rng)
    turns = np.arange(np.ceil(clock.turned[0]), clock.turned[-1])
    for episode in _of_kind(scene, "pause"):
        turns = _arrest(turns, clock, episode)
    symbol = np.full(len(turns), "N")
    times = clock.times_of(turns)
    fibrillating = np.zeros(len(turns), bool)
    for episode in _of_kind(scene, "af"):
        inside = _inside(times, episode)
        fibrillating[inside] = True
        turns[inside] = _scattered(turns[inside], rng)
    for episode in _of_kind(scene, "bigeminy"):
        early = _inside(times, episode)[1::2]
        symbol[early] = "V"
        turns[early] -= rng.normal(0.38, 0.015, len(early))
    _ectopic(turns, symbol, times, scene=scene, rng=rng)
    times = clock.times_of(turns)
    rr_s = np.diff(times, prepend=2 * times[:1] - times[1:2]) if len(times) > 1 else np.ones(len(times))
    return Beats(time_s=times, rr_s=rr_s, symbol=symbol, fibrillating=fibrillating)


def _clock(scene: Scene, rng: np.random.Generator) -> _Clock:
    time_s = np.arange(-MARGIN_S, scene.duration_s + MARGIN_S + 1, 1 / _CLOCK_HZ)
    sway = coloured(rng, _autonomic, shape=(1, len(time_s)), rate_hz=_CLOCK_HZ, longest_s=400.0)[0]
    sway = np.clip(sway, -2.5, 2.5) * rng.uniform(0.025, 0.045)
    log_bpm = np.log(scene.resting_bpm) + sway
    for kind, bounds in _RATE_BPM.items():
        for episode in _of_kind(scene, kind):
            away = np.minimum(time_s - episode.start_s, episode.end_s - time_s)
            share = np.clip(away / _RAMP_S + 1, 0, 1)  # wholly there from the first second to the last
            log_bpm += share * (np.log(rng.uniform(*bounds)) + sway / 3 - log_bpm)
    step = np.exp(log_bpm) / (60 * _CLOCK_HZ)
    turned = np.concatenate([[0.0], np.cumsum((step[1:] + step[:-1]) / 2)]) + rng.uniform(0, 1)
    return _Clock(time_s, turned)


def _autonomic(f: NDArray[np.float64]) -> NDArray[np.float64]:
    """Power of the heart rate: Mayer waves near 0.1 Hz, breathing near 0.25 Hz, slow drift."""
    mayer, breathing, drift = (np.exp(-(((f - centre) / width) ** 2) / 2) for centre, width in _AUTONOMIC_HZ)
    total: NDArray[np.float64] = 0.5 * mayer + breathing + 3 * drift
    return total


def _of_kind(scene: Scene, kind: Kind) -> list[Episode]:
    return [episode for episode in scene.episodes if episode.kind == kind]


def _inside(times: NDArray[np.float64], episode: Episode) -> NDArray[np.intp]:
    return np.flatnonzero((times >= episode.start_s) & (times < episode.end_s))


def _arrest(turns: NDArray[np.float64], clock: _Clock, episode: Episode) -> NDArray[np.float64]:
    """Stop the sinus node after the last beat before the episode; it resumes with a reset phase."""
    before = turns[turns <= clock.turns_at(episode.start_s)]
    last_s = clock.times_of(before[-1:]).item() if len(before) else episode.start_s
    resume = clock.turns_at(last_s + episode.end_s - episode.start_s)
    after = turns[turns >= resume]
    return np.concatenate([before, after - (after[:1] - resume)])


def _scattered(turns: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Give consecutive turns independent intervals of the same sum, as the conduction of fibrillation does."""
    interval = np.clip(rng.normal(1, 0.25, len(turns)), 0.6, 1.7)
    moved: NDArray[np.float64] = turns[:1] - 1 + np.cumsum(interval) * (len(turns) / interval.sum())
    return moved


def _ectopic(
    turns: NDArray[np.float64],
    symbol: NDArray[np.str_],
    times: NDArray[np.float64],
    *,
    scene: Scene,
    rng: np.random.Generator,
) -> None:
    """Make single beats early, in place, far from every episode and from each other."""
    free = (times > _CLEARANCE_S) & (times < scene.duration_s - _CLEARANCE_S)
    for episode in scene.episodes:
        free &= (times < episode.start_s - _CLEARANCE_S) | (times > episode.end_s + _CLEARANCE_S)
    chosen = rng.permutation(np.flatnonzero(free)[rng.integers(_ECTOPIC_SPACING) :: _ECTOPIC_SPACING])
    n_ventricular = round(scene.pvc_per_hour * scene.duration_s / 3600)
    n_atrial = round(scene.pac_per_hour * scene.duration_s / 3600)
    ventricular, atrial = chosen[:n_ventricular], chosen[n_ventricular : n_ventricular + n_atrial]
    symbol[ventricular] = "V"
    symbol[atrial] = "A"
    # The sinus node keeps its beat after a ventricular beat: the pause compensates. An atrial beat resets it: the
    # beats that follow are early too and return over three intervals.
    turns[ventricular] -= rng.normal(0.36, 0.02, len(ventricular))
    advance = rng.uniform(0.28, 0.36, len(atrial))
    for k, share in enumerate((1.0, 0.6, 0.3)):
        turns[atrial + k] -= share * advance
