"""A phantom patient: an ECG by the dynamical model, in any leads, with every beat and episode known."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cardioclarity.record import Annotations
from cardioclarity.synthetic import noise
from cardioclarity.synthetic.pacing import MARGIN_S, UNREADABLE, Beats, Episode, Kind, Scene, beats

_FRONTAL_DEGREES: Final = {"I": 0, "II": 60, "III": 120, "MLII": 60, "aVR": -150, "aVL": -30, "aVF": 90}
_HORIZONTAL_DEGREES: Final = {"V1": 115, "V2": 94, "V3": 58, "V4": 47, "V5": 22, "V6": 0}
_FROM_I_AND_II: Final = {"III": (-1, 1), "aVR": (-0.5, -0.5), "aVL": (1, -0.5), "aVF": (-0.5, 1)}
LEADS: Final = (*_FRONTAL_DEGREES, *_HORIZONTAL_DEGREES)
"""The leads that a phantom has."""

_REACH_S: Final = (0.45, 0.75)
_BLOCK: Final = 1024
_RHYTHM_WORDS: Final[dict[Kind, str]] = {"af": "(AFIB", "bigeminy": "(B", "bradycardia": "(SBR"}
_P, _R = 0, 2  # of the events P, Q, R, R', S, T rising, T falling, in this order everywhere
_STRETCH: Final = np.array([0.35, 0, 0, 0, 0, 0.5, 0.5])
"""Power of RR with which an event's offset and width grow: Bazett's for T, little for P, none for the QRS."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recording:
    """A synthetic ECG and its truth. Beats that noise, a flat line or missing samples hide are not in it.

    Attributes:
        scene: The plan.
        signal_mv: (lead, sample) float32; NaN where missing.
        rpeaks: (beat,) int64, samples of the R peaks, ascending.
        symbols: One MIT symbol each: N, L (bundle branch block), V or A.
        rhythms: Sample and rhythm word of each change; the first at sample 0.
        episodes: What happened; a pause runs from R peak to R peak.
    """

    scene: Scene
    signal_mv: NDArray[np.float32]
    rpeaks: NDArray[np.int64]
    symbols: tuple[str, ...]
    rhythms: tuple[tuple[int, str], ...]
    episodes: tuple[Episode, ...]

    def __post_init__(self) -> None:
        """Check the lengths and seal the arrays."""
        assert len(self.rpeaks) == len(self.symbols)
        self.signal_mv.setflags(write=False)
        self.rpeaks.setflags(write=False)

    def annotations(self) -> Annotations:
        """Write the truth as MIT annotations: beats, `+` at rhythm changes, `~` where the signal's quality changes."""
        rate_hz, last = self.scene.rate_hz, self.signal_mv.shape[1] - 1
        edges = {round(t * rate_hz) for e in self.episodes if e.kind in UNREADABLE for t in (e.start_s, e.end_s)}
        marks = [(sample, 0, "+", word) for sample, word in self.rhythms]
        marks += [(min(sample, last), 1, "~", "") for sample in edges]
        marks += [(sample, 2, symbol, "") for sample, symbol in zip(self.rpeaks.tolist(), self.symbols, strict=True)]
        sample, _, symbol, aux = zip(*sorted(marks), strict=True)
        return Annotations(sample=np.array(sample, np.int64), symbol=symbol, aux=aux)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Shape:
    """A beat as a sum of Gaussian events of the heart's dipole."""

    offset_s: NDArray[np.float64]  # (event,)
    width_s: NDArray[np.float64]  # (event,)
    dipole_mv: NDArray[np.float64]  # (event, xyz): left, down, front


