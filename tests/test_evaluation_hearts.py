"""More hearts teach every fit; none of them is tested, and what says nothing normal is refused."""

import numpy as np
import pytest
from labelled import write

from cardioclarity.errors import NotFoundError
from cardioclarity.evaluation.beats import measure
from cardioclarity.evaluation.fits import Plan
from cardioclarity.evaluation.hearts import gather as more_hearts
from cardioclarity.evaluation.protocol import Protocol
from cardioclarity.evaluation.subjects import gather
from cardioclarity.examples import Recipe
from cardioclarity.storage import open_storage

NAMES = tuple("abcdef")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("more"), NAMES)


def stores(*folders):
    return [open_storage(str(folder)) for folder in folders]


def test_every_record_with_annotated_normal_beats_teaches_under_a_patient_of_its_own(folder):
    found = more_hearts(stores(folder), Recipe(), tested=())

    assert len({one.patient_id for one in found}) == len(found) == len(NAMES)
    assert all(0 < one.beats.sum() < len(one.beats) for one in found)


def test_a_record_of_nothing_but_sinus_rhythm_is_normal_throughout_and_one_with_another_code_is_not(tmp_path):
    folder = write(tmp_path, NAMES[:2])
    for name, codes in zip(NAMES, ("426783006", "426783006,164889003"), strict=False):
        (folder / f"{name}.atr").unlink()
        header = folder / f"{name}.hea"
        header.write_bytes(header.read_bytes() + f"#Dx: {codes}\n".encode())

    (only,) = more_hearts(stores(folder), Recipe(), tested=())

    assert only.patient_id.endswith("a.hea")
    assert only.beats.all()


def test_what_cannot_be_read_teaches_nothing_and_is_logged(tmp_path, caplog):
    folder = write(tmp_path, NAMES[:2])
    (folder / "a.dat").write_bytes(b"")

    found = more_hearts(stores(folder), Recipe(), tested=())

    assert len(found) == 1
    assert "a.hea cannot be read and teaches nothing" in caplog.text


def test_an_archive_that_says_nothing_normal_is_refused(tmp_path):
    folder = write(tmp_path, NAMES[:1])
    (folder / "a.atr").unlink()

    with pytest.raises(NotFoundError, match="none of the 1 records says which of its beats are normal"):
        more_hearts(stores(folder), Recipe(), tested=())


def test_a_copy_of_a_record_of_the_protocol_is_refused(folder, tmp_path):
    copied = write(tmp_path, ["z"])  # the first of any names: the same signal as a
    protocol = Protocol(name="mine", kind="beats", n_folds=2, folded=NAMES)

    with pytest.raises(NotFoundError, match=r"z\.hea is a copy of a record of the protocol"):
        measure(protocol, gather(protocol, stores(folder)), Plan(detectors=("pca",), also=tuple(stores(copied))))


def test_fits_learn_from_more_hearts_and_the_same_beats_are_tested(folder, tmp_path):
    other = write(tmp_path, [*NAMES, *"ghi"])
    for name in NAMES:
        for suffix in ("hea", "dat", "atr"):
            (other / f"{name}.{suffix}").unlink()
    protocol = Protocol(name="mine", kind="beats", n_folds=2, folded=NAMES)
    subjects = gather(protocol, stores(folder))

    alone, more = (
        measure(protocol, subjects, Plan(detectors=("pca",), also=also)) for also in ((), tuple(stores(other)))
    )

    areas = [next(one for one in found.metrics if one.name == "beat_auroc") for found in (alone, more)]
    assert areas[0].value != areas[1].value
    assert [(one.n_positive, one.n_negative) for one in alone.figures.patients] == [
        (one.n_positive, one.n_negative) for one in more.figures.patients
    ]
    assert np.isfinite(areas[1].value)
    assert not [note for note in alone.notes if "beside those of the protocol" in note]
    assert f"normal beats of 3 records of {stores(other)[0].name} stood beside" in more.notes[-1]


def test_a_record_that_stands_in_two_archives_teaches_once(folder, caplog):
    found = more_hearts(stores(folder, folder), Recipe(), tested=())

    assert len(found) == len(NAMES)
    assert caplog.text.count("is a copy of an earlier record") == len(NAMES)
