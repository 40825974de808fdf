"""R peaks are compared one to one within 150 ms, channel by channel as stored, outside flutter."""

import numpy as np
import pytest
from labelled import write

from cardioclarity.errors import NotFoundError
from cardioclarity.evaluation.protocol import Protocol, load
from cardioclarity.evaluation.rpeaks import SUBSETS, Labelled, compare, measure
from cardioclarity.evaluation.subjects import gather
from cardioclarity.storage import open_storage


def labelled(beats, flutter=()):
    return Labelled(
        rate_hz=100.0,
        leads=("MLII",),
        signal_mv=np.zeros((1, 10_000), np.float32),
        beats=np.array(beats),
        flutter=np.array(flutter, np.int64).reshape(-1, 2),
    )


def test_found_missed_and_false_are_counted_and_flutter_counts_for_neither_side():
    record = labelled([100, 200, 300, 5000], flutter=[(4000, 6000)])

    assert compare(record, np.array([101, 215, 400, 4500])) == (2, 1, 1)


def test_the_beats_of_a_clean_archive_are_found_in_both_channels(tmp_path):
    folder = write(tmp_path, ("100", "101"), duration_s=30.0)
    found = measure(gather(load("rpeaks"), [open_storage(str(folder))]))

    figures = {(one.name, one.subset): one for one in found.metrics}
    assert set(figures) == {(n, leads) for n in ("rpeak_sensitivity", "rpeak_ppv") for leads in SUBSETS}
    assert figures["rpeak_sensitivity", "channel:1"].value > 0.95
    assert figures["rpeak_sensitivity", "channel:1"].n_patients == found.n_patients == 2


def test_the_counts_of_a_patients_records_are_pooled(tmp_path):
    folder = write(tmp_path, ("201", "202", "203"), duration_s=30.0)
    found = measure(gather(load("rpeaks"), [open_storage(str(folder))]))

    assert (found.n_patients, found.n_records) == (2, 3)
    assert {one.n_patients for one in found.metrics} == {2}


def test_records_without_reference_beats_are_left_out_aloud_and_an_archive_of_them_is_refused(tmp_path):
    write(tmp_path, ("100", "101"), duration_s=20.0)
    (tmp_path / "100.atr").unlink()
    subjects = gather(Protocol(name="mine", kind="rpeaks"), [open_storage(str(tmp_path))])

    assert measure(subjects).notes == ("1 of 2 records have no reference beats and were left out",)
    (tmp_path / "101.atr").unlink()
    with pytest.raises(NotFoundError, match="none of the 2 records has reference beats"):
        measure(subjects)


@pytest.mark.real_data
def test_a_real_record_is_found_nearly_whole(real_data):
    subjects = gather(Protocol(name="mine", kind="rpeaks", folded=("119",)), [open_storage(str(real_data / "mitdb"))])

    figures = {(one.name, one.subset): one.value for one in measure(subjects).metrics}
    assert figures["rpeak_sensitivity", "channel:1"] > 0.999
    assert figures["rpeak_ppv", "channel:1"] > 0.999