def ecg(scene: Scene) -> Recording:
    """Make the ECG of a scene; the same scene gives the same samples.

    Every beat is a sum of Gaussian events P, Q, R, S, T placed relative to its R peak, as the solution of the
    dynamical model without its relaxation; each event is a dipole, so that the limb leads obey Einthoven's law.

    Args:
        scene: The plan.

    Returns:
        Signal and truth.

    Source: McSharry et al. 2003, doi 10.1109/TBME.2003.808805; events as dipoles: Sameni et al. 2007,
        doi 10.1155/2007/43407.
    """
    assert set(scene.leads) <= set(LEADS), scene.leads
    pacing, anatomy, surroundings = np.random.default_rng(scene.seed).spawn(3)
    plan = beats(scene, pacing)
    shapes = _shapes(scene, anatomy)
    directions = np.array([_direction(lead) for lead in scene.leads])
    signal = _waves(plan, shapes, directions, scene=scene, rng=anatomy)
    qrs_mv = np.abs(directions @ shapes["N"].dipole_mv[_R])
    for episode in (e for e in scene.episodes if e.kind == "af"):
        signal += _fibrillation(scene, episode, surroundings)
    signal += noise.ambient(surroundings, shape=signal.shape, rate_hz=scene.rate_hz)
    for episode in (e for e in scene.episodes if e.kind in UNREADABLE):
        _spoil(signal, episode, scene=scene, qrs_mv=qrs_mv, rng=surroundings)
    _derive(signal, scene.leads)
    return _with_truth(scene, plan, signal)


def _with_truth(scene: Scene, plan: Beats, signal: NDArray[np.float32]) -> Recording:
    rpeaks = np.rint(plan.time_s * scene.rate_hz).astype(np.int64)
    seen = (rpeaks >= 0) & (rpeaks < signal.shape[1])
    for episode in (e for e in scene.episodes if e.kind in UNREADABLE):
        hidden = _samples(episode, scene)
        seen &= (rpeaks < hidden.start) | (rpeaks >= hidden.stop)
    symbols = np.where((plan.symbol == "N") & scene.wide_qrs, "L", plan.symbol)
    return Recording(
        scene=scene,
        signal_mv=signal,
        rpeaks=rpeaks[seen],
        symbols=tuple(symbols[seen].tolist()),
        rhythms=_rhythms(scene),
        episodes=tuple(_true_episode(episode, plan, scene.duration_s) for episode in scene.episodes),
    )


def _samples(episode: Episode, scene: Scene) -> slice:
    """Give the samples of an episode."""
    return slice(max(0, round(episode.start_s * scene.rate_hz)), round(episode.end_s * scene.rate_hz))


def _rhythms(scene: Scene) -> tuple[tuple[int, str], ...]:
    changes = {0: "(N"}
    for episode in scene.episodes:
        if word := _RHYTHM_WORDS.get(episode.kind):
            changes[round(episode.start_s * scene.rate_hz)] = word
            if episode.end_s < scene.duration_s:
                changes[round(episode.end_s * scene.rate_hz)] = "(N"
    return tuple(sorted(changes.items()))


def _true_episode(episode: Episode, plan: Beats, duration_s: float) -> Episode:
    start_s, end_s = episode.start_s, episode.end_s
    if episode.kind == "pause":
        after = int(np.searchsorted(plan.time_s, start_s, "right"))
        start_s = plan.time_s[after - 1] if after > 0 else start_s
        end_s = plan.time_s[after] if after < len(plan.time_s) else end_s
    return Episode(kind=episode.kind, start_s=max(0.0, float(start_s)), end_s=min(duration_s, float(end_s)))


def _direction(lead: str) -> tuple[float, float, float]:
    """Give the direction in which a lead sees the dipole: left, down, front."""
    if lead in _HORIZONTAL_DEGREES:
        angle = np.deg2rad(_HORIZONTAL_DEGREES[lead])
        return np.cos(angle), 0.0, np.sin(angle)
    angle = np.deg2rad(_FRONTAL_DEGREES[lead])
    reach = np.sqrt(0.75) if lead.startswith("aV") else 1.0  # Goldberger's leads are shorter than Einthoven's
    return reach * np.cos(angle), reach * np.sin(angle), 0.0


def _dipole(size_mv: float, degrees: float, front: float) -> NDArray[np.float64]:
    """Give a dipole of a size in the frontal plane, with a share of it to the front."""
    angle = np.deg2rad(degrees)
    return size_mv * np.array([np.cos(angle), np.sin(angle), front])


