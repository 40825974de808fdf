"""What a reader is told is one state of the tables: current, in a fixed order, with nothing of a run in progress."""

import dataclasses
import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_rows import (
    NIGHT,
    catalogue,
    new_root,
    of_quarantine,
    of_run,
    of_sources,
    stage,
)

from cardioclarity.errors import DamageError, NotFoundError
from cardioclarity.storage import open_storage
from cardioclarity.tables import catalog, publish
from cardioclarity.tables.schemas import SCHEMAS


@pytest.fixture
def root(tmp_path):
    return new_root(tmp_path)


# ---------------------------------------------------------------- roots


def test_a_root_is_one_from_the_moment_its_last_table_is_made(tmp_path):
    root = open_storage(str(tmp_path / "none"))

    with pytest.raises(NotFoundError, match=r"is no CardioClarity root: .* cardioclarity convert ARCHIVE --root"):
        catalog.require_root(root)

    publish.create_tables(root)
    catalog.require_root(root)
    assert list(SCHEMAS)[-1] == "records"


def test_looking_for_a_root_makes_nothing(tmp_path):
    with pytest.raises(NotFoundError):
        catalog.require_root(open_storage(str(tmp_path / "none")))

    assert list(tmp_path.iterdir()) == []


def test_all_tables_of_a_new_root_are_empty(root):
    assert catalog.records(root) == catalog.segments(root) == []
    assert list(catalog.known_sources(root, "s3://ecg")) == []
    assert catalog.current_scores(root, "m") == {}
    assert catalog.scores(root, model_id="m") == catalog.events(root, model_id="m") == []
    assert catalog.quarantine(root) == catalog.runs(root) == []


def test_a_file_that_is_gone_is_one_sentence_without_the_place_of_the_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = new_root("here")
    catalogue(root, "a")
    for listed in list(root.list("tables/records/segment_id=s/")):
        root.delete(listed.key)

    with pytest.raises(DamageError, match=r"^here: tables/records/segment_id=s/.*\.parquet is missing; find") as info:
        catalog.records(root)

    assert str(tmp_path) not in str(info.value)


# ---------------------------------------------------------------- what a plan asks


@settings(max_examples=15)
@given(
    keys=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), unique=True, max_size=8)
)
def test_sources_of_any_key_come_back_once(tmp_path_factory, keys):
    root = new_root(tmp_path_factory.mktemp("root"))
    for i, part in enumerate((keys[::2], keys[1::2])):
        columns = of_sources(part, archive="s3://ecg", record_id=None)
        publish.upsert(root, "sources", [stage(root, "sources", columns, run_id=f"r{i}")], run_id=f"r{i}")

    assert sorted(row.key for row in catalog.known_sources(root, "s3://ecg")) == sorted(keys)


def test_sources_are_those_of_one_archive(root):
    columns = of_sources("ab", archive=["s3://one", "s3://two"], record_id=["x", None], reason=[None, "truncated"])
    publish.upsert(root, "sources", [stage(root, "sources", columns)], run_id="run")

    assert list(catalog.known_sources(root, "s3://two")) == [
        catalog.SourceRow(key="b", version="v1", record_id=None, reason="truncated")
    ]


def test_a_catalog_record_has_every_column_of_the_table():
    assert [field.name for field in dataclasses.fields(catalog.CatalogRecord)] == SCHEMAS["records"].names


def test_records_come_back_as_they_were_staged(root):
    catalogue(root, "ba", patient_id=["p", None], age=[None, 90], diagnosis_codes=[("SNOMED:1", "SNOMED:2"), ()])

    first, second = catalog.records(root)

    assert (first.record_id, first.patient_id, first.age, first.diagnosis_codes) == ("a", None, 90, ())
    assert (second.patient_id, second.diagnosis_codes) == ("p", ("SNOMED:1", "SNOMED:2"))
    assert (second.leads, second.source_leads, second.notes) == (("MLII", "V5"), ("ML2", "V5"), ("checksum wrong",))
    assert (second.rate_hz, second.n_samples, second.segment_id, second.run_id) == (360.0, 7200, "s", "run")
    assert second.converted_at == NIGHT
    assert second.converted_at.tzinfo is not None


def test_records_can_be_had_for_some_segments_only(root):
    catalogue(root, "ab", segment="s", run_id="r1")
    catalogue(root, "c", segment="t", run_id="r2")

    assert [record.record_id for record in catalog.records(root)] == ["a", "b", "c"]
    assert [record.record_id for record in catalog.records(root, segment_ids=["t", "unknown"])] == ["c"]
    assert catalog.records(root, segment_ids=[]) == []


# ---------------------------------------------------------------- what people ask


def test_quarantine_and_runs_come_newest_first(root):
    times = [NIGHT + dt.timedelta(days=day) for day in (1, 3, 2)]
    for day, time in enumerate(times):
        columns = of_quarantine(source_key=[f"k{day}", "same"][: 1 + (day == 1)], seen_at=time)
        publish.upsert(root, "quarantine", [stage(root, "quarantine", columns, run_id=f"r{day}")], run_id=f"r{day}")
        publish.record_run(root, of_run(f"r{day}", started_at=time))

    assert [row["source_key"] for row in catalog.quarantine(root)] == ["k1", "same", "k2", "k0"]
    assert [row["run_id"] for row in catalog.runs(root)] == ["r1", "r2", "r0"]
    assert catalog.runs(root)[0].keys() == set(SCHEMAS["runs"].names)
