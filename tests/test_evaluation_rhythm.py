"""Overlapping windows take the rhythm in force, and are ranked by a fit on other patients."""

import numpy as np
import pytest
from labelled import write

from cardioclarity.errors import NotFoundError
from cardioclarity.evaluation.protocol import Protocol
from cardioclarity.evaluation.rhythm import case, measure, windows
from cardioclarity.evaluation.subjects import gather
from cardioclarity.examples import Recipe, prepare
from cardioclarity.storage import open_storage
from cardioclarity.synthetic.pacing import Episode

NAMES = ("a", "b", "c", "d")
AF = (Episode(kind="af", start_s=80.0, end_s=150.0),)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return [
        open_storage(str(write(tmp_path_factory.mktemp("af"), NAMES, duration_s=150.0, episodes=AF, pvc_per_hour=60.0)))
    ]


def test_every_second_window_is_one_of_the_products_own(archive):
    record = gather(Protocol(name="m", kind="rhythm", folded=("a",)), archive)["a"].read()
    examples = prepare(record, Recipe())

    starts, features = windows(examples, Recipe(), 3600, 1800)

    assert starts.tolist() == list(range(0, record.n_samples - 3600 + 1, 1800))
    assert np.array_equal(starts[::2], examples.window_start)
    assert np.allclose(features[::2], examples.rhythm, equal_nan=True)


def test_a_window_is_clean_without_an_ectopic_beat_within_ten_seconds(archive):
    record = gather(Protocol(name="m", kind="rhythm", folded=("a",)), archive)["a"].read()
    one = case("a", record, Recipe())
    odd = record.annotations.sample[np.isin(record.annotations.symbol, ["V", "A"])] / 360.0

    for start, is_clean in zip(one.windows.window_start / 360.0, one.clean, strict=True):
        assert is_clean == (not ((odd >= start - 10) & (odd < start + 20)).any())


def test_fibrillation_ranks_above_sinus_rhythm_of_patients_never_seen(archive):
    protocol = Protocol(name="m", kind="rhythm", n_folds=2)

    found = measure(protocol, gather(protocol, archive), None)

    figures = {one.subset: one for one in found.metrics}
    assert {"all", "clean", "rhythm:AFIB"} <= set(figures)
    assert figures["all"].value > 0.8
    assert figures["all"].n_patients < 5
    assert np.isnan(figures["all"].low)
    assert {one.name for one in found.metrics} == {"rhythm_auroc"}


def test_records_without_rhythm_annotations_are_refused(archive, tmp_path):
    write(tmp_path, ("a", "b"), duration_s=30.0)
    for name in "ab":
        (tmp_path / f"{name}.atr").unlink()
    protocol = Protocol(name="m", kind="rhythm", n_folds=2)

    with pytest.raises(NotFoundError, match="none of the 2 records has both sinus rhythm and an annotated arrhythmia"):
        measure(protocol, gather(protocol, [open_storage(str(tmp_path))]), None)


@pytest.mark.real_data
def test_a_real_record_has_as_many_windows_of_flutter_as_were_counted_before(real_data):
    protocol = Protocol(name="m", kind="rhythm", folded=("207",))
    subject = gather(protocol, [open_storage(str(real_data / "mitdb"))])["207"]

    labels = case("207", subject.read(), Recipe()).labels

    assert (labels == "VFL").sum() == 30