def _shapes(scene: Scene, rng: np.random.Generator) -> dict[str, _Shape]:
    """Draw a patient's beats: those of the sinus node, of a ventricular and of an atrial focus."""
    size, axis, breadth = 1.25 * rng.lognormal(0, 0.2), rng.uniform(25, 75), rng.uniform(0.9, 1.15)
    t_size = size * rng.uniform(0.14, 0.22) * (-0.8 if scene.inverted_t or scene.wide_qrs else 1.0)
    t_axis = axis + rng.normal(0, 10)
    wide = 2.0 if scene.wide_qrs else 1.0
    normal = _Shape(
        offset_s=np.array([-0.16, -0.03, 0, 0.05, 0.03 * wide, 0.25, 0.30])
        + rng.normal(0, 0.002, 7) * (1, 1, 0, 0, 1, 1, 1),
        width_s=np.array([0.021, 0.009, 0.011 * wide, 0.021, 0.010 * wide, 0.060, 0.034]) * breadth,
        dipole_mv=np.array(
            [
                _dipole(rng.uniform(0.10, 0.18), rng.uniform(40, 65), 0.2),
                _dipole(0.10 * size, 200, 1.2) * (not scene.wide_qrs),
                _dipole(size, axis, rng.uniform(-0.35, -0.1)),
                _dipole(0.6 * size, axis - 10, -0.6) * scene.wide_qrs,
                _dipole(rng.uniform(0.1, 0.25) * size, 210, -1.5),
                _dipole(t_size, t_axis, rng.uniform(0.1, 0.5)),
                _dipole(t_size, t_axis, rng.uniform(0.1, 0.5)),
            ]
        ),
    )
    return {"N": normal, "V": _ventricular(size, rng), "A": _atrial(normal, rng)}


def _ventricular(size_mv: float, rng: np.random.Generator) -> _Shape:
    """Draw a beat that spreads from a ventricle: no P, wide, notched, with a T wave the other way."""
    axis = 60 + rng.choice([0, 180]) + rng.uniform(-40, 40)
    size, front = size_mv * rng.uniform(1.2, 1.7), rng.uniform(-0.6, 0.6)
    shares = (0, -0.1, 1, 0.45, -0.25, -0.28, -0.2)
    return _Shape(
        offset_s=np.array([-0.16, -0.07, 0, rng.uniform(0.06, 0.08), 0.13, 0.29, 0.35]),
        width_s=np.array([0.02, 0.02, rng.uniform(0.028, 0.036), 0.026, 0.03, 0.06, 0.045]),
        dipole_mv=np.array([_dipole(share * size, axis, front) for share in shares]),
    )


def _atrial(normal: _Shape, rng: np.random.Generator) -> _Shape:
    """Change the P wave of a sinus beat into that of another focus; the ventricles barely notice."""
    offset_s, dipole_mv = normal.offset_s.copy(), normal.dipole_mv * rng.uniform(0.93, 1.05)
    offset_s[_P] = rng.uniform(-0.14, -0.12)
    dipole_mv[_P] = _dipole(rng.uniform(0.08, 0.14), rng.uniform(-100, -50), 0.3)
    return _Shape(offset_s=offset_s, width_s=normal.width_s, dipole_mv=dipole_mv)


