"""A record is named by its content, and its millivolts are (sample - baseline) / gain."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardioclarity.record import Annotations, Record, content_id


def record(signal, leads=("MLII", "V1"), gain=200.0, baseline=1024.0, annotations=None):
    signal = np.asarray(signal, np.int16)
    return Record(
        record_id=content_id(signal=signal, rate_hz=360.0, leads=leads[: len(signal)], salt=""),
        rate_hz=360.0,
        leads=leads[: len(signal)],
        source_leads=leads[: len(signal)],
        signal=signal,
        gain=np.full(len(signal), gain),
        baseline=np.full(len(signal), baseline),
        annotations=annotations or Annotations.none(),
    )


signals = st.lists(st.integers(-32767, 32767), min_size=2, max_size=30).map(lambda row: np.array([row], np.int16))


@given(signals, st.floats(0.5, 5000), st.integers(-3000, 3000))
def test_millivolts_give_the_digital_samples_back(signal, gain, baseline):
    mv = record(signal, gain=gain, baseline=float(baseline)).millivolts()

    assert mv.dtype == np.float32
    np.testing.assert_allclose(mv * gain + baseline, signal, rtol=1e-6, atol=0.02)


def test_a_missing_sample_is_not_a_number():
    mv = record([[np.iinfo(np.int16).min, 1024, 1224]]).millivolts()

    np.testing.assert_array_equal(mv, np.float32([[np.nan, 0.0, 1.0]]))


@given(signals, st.data())
def test_another_sample_rate_lead_or_order_gives_another_id(signal, data):
    i = data.draw(st.integers(0, signal.shape[1] - 1))
    changed = signal.copy()
    changed[0, i] += 1 if changed[0, i] < 32767 else -1
    name = content_id(signal=signal, rate_hz=360.0, leads=("I",), salt="s")

    assert content_id(signal=changed, rate_hz=360.0, leads=("I",), salt="s") != name
    assert content_id(signal=signal, rate_hz=250.0, leads=("I",), salt="s") != name
    assert content_id(signal=signal, rate_hz=360.0, leads=("II",), salt="s") != name


@given(signals)
def test_the_width_of_the_integers_does_not_change_the_id(signal):
    narrow = content_id(signal=signal, rate_hz=360.0, leads=("I",), salt="s")

    assert content_id(signal=signal.astype(np.int32), rate_hz=360.0, leads=("I",), salt="s") == narrow


def test_a_missing_sample_is_the_same_in_any_width():
    narrow = np.array([[1, np.iinfo(np.int16).min, 3]], np.int16)
    wide = np.array([[1, np.iinfo(np.int32).min, 3]], np.int32)

    def name(signal):
        return content_id(signal=signal, rate_hz=360.0, leads=("I",), salt="")

    assert name(narrow) == name(wide) != name(np.array([[1, -32768, 3]], np.int32))


def test_computed_leads_take_no_part_in_the_id():
    one, two = np.array([[1, 5, 2]], np.int16), np.array([[4, 4, 9]], np.int16)
    both = np.concatenate([one, two])
    with_third = np.concatenate([one, two, two - one])

    stored = content_id(signal=both, rate_hz=500.0, leads=("I", "II"), salt="")

    assert content_id(signal=with_third, rate_hz=500.0, leads=("I", "II", "III"), salt="") == stored
    assert content_id(signal=with_third[:2], rate_hz=500.0, leads=("I", "III"), salt="") != stored


def test_two_flat_recordings_are_never_one():
    flat, wavy = np.zeros((1, 9), np.int16), np.arange(9, dtype=np.int16)[None]

    assert content_id(signal=flat, rate_hz=1.0, leads=("I",), salt="a") != content_id(
        signal=flat, rate_hz=1.0, leads=("I",), salt="b"
    )
    assert content_id(signal=wavy, rate_hz=1.0, leads=("I",), salt="a") == content_id(
        signal=wavy, rate_hz=1.0, leads=("I",), salt="b"
    )


def test_the_beginning_keeps_the_id_and_drops_later_annotations():
    annotations = Annotations(sample=np.array([10, 400], np.int64), symbol=("N", "V"), aux=("", ""))
    whole = record([np.arange(720)], annotations=annotations)

    beginning = whole.head(1.0)

    assert (beginning.n_samples, beginning.record_id, beginning.annotations.symbol) == (360, whole.record_id, ("N",))
    assert whole.head(99) is whole


def test_arrays_of_a_record_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        record([[1, 2]]).signal[0, 0] = 7


def test_leads_out_of_order_are_our_own_mistake():
    with pytest.raises(AssertionError):
        record([[1, 2], [3, 4]], leads=("V1", "I"))
