"""What a network reads of a record: its beat, the beats near it, or the RR intervals around it."""

from dataclasses import dataclass
from typing import Final, Literal, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cardioclarity.detectors.protocol import Normals
from cardioclarity.examples import Examples

NEIGHBOURS: Final = 8
"""Beats near a beat from which it is expected."""
INTERVALS: Final = 32
"""RR intervals around one from which it is expected."""

Inputs = tuple[Tensor, ...]
"""Tensors of (row, ...) float32 that belong together."""

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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Read:
    """What was read of a record: what its beats share is there once, and each beat knows its places in it.

    Attributes:
        beats: (row,) int64, ascending: the beats that can be judged.
        sources: Per input, (item, ...) float32.
        places: Per input, (row,) or (row, n) int64: the items of its source that make the input of a row.
    """

    beats: NDArray[np.int64]
    sources: tuple[Tensor, ...]
    places: tuple[Tensor, ...]

    @classmethod
    def of(cls, beats: NDArray[np.int64], *inputs: tuple[NDArray[np.float32], NDArray[np.int64]]) -> Self:
        """Join the source and the places of each input; arrays that may not be written to are copied."""
        sources, places = ([_tensor(array) for array in arrays] for arrays in zip(*inputs, strict=True))
        return cls(beats=beats, sources=tuple(sources), places=tuple(places))

    def on(self, device: torch.device) -> Self:
        """Take everything to a device; what lies there already stays."""
        sources, places = ([item.to(device) for item in items] for items in (self.sources, self.places))
        return type(self)(beats=self.beats, sources=tuple(sources), places=tuple(places))

    def inputs(self, rows: slice | NDArray[np.int64]) -> Inputs:
        """Give the inputs of some rows, bounded, where the sources lie."""
        chosen = rows if isinstance(rows, slice) else torch.from_numpy(rows)
        gathered = (source[place[chosen]] for source, place in zip(self.sources, self.places, strict=True))
        return tuple(values.clamp_(-_LARGEST, _LARGEST) for values in gathered)


class Reading(Protocol):
    """A way to read a record."""

    def n_samples(self, examples: Examples) -> int:
        """Count the samples of what is judged."""

    def read(self, examples: Examples, n_leads: int) -> Read:
        """Read all beats that can be read on so many leads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The beat itself, as (row, lead, sample): whole, and on leads of known amplitude.

    Attributes:
        name: The array of `Examples`: the short window around a beat, or the one that shows its neighbours.
    """

    name: Literal["beats", "long"]

    def n_samples(self, examples: Examples) -> int:
        """Count the samples of the window."""
        return int(self.signal(examples).shape[-1])

    def read(self, examples: Examples, n_leads: int) -> Read:
        """Read the beats."""
        beats = np.flatnonzero(self.usable(examples, n_leads))
        return Read.of(beats, (self.signal(examples)[:, :n_leads], beats))

    def usable(self, examples: Examples, n_leads: int) -> NDArray[np.bool_]:
        """Tell which beats can be read, as (beat,)."""
        amplitude_mv = examples.amplitude_mv[:n_leads]
        if len(amplitude_mv) < n_leads or not (np.isfinite(amplitude_mv) & (amplitude_mv > 0)).all():
            return np.zeros(len(examples.rpeaks), bool)
        is_known = np.isfinite(self.signal(examples)[:, :n_leads]).all(axis=(1, 2))
        usable: NDArray[np.bool_] = examples.whole & is_known
        return usable

    def signal(self, examples: Examples) -> NDArray[np.float32]:
        """Give the window around every beat of a record, (beat, lead, sample)."""
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

    def read(self, examples: Examples, n_leads: int) -> Read:
        """Read whole beats on leads of known amplitude, with three others in a record whose rhythm is known."""
        usable = np.flatnonzero(_SHORT.usable(examples, n_leads))
        rr_s = examples.rr_s[usable]
        if len(usable) <= _FEWEST_NEIGHBOURS or not np.isfinite(rr_s).any():
            usable, rr_s = usable[:0], rr_s[:0]
        n_samples, places = self.n_samples(examples), np.arange(len(usable))
        fine = _SHORT.signal(examples)[usable, :n_leads, : n_samples * _STEP]
        coarse = fine.reshape(len(usable), n_leads, n_samples, _STEP).mean(axis=-1)
        near = _latest(rr_s, places) if len(usable) else np.zeros((0, NEIGHBOURS), np.int64)
        return Read.of(usable, (coarse, near), (coarse, places))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tachogram:
    """The logarithms of 32 RR intervals around one, with their level, (row, 33), and of the one itself, (row,).

    The interval that follows is left out: after an early beat it is long, and would tell that the beat was early. Where
    fewer intervals are known, the others stand at the level.
    """

    def n_samples(self, examples: Examples) -> int:  # noqa: ARG002 - no sample of the signal is read
        """Count the intervals."""
        return INTERVALS + 1

    def read(self, examples: Examples, n_leads: int) -> Read:  # noqa: ARG002 - no lead is read
        """Read known intervals before whole beats, with four others and the next one in the record."""
        known = np.flatnonzero(examples.whole & np.isfinite(examples.rr_s) & (examples.rr_s > 0))
        if len(known) < _FEWEST_INTERVALS + 2:
            known = known[:0]
        places = np.arange(len(known))
        log_rr = np.log(np.clip(examples.rr_s[known], *_RR_RANGE_S))
        none = np.zeros((0, INTERVALS + 1), np.float32)
        relative, level = _relative(log_rr, places) if len(known) else (none, log_rr)
        return Read.of(known, (relative, places), (log_rr - level, places))


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
        read = reading.read(examples, n_leads)
        rows = np.flatnonzero(is_normal[read.beats])
        if len(rows):
            drawn.append(read.inputs(np.sort(rng.permutation(rows)[:at_most])))
    return tuple(torch.cat(tensors) for tensors in zip(*drawn, strict=True)) if drawn else None


def _tensor(array: NDArray[np.generic]) -> Tensor:
    """Share the memory of an array with torch, which takes none that may not be written to."""
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _relative(log_rr: NDArray[np.float32], at: NDArray[np.intp]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Give (row, 33) the intervals around each and their level, and (row,) that level."""
    others = log_rr[_around(at, len(log_rr), INTERVALS, skipped=2)]
    level = np.quantile(others, _LEVEL_QUANTILE, axis=1, keepdims=True).astype(np.float32)
    relative = np.zeros((len(at), INTERVALS + 1), np.float32)
    relative[:, : others.shape[1]] = others - level
    relative[:, -1:] = level - np.float32(_USUAL_LOG_RR)
    return relative, level[:, 0]


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