def _waves(
    plan: Beats, shapes: dict[str, _Shape], directions: NDArray[np.float64], *, scene: Scene, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Sum the Gaussian events of all beats into (lead, sample) float32."""
    rate_hz, n = scene.rate_hz, round(scene.duration_s * scene.rate_hz)
    before, after = (round(reach * rate_hz) for reach in _REACH_S)
    pad = int((MARGIN_S + 2) * rate_hz)
    padded = np.zeros((len(directions), n + 2 * pad), np.float32)
    heights = _heights(plan, shapes, directions, rng)
    for start in range(0, len(plan.time_s), _BLOCK):
        block = slice(start, start + _BLOCK)
        first = np.rint(plan.time_s[block] * rate_hz).astype(np.int64) - before
        sample = first[:, None] + np.arange(before + after)
        since_r_s = sample / rate_hz - plan.time_s[block, None]
        wave = heights[block] @ _event_waves(plan, block, shapes, since_r_s)
        place = (sample - first[0]).ravel()
        for row, lead_wave in zip(padded, wave.swapaxes(0, 1), strict=True):
            summed = np.bincount(place, lead_wave.ravel())
            row[first[0] + pad :][: len(summed)] += summed
    return padded[:, pad : pad + n].copy()


def _event_waves(
    plan: Beats, block: slice, shapes: dict[str, _Shape], since_r_s: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Evaluate the Gaussian of each event on the windows of some beats: (beat, event, sample) float32, height 1."""
    stretch = np.clip(plan.rr_s[block, None], 0.35, 1.5) ** _STRETCH
    symbol = plan.symbol[block]
    centre = _per_beat(symbol, {name: shape.offset_s for name, shape in shapes.items()}) * stretch
    width = _per_beat(symbol, {name: shape.width_s for name, shape in shapes.items()}) * stretch
    distance = (since_r_s[:, None, :] - centre[..., None]).astype(np.float32) / width[..., None].astype(np.float32)
    gaussian: NDArray[np.float32] = np.exp(-0.5 * distance**2)
    return gaussian


def _heights(
    plan: Beats, shapes: dict[str, _Shape], directions: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Give the height of each event in each lead: (beat, lead, event) float32, millivolts."""
    height = _per_beat(plan.symbol, {name: directions @ shape.dipole_mv.T for name, shape in shapes.items()})
    height[plan.fibrillating, :, _P] = 0
    breathing = 0.03 * np.sin(2 * np.pi * 0.25 * plan.time_s[:, None, None])
    chance = rng.normal(0, 0.015, (len(height), 1, height.shape[2]))
    return (height * (1 + breathing + chance)).astype(np.float32)


def _per_beat(symbol: NDArray[np.str_], values: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Look each beat's symbol up: (beat, …)."""
    names = sorted(values)
    return np.stack([values[name] for name in names])[np.searchsorted(names, symbol)]


def _fibrillation(scene: Scene, episode: Episode, rng: np.random.Generator) -> NDArray[np.float32]:
    """Make the f waves of one episode: (lead, sample), largest over the right atrium."""
    time_s = np.arange(round(scene.duration_s * scene.rate_hz)) / scene.rate_hz
    sway = noise.slow(rng, low_hz=0.1, high_hz=0.5, shape=(2, len(time_s)), rate_hz=scene.rate_hz)
    phase = 2 * np.pi * (rng.uniform(5, 7) * time_s + 0.3 * sway[0])
    saw = sum(np.sin(k * phase) / k for k in (1, 2, 3)) * (1 + 0.2 * sway[1])
    size_mv = np.array([0.08 if lead == "V1" else 0.04 for lead in scene.leads])
    here = (time_s >= episode.start_s) & (time_s < episode.end_s)
    waves: NDArray[np.float32] = (size_mv[:, None] * saw * here).astype(np.float32)
    return waves


def _spoil(
    signal: NDArray[np.float32],
    episode: Episode,
    *,
    scene: Scene,
    qrs_mv: NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    """Make a stretch of the signal unreadable, in place."""
    view = signal[:, _samples(episode, scene)]
    if episode.kind == "missing":
        view[:] = np.nan
    elif episode.kind == "flat":
        view[:] = 0
    else:
        # Signal power of a QRS by its height, as the MIT noise stress test counts it; -3 to -6 dB below the noise.
        power = qrs_mv.max() ** 2 / 8 * 10 ** (rng.uniform(3, 6) / 10)
        view += noise.electrode_motion(rng, shape=view.shape, rate_hz=scene.rate_hz) * np.float32(np.sqrt(power))


def _derive(signal: NDArray[np.float32], leads: tuple[str, ...]) -> None:
    """Compute III, aVR, aVL and aVF from I and II where both are there, in place, as an electrocardiograph does."""
    row = dict(zip(leads, signal, strict=True))
    if not {"I", "II"} <= set(row):
        return
    for lead, (of_i, of_ii) in _FROM_I_AND_II.items():
        if lead in row:
            row[lead][:] = of_i * row["I"] + of_ii * row["II"]
