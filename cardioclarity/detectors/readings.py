"""What a network reads of a record: its beat, the beats near it, or the RR intervals around it."""

from dataclasses import dataclass
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cardioclarity.detectors.protocol import Normals
from cardioclarity.examples import Examples

NEIGHBOURS: Final = 8
"""Beats near a beat from which it is expected."""
INTERVALS: Final = 32
"""RR intervals around one from which it is expected."""

Inputs = tuple[NDArray[np.float32], ...]
"""Arrays of (row, ...) that belong together."""

_BEATS_PER_RECORD: Final = 700
"""Drawn from each record, so that a long one does not own the fit."""
_BEATS_IN_ALL: Final = 200_000
"""Fewer are drawn from each record where there are many: with their neighbours, so many beats fill 0.9 GB."""

_LARGEST: Final = 50.0
"""Input is clipped to so many QRS amplitudes: nothing a heart does is near, and squares stay finite."""

_REACH: Final = 12
"""Neighbours are chosen among so many beats before and after: on the development half of MIT-BIH, folds of unseen
patients, 8 beats on each side give an AUROC of 0.952, 12 of 0.956 and 16 of 0.958."""
_FEWEST_NEIGHBOURS: Final = 3
_STEP: Final = 2  # samples of the short window that are averaged: 100 Hz are as good as 200 and cost half

_FEWEST_INTERVALS: Final = 4
_LEVEL_QUANTILE: Final = 0.6  # of the intervals around: in bigeminy the median is a short one
_RR_RANGE_S: Final = (0.2, 3.0)
_USUAL_LOG_RR: Final = -0.25  # of 0.78 s, so that inputs lie around 0


class Reading(Protocol):
    """A way to read a record."""

    def n_samples(self, examples: Examples) -> int:
        """Count the samples of what is judged."""

    def usable(self, examples: Examples, n_leads: int) -> NDArray[np.bool_]:
        """Tell which beats can be read with so many leads, as (beat,)."""

    def inputs(self, examples: Examples, n_leads: int, rows: NDArray[np.int64]) -> Inputs:
        """Give what is read of some usable beats, ascending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The beat itself, as (row, lead, sample).

    Attributes:
        name: The array of `Examples`: the short window around a beat, or the one that shows its neighbours.
    """

    name: Literal["beats", "long"]

    def n_samples(self, examples: Examples) -> int:
        """Count the samples of the window."""
        return int(self._signal(examples).shape[-1])

    def usable(self, examples: Examples, n_leads: int) -> NDArray[np.bool_]:
        """Tell which beats are whole on leads of known amplitude."""
        amplitude_mv = examples.amplitude_mv[:n_leads]
        if len(amplitude_mv) < n_leads or not (np.isfinite(amplitude_mv) & (amplitude_mv > 0)).all():
            return np.zeros(len(examples.rpeaks), bool)
        is_known = np.isfinite(self._signal(examples)[:, :n_leads]).all(axis=(1, 2))
        usable: NDArray[np.bool_] = examples.whole & is_known
        return usable

    def inputs(self, examples: Examples, n_leads: int, rows: NDArray[np.int64]) -> Inputs:
        """Take the beats, bounded."""
        return (np.clip(self._signal(examples)[rows, :n_leads], -_LARGEST, _LARGEST),)

    def _signal(self, examples: Examples) -> NDArray[np.float32]:
        return examples.beats if self.name == "beats" else examples.long


