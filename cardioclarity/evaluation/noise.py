"""Noise: real noise mixed into clean records at known signal-to-noise ratios, and what the quality head calls unreadable.

As nst of the WFDB package does it: clean until 5:00, then noisy and clean stretches of 2 minutes in turn, the noise of
each channel scaled to the signal power of that channel itself. The signal's power is p²/8, p the trimmed mean of the
peak-to-peak of its first 300 QRS complexes; the noise's is the square of the trimmed mean of the root mean square of its
first 300 seconds.

Source: Moody, Muldrow, Mark 1984; nst(1) and sigamp(1) of the WFDB package. The published mix 118e06 was made with gains of
    1.483 and 3.83; these rules give 1.481 and 3.77, and a test holds them to that.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cardioclarity.detectors.quality import FittedQuality
from cardioclarity.ensemble import Model
from cardioclarity.errors import NotFoundError, UsageError
from cardioclarity.evaluation.fits import candidate
from cardioclarity.evaluation.protocol import Protocol
from cardioclarity.evaluation.results import Found, Metric, ratio_metric
from cardioclarity.evaluation.rhythm import fit, slim
from cardioclarity.evaluation.rpeaks import left_out
from cardioclarity.evaluation.subjects import Subject, locate
from cardioclarity.examples import Examples, Recipe, prepare
from cardioclarity.filtering import resample
from cardioclarity.readers import wfdb_header, wfdb_signal
from cardioclarity.readers.archive import safe_key
from cardioclarity.readers.protocol import Limits
from cardioclarity.record import Record
from cardioclarity.references import rhythm_stretches
from cardioclarity.storage import Storage
from cardioclarity.vocabulary import BEAT_CLASSES
from cardioclarity.windows import window_ends

VENTRICULAR: Final = ("VT", "VFL", "VF")
_QRS_S: Final = (0.05, 0.1)
_TRIMMED: Final = 0.05
_POWER_COUNT: Final = 300  # beats, and seconds

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Noise:
    """One noise record.

    Attributes:
        kind: Such as ``em``, electrode motion.
        rate_hz: Samples per second.
        signal: (channel, sample) float64, in any unit.
    """

    kind: str
    rate_hz: float
    signal: Floats

    def at(self, rate_hz: float) -> Floats:
        """Give the noise at another rate."""
        if rate_hz == self.rate_hz:
            return self.signal
        return np.asarray(resample(self.signal.astype(np.float32), rate_hz=self.rate_hz, to_hz=rate_hz), np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """What is mixed in.

    Attributes:
        kinds: Kinds that count.
        also: Kinds that are told but not counted.
        snr_db: Signal-to-noise ratios.
        first_s: Where the first noisy stretch begins.
        period_s: Length of each noisy and each clean stretch.
    """

    kinds: tuple[str, ...]
    also: tuple[str, ...] = ()
    snr_db: tuple[float, ...] = (6.0, 0.0)
    first_s: float = 300.0
    period_s: float = 120.0

    def noisy(self, at_s: Floats) -> NDArray[np.bool_]:
        """Tell which moments lie in a noisy stretch."""
        since = at_s - self.first_s
        inside: NDArray[np.bool_] = (since >= 0) & (np.floor_divide(since, self.period_s) % 2 == 0)
        return inside


def measure(
    protocol: Protocol, subjects: Mapping[str, Subject], archives: Sequence[Storage], model: Model | None
) -> Found:
    """Count the windows that the quality head of the other folds calls unreadable.

    Args:
        protocol: Folds of patients, and what is mixed in.
        subjects: Records with reference beats, from which the signal's power is known.
        archives: Where the noise records lie.
        model: A fitted model, in place of the fits.

    Returns:
        Shares of the noisy windows by kind and ratio, of the windows of the untouched records, and of those of them
        that are in ventricular tachycardia or flutter.

    Raises:
        NotFoundError: A noise record is missing, or no record has reference beats.
    """
    mix = Mix(**protocol.noise)
    noises = [noise_record(archives, kind) for kind in (*mix.kinds, *mix.also)]
    recipe = Recipe() if model is None else model.recipe
    records = {name: subject.read() for name, subject in subjects.items()}
    records = {name: record for name, record in records.items() if len(_beats(record))}
    if not records:
        raise NotFoundError(f"none of the {len(subjects)} records has reference beats; noise is scaled to their height")
    clean = {name: slim(prepare(record, recipe)) for name, record in records.items()}
    counts: dict[tuple[str, str], dict[str, Floats]] = {}
    for names, quality in _heads(protocol, subjects, records, clean, model):
        for name in names:
            as_clean = replace(recipe, n_leads=len(clean[name].leads))
            mixed = _mixed(subjects[name], records[name], noises, mix, as_clean)
            for key, (unreadable, n) in _counted(records[name], clean[name], mixed, quality, mix):
                own = counts.setdefault(key, {})
                own[subjects[name].patient] = own.get(subjects[name].patient, np.zeros(2)) + np.array([unreadable, n])
    pooled = [counts[key] for key in counts if key[0] == "noise_unreadable_share" and _kind(key[1]) in mix.kinds]
    counts = {("noise_unreadable_share", "all"): _summed(pooled), **counts}
    return Found(
        metrics=tuple(_metric(name, subset, own) for (name, subset), own in counts.items()),
        n_patients=len({subjects[name].patient for name in records}),
        n_records=len(records),
        notes=(
            *left_out(len(subjects) - len(records), len(subjects), "reference beats"),
            (
                f"noise counted: {', '.join(mix.kinds)}; told only: {', '.join(mix.also) or 'none'}; every window of the "
                "untouched records counts as clean, also where the database itself is noisy"
            ),
        ),
    )


def _heads(
    protocol: Protocol,
    subjects: Mapping[str, Subject],
    records: Mapping[str, Record],
    clean: Mapping[str, Examples],
    model: Model | None,
) -> Iterator[tuple[tuple[str, ...], FittedQuality]]:
    """Give the tested records of each fold and the quality head of the others."""
    if model is not None:
        yield tuple(records), model.quality
        return
    splits = [split for split in protocol.splits(tuple(records)) if split.train and split.test]
    if not splits:
        raise UsageError(f"protocol {protocol.name}: give [folds], records in [train] and [test], or --model")
    for split in splits:
        _, quality = fit([candidate(subjects[name].patient, records[name], clean[name]) for name in split.train])
        yield split.test, quality


def _mixed(
    subject: Subject, record: Record, noises: Sequence[Noise], mix: Mix, recipe: Recipe
) -> Iterator[tuple[str, Examples]]:
    """Give a record with each noise at each ratio, and the subset that it belongs to."""
    channels = subject.channels(record)
    for noise in noises:
        for snr_db in mix.snr_db:
            mixed = mixed_record(record, noise, channels, snr_db, mix)
            yield f"kind:{noise.kind}/snr:{snr_db:g}", prepare(mixed, recipe)


def _counted(
    record: Record, clean: Examples, mixed: Iterable[tuple[str, Examples]], quality: FittedQuality, mix: Mix
) -> Iterator[tuple[tuple[str, str], tuple[float, float]]]:
    """Count unreadable windows of one record: (figure, subset) → how many of how many."""
    unreadable = quality.score(clean) > 0
    ventricular = _ventricular(clean, record)
    yield ("clean_unreadable_share", "all"), _of(unreadable, ~ventricular)
    yield ("vt_unreadable_share", "all"), _of(unreadable, ventricular)
    starts_s = clean.window_start / clean.rate_hz
    ends_s = window_ends(clean.window_start, n_samples=clean.n_samples) / clean.rate_hz
    is_noisy = mix.noisy(starts_s) & mix.noisy(ends_s - 0.5 / clean.rate_hz)
    for subset, noisy in mixed:
        yield ("noise_unreadable_share", subset), _of(quality.score(noisy) > 0, is_noisy)


def _of(unreadable: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> tuple[float, float]:
    return float((unreadable & chosen).sum()), float(chosen.sum())


def _kind(subset: str) -> str:
    return subset.partition("/")[0].removeprefix("kind:")


def _summed(tables: Sequence[Mapping[str, Floats]]) -> dict[str, Floats]:
    patients = dict.fromkeys(patient for table in tables for patient in table)
    return {patient: np.sum([table[patient] for table in tables if patient in table], axis=0) for patient in patients}


def _metric(name: str, subset: str, counts: Mapping[str, Floats]) -> Metric:
    unreadable, n = np.stack(list(counts.values())).T
    return ratio_metric("quality", name, subset, unreadable, n)


def _ventricular(examples: Examples, record: Record) -> NDArray[np.bool_]:
    """(window,) bool: at least half in ventricular tachycardia, flutter or fibrillation, as annotated."""
    starts, ends = examples.window_start, window_ends(examples.window_start, n_samples=examples.n_samples)
    held = np.zeros(len(starts))
    for word, start, end in rhythm_stretches(record.annotations):
        if word in VENTRICULAR:
            held += np.clip(np.minimum(ends, end) - np.maximum(starts, start), 0, None)
    inside: NDArray[np.bool_] = 2 * held >= ends - starts
    return inside


def noise_record(archives: Sequence[Storage], kind: str) -> Noise:
    """Find and read a noise record: its header is named after the kind, such as ``em.hea`` or ``em_first10.hea``.

    Raises:
        NotFoundError: There is none.
    """
    found = locate(
        archives, lambda name: name == f"{kind}.hea" or (name.startswith(f"{kind}_") and name.endswith(".hea"))
    )
    if not found:
        raise NotFoundError(
            f"{' and '.join(archive.name for archive in archives)}: the noise record {kind} is missing; give the folder of the "
            "MIT-BIH Noise Stress Test Database with a second --archive"
        )
    archive, key = found[0]
    header = wfdb_header.parse(archive.fetch_checked(key), Limits())
    wanted = list(range(len(header.signals)))
    groups = wfdb_signal.groups(header.signals, wanted)
    files = {group.file: archive.fetch_checked(safe_key(group.file, header_key=key)) for group in groups}
    decoded = wfdb_signal.decode(groups, files, wanted=wanted, n_samples=header.n_samples)
    return Noise(kind=kind, rate_hz=header.rate_hz, signal=decoded.signal.astype(np.float64))


def mixed_record(record: Record, noise: Noise, channels: Sequence[int], snr_db: float, mix: Mix) -> Record:
    """Add the noise of the same minute to the noisy stretches of a record.

    Args:
        record: The clean record.
        noise: The noise; from its beginning again where it is shorter.
        channels: Row of the record that holds each stored channel.
        snr_db: Signal-to-noise ratio.
        mix: Where it is noisy.
    """
    noisy = mix.noisy(np.arange(record.n_samples) / record.rate_hz)
    source = noise.at(record.rate_hz)
    source = source - source.mean(axis=1, keepdims=True)
    wide = record.signal.astype(np.float64)
    for stored, row in enumerate(channels):
        own = source[stored % len(source)]
        gain = noise_gain(signal_power(record, row), noise_power(own, record.rate_hz), snr_db)
        wide[row] += np.where(noisy, gain * record.gain[row] * np.resize(own, record.n_samples), 0.0)
    limits = np.iinfo(record.signal.dtype)
    mixed = np.clip(np.rint(wide), limits.min + 1, limits.max).astype(record.signal.dtype)
    missing = record.signal == limits.min
    return replace(record, signal=np.where(missing, record.signal, mixed))


def noise_gain(signal_mv2: float, noise_power: float, snr_db: float) -> float:
    """Give the factor of the noise that makes the ratio of the powers what it should be."""
    return float(np.sqrt(signal_mv2 / noise_power * 10 ** (-snr_db / 10))) if noise_power > 0 else 0.0


def signal_power(record: Record, row: int) -> float:
    """Give p²/8 in square millivolts, p the trimmed mean of the QRS height over the first 300 normal beats."""
    signal_mv = np.nan_to_num(record.millivolts()[row])
    before, after = (round(part * record.rate_hz) for part in _QRS_S)
    beats = [at for at in _beats(record)[:_POWER_COUNT].tolist() if before <= at < len(signal_mv) - after]
    heights = [float(np.ptp(signal_mv[at - before : at + after])) for at in beats]
    return trimmed_mean(np.array(heights)) ** 2 / 8


def noise_power(signal: Floats, rate_hz: float) -> float:
    """Give the square of the trimmed mean of the root mean square of the first 300 seconds, each about its own mean."""
    width = round(rate_hz)
    seconds = signal[: min(len(signal) // width, _POWER_COUNT) * width].reshape(-1, width)
    return trimmed_mean(seconds.std(axis=1)) ** 2


def trimmed_mean(values: Floats) -> float:
    """Give the mean without the smallest and the largest 5 %; 0 without a value."""
    ascending = np.sort(values)
    cut = int(_TRIMMED * len(ascending))
    kept = ascending[cut : len(ascending) - cut]
    return float(kept.mean()) if len(kept) else 0.0


def _beats(record: Record) -> NDArray[np.int64]:
    """(beat,) reference positions of the normal beats."""
    normal = np.array([BEAT_CLASSES.get(symbol) == "N" for symbol in record.annotations.symbol], bool)
    beats: NDArray[np.int64] = record.annotations.sample[normal]
    return beats
