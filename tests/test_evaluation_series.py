"""Series that come cut out are ranked by whoever can read them, and a file that is none is refused."""

import gzip

import numpy as np
import pytest

from cardioclarity.errors import NotFoundError, UsageError
from cardioclarity.evaluation.fits import Plan
from cardioclarity.evaluation.protocol import Protocol
from cardioclarity.evaluation.series import as_examples, measure, read
from cardioclarity.examples import Recipe
from cardioclarity.storage import open_storage

LABELS = {"train": ["X_TRAIN"], "test": ["X_TEST"], "normal": ["1"]}


def lines(classes, seed):
    rng = np.random.default_rng(seed)
    wave = np.sin(np.linspace(0, 6, 140))
    rows = [(wave if name == "1" else wave[::-1]) + 0.1 * rng.normal(size=140) for name in classes]
    return "\n".join(
        f"{name} " + " ".join(f"{value:.4f}" for value in row) for name, row in zip(classes, rows, strict=True)
    )


@pytest.fixture
def archive(tmp_path):
    (tmp_path / "X_TRAIN.txt").write_text(lines(["1"] * 40 + ["2"] * 5, 1))
    (tmp_path / "X_TEST_part.tsv.gz").write_bytes(
        gzip.compress(lines(["1"] * 20 + ["3"] * 6, 2).replace(" ", "\t").encode())
    )
    return [open_storage(str(tmp_path))]


def protocol(**labels):
    return Protocol(name="m", kind="series", labels=LABELS | labels)


def test_odd_series_of_both_files_rank_above_normal_ones_and_whoever_abstains_is_named(archive):
    found = measure(protocol(anomalous_of=["X_TRAIN"]), archive, Plan(detectors=("template", "ae-dense")))

    (area,) = found.metrics
    assert (area.scorer, area.name, area.subset) == ("ae-dense", "beat_auroc", "all")
    assert area.value > 0.95
    assert (area.n_patients, area.n_items) == (1, 26 + 5)
    assert np.isnan(area.low)
    assert any("abstained from all series: template" in note for note in found.notes)


def test_where_nobody_is_asked_for_the_members_of_the_population_view_are_fitted(archive):
    found = measure(protocol(anomalous_of=["X_TRAIN"]), archive, Plan())

    assert [one.scorer for one in found.metrics] == ["ae-dense", "ae-conv", "pca", "density", "ae-dense+conv"]


def test_series_fill_both_windows():
    values = np.random.default_rng(0).normal(size=(3, 140)).astype(np.float32)

    examples = as_examples(values, Recipe())

    assert np.array_equal(examples.beats[:, 0], values)
    assert examples.long.shape == (3, 1, 160)
    assert np.allclose(examples.long[:, 0, [0, -1]], values[:, [0, -1]], atol=1e-6)


def test_numbers_may_stand_between_blanks_tabs_or_commas(tmp_path):
    for name, text in (("A.txt", "1 2 3\n2 4 5\n"), ("B.tsv", "1\t2\t3\n2\t4\t5"), ("C.csv", "1.0,2,3\n2,4,5\n\n")):
        (tmp_path / name).write_text(text)

        found = read([open_storage(str(tmp_path))], name[0])

        assert found.classes.tolist() == ["1", "2"]
        assert found.values.tolist() == [[2.0, 3.0], [4.0, 5.0]]


@pytest.mark.parametrize("content", [b"", b"1 2 3\n1 2\n", b"one 2 3\n", b"\xff\xfe\x00"])
def test_a_file_that_holds_no_series_is_refused(tmp_path, content):
    (tmp_path / "X_TRAIN.txt").write_bytes(content)

    with pytest.raises(NotFoundError, match="the file X_TRAIN holds no series of equal length"):
        read([open_storage(str(tmp_path))], "X_TRAIN")


def test_what_is_missing_is_named(archive):
    with pytest.raises(NotFoundError, match="the file Y is missing, with one of the suffixes"):
        measure(protocol(test=["Y"]), archive, Plan())
    with pytest.raises(UsageError, match=r"\[labels\] lacks normal"):
        measure(protocol(normal=[]), archive, Plan())
    with pytest.raises(NotFoundError, match="the 26 tested series are all of one kind"):
        measure(protocol(normal=["1", "3"]), archive, Plan())


@pytest.mark.real_data
def test_the_public_series_are_read_whole(real_data):
    found = read([open_storage(str(real_data / "ecg5000"))], "ECG5000_TRAIN")

    assert found.values.shape == (500, 140)
    assert (found.classes == "1").sum() == 292
