"""Beats are labelled as the protocols of the field have it, also where the product finds them itself."""

from dataclasses import replace

import numpy as np
import pytest
from ecg_files import fetch_from, sources
from labelled import write

from cardioclarity.errors import NotFoundError
from cardioclarity.evaluation.beats import case, measure
from cardioclarity.evaluation.fits import Plan
from cardioclarity.evaluation.protocol import Protocol
from cardioclarity.evaluation.subjects import gather
from cardioclarity.examples import Recipe
from cardioclarity.readers import read
from cardioclarity.record import Annotations
from cardioclarity.storage import open_storage
from cardioclarity.synthetic.archive import MIT, wfdb_files
from cardioclarity.synthetic.pacing import Scene
from cardioclarity.synthetic.phantom import ecg

NAMES = tuple("abcdef")


@pytest.fixture(scope="module")
def record():
    files = wfdb_files(ecg(Scene(name="a", seed=3, duration_s=60.0, rate_hz=360.0, pvc_per_hour=600.0)), MIT)
    return read(sources(files)[0], fetch_from(files))


def marked(record, **changed):
    """The record with the symbols of some of its beats changed."""
    marks = record.annotations
    symbols = list(marks.symbol)
    for at, symbol in changed.items():
        symbols[int(at.removeprefix("at"))] = symbol
    return replace(record, annotations=Annotations(sample=marks.sample, symbol=tuple(symbols), aux=marks.aux))


def beats_of(record):
    return [at for at, symbol in enumerate(record.annotations.symbol) if symbol in "NVA"]


def test_at_reference_positions_every_beat_has_its_own_class_and_none_is_missed(record):
    one = case(record, Recipe(), detected=False)

    assert len(one.classes) == len(beats_of(record))
    assert set(one.classes) == {"N", "V"}
    assert one.missed == ()


def test_paced_and_unknown_beats_count_for_neither_side(record):
    first, second, third = beats_of(record)[3:6]

    one = case(marked(record, **{f"at{first}": "/", f"at{second}": "Q", f"at{third}": "e"}), Recipe(), detected=False)

    assert list(one.classes[3:6]) == ["Q", "Q", "N"]


def test_a_detection_without_a_reference_beat_is_normal_and_an_anomalous_beat_without_detection_is_missed(record):
    marks = record.annotations
    kept = np.array([at for at in range(len(marks.sample)) if at != beats_of(record)[5]])
    extra = int(marks.sample[beats_of(record)[8]]) + 160  # between two beats, where nothing is to be found
    samples = np.append(marks.sample[kept], extra)
    order = np.argsort(samples, kind="stable")
    symbols = [*(marks.symbol[at] for at in kept), "V"]
    aux = [*(marks.aux[at] for at in kept), ""]
    changed = Annotations(
        sample=samples[order], symbol=tuple(symbols[at] for at in order), aux=tuple(aux[at] for at in order)
    )

    before, after = (case(one, Recipe(), detected=True) for one in (record, replace(record, annotations=changed)))

    assert after.missed == (*before.missed, "V")
    assert len(after.classes) == len(before.classes)
    assert after.classes[5] == "N"


def test_in_ventricular_flutter_nothing_is_counted(record):
    marks = record.annotations
    inside = beats_of(record)[10:20]
    start, end = int(marks.sample[inside[0]]) - 1, int(marks.sample[inside[-1]]) + 1
    samples = np.append(marks.sample, [start, end])
    order = np.argsort(samples, kind="stable")
    symbols, aux = [*marks.symbol, "[", "]"], [*marks.aux, "", ""]
    flutter = Annotations(
        sample=samples[order], symbol=tuple(symbols[at] for at in order), aux=tuple(aux[at] for at in order)
    )

    one = case(replace(record, annotations=flutter), Recipe(), detected=True)

    assert (one.classes == "Q").sum() == pytest.approx(10, abs=1)


def test_patients_are_scored_by_fits_that_have_not_seen_them_and_seeds_are_averaged(tmp_path, caplog):
    caplog.set_level("INFO")
    folder = write(tmp_path, NAMES)
    protocol = Protocol(name="mine", kind="beats", n_folds=2, folded=NAMES, without=("f", "z"))

    found = measure(
        protocol, gather(protocol, [open_storage(str(folder))]), Plan(seeds=(0, 1), detectors=("template",))
    )

    figures = {(one.scorer, one.name, one.subset): one for one in found.metrics}
    area = figures["beat", "beat_auroc", "all"]
    assert area.low <= area.value <= area.high <= 1
    assert area.value > 0.9
    assert len(area.seeds) == 2
    assert area.value == pytest.approx(np.mean(area.seeds))
    assert area.n_patients == found.n_patients == 6
    assert figures["beat", "beat_auroc", "without:f"].n_patients == 5
    assert not [subset for _, _, subset in figures if "without:z" in subset]
    assert ("template", "beat_auroc", "without:f/class:V") in figures
    assert "part 2 of 2: fitting on 3 records to test 3" in caplog.text


def test_fits_without_labels_take_every_beat_as_normal_and_the_tested_labels_stay(tmp_path):
    folder = write(tmp_path, NAMES)
    protocol = Protocol(name="mine", kind="beats", n_folds=2, folded=NAMES)
    subjects = gather(protocol, [open_storage(str(folder))])

    told, untold = (
        measure(protocol, subjects, Plan(detectors=("pca",), unlabelled=unlabelled)) for unlabelled in (False, True)
    )

    areas = [next(one.value for one in found.metrics if one.name == "beat_auroc") for found in (told, untold)]
    assert areas[0] != areas[1]
    assert areas[1] > 0.6
    assert [one.n_positive for one in told.figures.patients] == [one.n_positive for one in untold.figures.patients]
    assert untold.notes[-1].startswith("no fit was told which beats are normal")


def test_records_without_annotated_anomalies_are_refused(tmp_path):
    folder = write(tmp_path, NAMES[:3])
    for name in NAMES[:3]:
        (folder / f"{name}.atr").unlink()
    protocol = Protocol(name="mine", kind="beats", n_folds=3, folded=NAMES[:3])

    with pytest.raises(NotFoundError, match=r"has a normal beat|has both normal and anomalous"):
        measure(protocol, gather(protocol, [open_storage(str(folder))]), Plan(detectors=("template",)))
