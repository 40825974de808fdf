"""Noise is added where and as strongly as the test says, and nothing else of the record changes."""

import numpy as np
import pytest

from cardioclarity.record import Annotations, Record
from cardioclarity.stress import is_noisy, stressed

RATE_HZ = 100.0
N_SAMPLES = 80_000
GAIN = np.array([1000.0, 200.0])


def clean(dtype=np.int16, *, height_mv=(2.0, 0.5)):
    """Two leads of triangles of a known height, one per second."""
    triangle = np.maximum(0, 1 - np.abs(np.arange(100) - 50) / 5)
    signal_mv = np.outer(height_mv, np.tile(triangle, N_SAMPLES // 100))
    return Record(
        record_id="0" * 32,
        rate_hz=RATE_HZ,
        leads=("I", "II"),
        source_leads=("I", "II"),
        signal=(signal_mv * GAIN[:, None]).astype(dtype),
        gain=GAIN,
        baseline=np.zeros(2),
        annotations=Annotations.none(),
    )


RPEAKS = np.arange(50, N_SAMPLES, 100)


def noise(n_samples=60_000):
    return np.random.default_rng(0).normal(0, [[1.0], [7.0]], (2, n_samples)).astype(np.float32)


def added_mv(record, mixed):
    return (mixed.signal.astype(float) - record.signal) / record.gain[:, None]


def test_after_five_minutes_every_other_two_are_noisy():
    edges = np.flatnonzero(np.diff(is_noisy(N_SAMPLES, rate_hz=RATE_HZ))) + 1

    assert (edges / RATE_HZ).tolist() == [300, 420, 540, 660, 780]
    assert not is_noisy(29_999, rate_hz=RATE_HZ).any()


@pytest.mark.parametrize("snr_db", [0.0, 6.0])
def test_each_lead_has_noise_at_the_ratio_to_its_own_qrs_and_only_in_its_stretches(snr_db):
    record = clean()

    added = added_mv(record, stressed(record, noise(), rpeaks=RPEAKS, snr_db=snr_db))

    noisy = is_noisy(N_SAMPLES, rate_hz=RATE_HZ)
    assert (added[:, ~noisy] == 0).all()
    powers = np.array([2.0, 0.5]) ** 2 / 8 / added[:, 30_000:42_000].var(axis=1)
    np.testing.assert_allclose(10 * np.log10(powers), snr_db, atol=0.3)


def test_wander_from_second_to_second_does_not_count_as_noise():
    wander = np.cumsum(np.ones(60_000, np.float32)) * np.float32(0.003)

    plain, wandering = (
        added_mv(clean(), stressed(clean(), waves, rpeaks=RPEAKS, snr_db=0.0)) for waves in (noise(), noise() + wander)
    )

    assert np.diff(wandering[0, 30_000:42_000]).std() == pytest.approx(np.diff(plain[0, 30_000:42_000]).std(), rel=0.01)


def test_noise_starts_with_the_record_without_a_step_and_is_repeated():
    mixed = stressed(clean(), noise(50_000), rpeaks=RPEAKS, snr_db=0.0)

    added = added_mv(clean(), mixed)[0]
    shifts = {start: noise(50_000)[0, (start + np.arange(12_000)) % 50_000] for start in (30_000, 54_000)}
    for start, wave in shifts.items():
        assert added[start] == 0
        assert np.corrcoef(added[start : start + 12_000], wave)[0, 1] > 0.999


def test_one_channel_of_noise_serves_all_leads():
    added = added_mv(clean(), stressed(clean(), noise()[:1], rpeaks=RPEAKS, snr_db=0.0))

    assert np.corrcoef(added)[0, 1] > 0.99


def test_missing_samples_stay_missing_and_the_sample_type_is_not_left():
    record = clean()
    signal = record.signal.copy()
    signal[0, 30_000:30_100] = np.iinfo(np.int16).min
    signal[0, 30_100:42_000] = 32_000
    record = Record(**{name: getattr(record, name) for name in record.__slots__} | {"signal": signal})

    mixed = stressed(record, noise(), rpeaks=RPEAKS, snr_db=-12.0)

    assert mixed.signal.dtype == np.int16
    assert (mixed.signal[0, 30_000:30_100] == np.iinfo(np.int16).min).all()
    assert (mixed.signal[0, 30_100:42_000] > 0).all()
    assert mixed.signal[0].max() == np.iinfo(np.int16).max


def test_a_lead_without_beats_stays_clean_and_the_rest_of_the_record_too():
    record = clean()

    mixed = stressed(record, noise(), rpeaks=np.zeros(0, np.int64), snr_db=0.0)

    np.testing.assert_array_equal(mixed.signal, record.signal)
    assert (mixed.record_id, mixed.leads, mixed.rate_hz) == (record.record_id, record.leads, RATE_HZ)
