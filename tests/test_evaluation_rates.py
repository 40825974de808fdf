"""Rates of own R peaks are held against those of reference beats, window by window."""

import numpy as np
import pytest
from labelled import write

from cardioclarity.errors import NotFoundError
from cardioclarity.evaluation.protocol import Protocol, load
from cardioclarity.evaluation.rates import EVENTS, measure, rate_counts
from cardioclarity.evaluation.rpeaks import Labelled
from cardioclarity.evaluation.subjects import gather
from cardioclarity.storage import open_storage
from cardioclarity.synthetic.pacing import Episode


def figures(found):
    return {(one.name, one.subset): one for one in found.metrics}


def test_rates_and_events_of_a_clean_archive_are_right(tmp_path):
    episodes = (
        Episode(kind="tachycardia", start_s=20.0, end_s=50.0),
        Episode(kind="bradycardia", start_s=60.0, end_s=85.0),
        Episode(kind="pause", start_s=95.0, end_s=98.5),
    )
    folder = write(tmp_path, ("100", "101"), duration_s=110.0, episodes=episodes)

    found = figures(measure(gather(load("rate"), [open_storage(str(folder))])))

    assert set(found) == {("rate_mae_bpm", "all"), *(("rate_event_f1", name) for name in EVENTS)}
    assert found["rate_mae_bpm", "all"].value < 2
    assert all(found["rate_event_f1", name].value > 0.8 for name in EVENTS)
    assert np.isnan(found["rate_mae_bpm", "all"].low)  # of two patients


def test_a_window_with_flutter_is_not_judged():
    beats = np.arange(50, 6000, 80)
    record = Labelled(
        rate_hz=100.0,
        leads=("MLII",),
        signal_mv=np.zeros((1, 6000), np.float32),
        beats=beats,
        flutter=np.array([[1500, 2500]]),
    )

    counts = rate_counts(record)

    assert counts[1] == 0  # nothing was detected in a flat line: no error is known
    assert counts[2:].sum() == 0


def test_a_pause_that_nobody_detected_is_missed():
    beats = np.concatenate([np.arange(50, 1000, 80), np.arange(1400, 3000, 80)])
    record = Labelled(
        rate_hz=100.0,
        leads=("MLII",),
        signal_mv=np.zeros((1, 3000), np.float32),
        beats=beats,
        flutter=np.zeros((0, 2), np.int64),
    )

    assert rate_counts(record)[2 + 6 + 2] == 2  # the interval touches two windows


def test_an_archive_without_reference_beats_is_refused(tmp_path):
    write(tmp_path, ("100",), duration_s=20.0)
    (tmp_path / "100.atr").unlink()

    with pytest.raises(NotFoundError, match="none of the 1 records has reference beats"):
        measure(gather(Protocol(name="mine", kind="rate"), [open_storage(str(tmp_path))]))