_SHORT: Final = Window(name="beats")


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbourhood:
    """Eight beats near a beat, (row, neighbour, lead, sample), and the beat, (row, lead, sample), at 100 Hz.

    Of the twelve usable beats on each side the latest are taken, those after the longest RR intervals: in bigeminy and
    runs most beats are abnormal, but they are early. Near an end of the record the other side gives more; where there
    are fewer than eight others they come again.
    """

    def n_samples(self, examples: Examples) -> int:
        """Count the samples of a beat."""
        return _SHORT.n_samples(examples) // _STEP

    def usable(self, examples: Examples, n_leads: int) -> NDArray[np.bool_]:
        """Tell which beats are whole on leads of known amplitude, with three others in a record whose rhythm is known."""
        usable = _SHORT.usable(examples, n_leads)
        is_enough = usable.sum() > _FEWEST_NEIGHBOURS and bool(np.isfinite(examples.rr_s[usable]).any())
        return usable if is_enough else np.zeros_like(usable)

    def inputs(self, examples: Examples, n_leads: int, rows: NDArray[np.int64]) -> Inputs:
        """Take the neighbours and the beats, bounded."""
        usable = np.flatnonzero(self.usable(examples, n_leads))
        near = usable[_latest(examples.rr_s[usable], np.searchsorted(usable, rows))]
        read, place = np.unique(np.concatenate([rows[:, None], near], axis=1), return_inverse=True)
        place = place.reshape(len(rows), -1)
        (beats,) = _SHORT.inputs(examples, n_leads, read)
        n_samples = self.n_samples(examples)
        coarse = beats[..., : n_samples * _STEP].reshape(*beats.shape[:2], n_samples, _STEP).mean(axis=-1)
        return coarse[place[:, 1:]], coarse[place[:, 0]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tachogram:
    """The logarithms of 32 RR intervals around one, with their level, (row, 33), and of the one itself, (row,).

    The interval that follows is left out: after an early beat it is long, and would tell that the beat was early. Where
    fewer intervals are known, the others stand at the level.
    """

    def n_samples(self, examples: Examples) -> int:  # noqa: ARG002 - no sample of the signal is read
        """Count the intervals."""
        return INTERVALS + 1

    def usable(self, examples: Examples, n_leads: int) -> NDArray[np.bool_]:  # noqa: ARG002 - no lead is read
        """Tell which intervals of whole beats are known, with four others and the next one in the record."""
        known: NDArray[np.bool_] = examples.whole & np.isfinite(examples.rr_s) & (examples.rr_s > 0)
        return known if known.sum() >= _FEWEST_INTERVALS + 2 else np.zeros_like(known)

    def inputs(self, examples: Examples, n_leads: int, rows: NDArray[np.int64]) -> Inputs:
        """Take the intervals."""
        known = np.flatnonzero(self.usable(examples, n_leads))
        log_rr = np.log(np.clip(examples.rr_s[known], *_RR_RANGE_S))
        at = np.searchsorted(known, rows)
        others = log_rr[_around(at, len(known), INTERVALS, skipped=2)]
        level = np.quantile(others, _LEVEL_QUANTILE, axis=1, keepdims=True).astype(np.float32)
        relative = np.zeros((len(rows), INTERVALS + 1), np.float32)
        relative[:, : others.shape[1]] = others - level
        relative[:, -1:] = level - np.float32(_USUAL_LOG_RR)
        return relative, log_rr[at] - level[:, 0]


def common_leads(normals: Normals, *, at_most: int | None) -> int:
    """Count the analysed leads that most of the records have."""
    n_leads = [len(examples.leads) for examples in normals.records]
    common = int(np.median(n_leads)) if n_leads else 1
    return max(common if at_most is None else min(common, at_most), 1)


def draw(reading: Reading, normals: Normals, n_leads: int, rng: np.random.Generator) -> Inputs | None:
    """Draw at most 700 normal beats of every record, as they are read; None where there are none."""
    at_most = min(_BEATS_PER_RECORD, max(1, _BEATS_IN_ALL // max(1, len(normals.records))))
    drawn = []
    for examples, is_normal in zip(normals.records, normals.beats, strict=True):
        rows = np.flatnonzero(is_normal & reading.usable(examples, n_leads))
        if len(rows):
            drawn.append(reading.inputs(examples, n_leads, np.sort(rng.permutation(rows)[:at_most])))
    return tuple(np.concatenate(arrays) for arrays in zip(*drawn, strict=True)) if drawn else None


def _around(at: NDArray[np.intp], n: int, width: int, *, skipped: int) -> NDArray[np.intp]:
    """Index (row, other) the nearest others among n: as many before as after, more of one side near an end.

    Args:
        at: (row,) place of each.
        n: How many there are.
        width: How many others are wanted; fewer where there are fewer.
        skipped: How many are passed over, from the place itself on.
    """
    width = min(width, n - skipped)
    first = np.clip(at - width // 2, 0, n - width - skipped)
    others = first[:, None] + np.arange(width)
    around: NDArray[np.intp] = others + skipped * (others >= at[:, None])
    return around


def _latest(rr_s: NDArray[np.float32], at: NDArray[np.intp]) -> NDArray[np.intp]:
    """Choose (row, NEIGHBOURS) among the beats around each place those with the longest RR before them, in order."""
    around = _around(at, len(rr_s), 2 * _REACH, skipped=1)
    rr_around = np.nan_to_num(rr_s[around], nan=0.0)
    latest = np.argsort(-rr_around, axis=1, kind="stable")[:, :NEIGHBOURS]
    chosen = np.take_along_axis(around, np.sort(latest, axis=1), axis=1)
    repeated: NDArray[np.intp] = np.take(chosen, np.arange(NEIGHBOURS) % chosen.shape[1], axis=1)
    return repeated


_: tuple[Reading, ...] = (_SHORT, Neighbourhood(), Tachogram())
