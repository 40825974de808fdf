"""The laws of every reader, over the registry: a format without a sample here does not pass."""

import numpy as np
import pytest
from ecg_files import SAMPLES, fetch_from, sources
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cardioclarity import readers
from cardioclarity.errors import DataError, LimitExceededError, UnreadableFileError
from cardioclarity.readers.protocol import Limits
from cardioclarity.vocabulary import LEAD_ORDER, LEADS, Reason

every_format = pytest.mark.parametrize("name", sorted(readers.REGISTRY))


def read(files, limits=Limits(), **options):  # noqa: B008 - frozen
    (source,) = sources(files)
    return readers.read(source, fetch_from(files), limits, **options)


def test_every_registered_format_has_a_sample_and_every_sample_a_format():
    assert SAMPLES.keys() == readers.REGISTRY.keys()


@every_format
def test_the_sample_is_grouped_as_one_record_of_its_format(name):
    (source,) = sources(SAMPLES[name]())

    assert source.format == name


@every_format
def test_a_record_is_digital_sealed_and_in_canonical_order(name):
    record = read(SAMPLES[name]())

    assert record.signal.dtype in {np.dtype(np.int16), np.dtype(np.int32)}
    assert record.signal.flags.c_contiguous
    assert not record.signal.flags.writeable
    assert set(record.leads) <= set(LEADS)
    assert list(record.leads) == sorted(set(record.leads), key=LEAD_ORDER.__getitem__)
    assert np.isfinite([record.gain, record.baseline]).all()
    assert record.gain.all()
    assert min(record.n_samples, record.rate_hz) > 0


@every_format
def test_annotations_lie_inside_the_signal_in_the_order_of_time(name):
    record = read(SAMPLES[name]())

    assert (np.diff(record.annotations.sample) >= 0).all()
    assert ((record.annotations.sample >= 0) & (record.annotations.sample < record.n_samples)).all()


@every_format
def test_reading_again_gives_the_same_record(name):
    first, second = read(SAMPLES[name]()), read(SAMPLES[name]())

    np.testing.assert_array_equal(first.signal, second.signal)
    assert first.record_id == second.record_id
    assert len(first.record_id) == 32


@every_format
def test_another_file_name_gives_the_same_record(name):
    files = SAMPLES[name]()

    moved = read({f"elsewhere/{key}": data for key, data in files.items()})

    assert moved.record_id == read(files).record_id


@every_format
def test_an_absent_file_never_gives_another_error_than_ours(name):
    files = SAMPLES[name]()
    (source,) = sources(files)
    reasons = set()
    for key in files:
        fetch = fetch_from({other: data for other, data in files.items() if other != key})
        try:
            readers.read(source, fetch)
        except UnreadableFileError as error:
            reasons.add(error.reason)

    assert Reason.NO_HEADER in reasons
    assert reasons <= {Reason.NO_HEADER, Reason.MISSING_FILE}


@every_format
def test_a_file_that_may_not_be_so_large_is_refused_before_it_is_fetched(name):
    (source,) = sources(SAMPLES[name]())

    def fetch(key):
        raise AssertionError("fetched")

    with pytest.raises(LimitExceededError) as caught:
        readers.read(source, fetch, Limits(file_bytes=source.size - 1))

    assert caught.value.reason is Reason.TOO_LARGE


@every_format
def test_storage_that_fails_is_not_bad_data(name):
    (source,) = sources(SAMPLES[name]())

    def fetch(key):
        raise PermissionError(key)

    with pytest.raises(PermissionError):
        readers.read(source, fetch)


@every_format
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_mutant_of_any_file_gives_a_record_or_a_data_error(name, data):
    files = SAMPLES[name]()
    key = data.draw(st.sampled_from(sorted(files)))
    mutant = bytearray(files[key])
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(mutant)))
        mutant[start : start + data.draw(st.integers(0, 6))] = data.draw(st.binary(max_size=6))
    files[key] = bytes(mutant)

    try:
        record = read(files)
    except DataError:
        return

    assert record.n_samples > 0
    assert np.isfinite(record.gain).all()
