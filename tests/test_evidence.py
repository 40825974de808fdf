"""Evidence comes out of the tables as the model gave it, or as an error that names what is wrong with it."""

import shutil

import pytest
from evidences import assert_same

from cardioclarity import models
from cardioclarity.errors import DamageError, NotFoundError
from cardioclarity.evidence import EvidenceError, evidence_behind, stored_evidence
from cardioclarity.examples import prepare
from cardioclarity.segments.read import read
from cardioclarity.storage import open_storage
from cardioclarity.tables import catalog


@pytest.fixture
def storage(root):
    return open_storage(str(root))


@pytest.fixture
def scores(storage):
    """The scores of the segment with the most records."""
    return max(catalog.score_files(storage, models.champion(storage)).values(), key=lambda file: file.n_rows)


@pytest.fixture
def records(storage, scores):
    return catalog.records(storage, segment_ids=[scores.segment_id])


def behind(storage, scores):
    return evidence_behind(storage, scores, model_id=models.champion(storage))


def of_records(storage, scores, records):
    return list(behind(storage, scores).of_records(storage, records, digest=records[0].segment_digest))


def damage(root, table):
    for file in (root / "tables" / table).rglob("*.parquet"):
        file.write_bytes(file.read_bytes()[::-1])


def test_stored_evidence_is_that_of_the_signals_in_the_order_of_the_segment(storage, scores, records):
    model = models.load(storage, models.champion(storage))
    signals = read(storage, scores.segment_id, digest=records[0].segment_digest)
    fresh = [(index, model.evidence(prepare(record, model.recipe))) for index, record in signals]

    stored = of_records(storage, scores, records)

    assert len(stored) == len(records) > 1
    for (index, mine), (place, theirs) in zip(stored, fresh, strict=True):
        assert index == place
        assert_same(mine, theirs)


def test_no_signal_is_read(root, storage, scores, records):
    shutil.rmtree(root / "segments" / f"{scores.segment_id}.zarr")

    assert len(of_records(storage, scores, records)) == len(records)


def test_a_record_that_is_not_asked_for_is_left_out_and_the_others_keep_their_rows(storage, scores, records):
    whole = dict(of_records(storage, scores, records))

    for record in records:
        ((index, found),) = of_records(storage, scores, [record])
        assert found.record_id == record.record_id
        assert_same(found, whole[index])


def test_evidence_names_the_run_that_stored_it_and_its_absence_says_what_to_do(storage, scores):
    assert behind(storage, scores).run_id == scores.run_id

    with pytest.raises(NotFoundError, match="score the segment again"):
        stored_evidence(storage, scores.segment_id, model_id="m", run_id=scores.run_id)


def test_damaged_evidence_is_told_from_damaged_scores(root, storage, scores):
    damage(root, "beats")
    with pytest.raises(EvidenceError, match="tables/beats/"):
        behind(storage, scores)

    damage(root, "scores")
    with pytest.raises(DamageError, match="tables/scores/") as raised:
        behind(storage, scores)
    assert not isinstance(raised.value, EvidenceError)
