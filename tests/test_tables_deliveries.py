"""What was delivered and what was set aside is remembered by key and version, and forgotten once it is mended."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardioclarity.storage import open_storage
from cardioclarity.tables import catalog, publish
from cardioclarity.tables.deliveries import (
    Delivery,
    Origin,
    input_name,
    mended_records,
    mended_sources,
    stage_quarantine,
    stage_sources,
    unread,
)
from cardioclarity.vocabulary import Reason, Stage
from cardioclarity.work import Quarantined

ORIGIN = Origin(archive="/archive", run_id="run", unit_id="unit", seen_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC))


@pytest.fixture
def tables(tmp_path):
    storage = open_storage(str(tmp_path / "tables-root"))
    publish.create_tables(storage)
    return storage


def set_aside(name, stage=Stage.CONVERT):
    return Quarantined(input=name, stage=stage, reason=Reason.POISONED, message="killed its worker")


@given(st.text("0123456789abcdef", min_size=1), st.text(min_size=1))
def test_the_name_of_an_input_holds_version_and_key_whatever_the_key_is(version, key):
    found = unread(set_aside(input_name(version=version, key=key)))

    assert (found.version, found.key, found.digest, found.record_id) == (version, key, None, None)


def test_a_quarantined_source_is_named_by_its_key_and_a_record_by_its_id(tables):
    source = stage_quarantine(tables, [set_aside("v1:a:b.hea")], ORIGIN)
    record = stage_quarantine(
        tables, [set_aside("r1", Stage.SCORE)], Origin(archive=None, run_id="run", unit_id="x", seen_at=ORIGIN.seen_at)
    )
    publish.upsert(tables, "quarantine", [source, record], run_id="run")

    rows = {row["stage"]: row for row in catalog.quarantine(tables)}
    assert (rows["convert"]["source_key"], rows["convert"]["source_version"]) == ("a:b.hea", "v1")
    assert (rows["convert"]["record_id"], rows["convert"]["archive"]) == (None, "/archive")
    assert (rows["score"]["record_id"], rows["score"]["source_key"]) == ("r1", None)


def test_only_a_source_that_has_been_read_since_is_mended(tables):
    rows = [set_aside("v1:a.hea"), set_aside("v1:b.hea")]
    publish.upsert(tables, "quarantine", [stage_quarantine(tables, rows, ORIGIN)], run_id="run")
    found = [
        Delivery(key="a.hea", version="v2", digest="d", record_id="r", reason=None),
        Delivery(key="b.hea", version="v1", digest=None, record_id=None, reason=Reason.POISONED),
    ]
    publish.upsert(tables, "sources", [stage_sources(tables, found, ORIGIN)], run_id="run")

    gone = mended_sources(tables, "/archive")
    publish.upsert(tables, "quarantine", [], run_id="later", gone=gone)

    assert [row["source_key"] for row in catalog.quarantine(tables)] == ["b.hea"]
    assert mended_sources(tables, "/elsewhere") == []


def test_a_record_is_mended_only_where_its_segment_was_scored(root):
    storage = open_storage(str(root))
    record = catalog.records(storage)[0]
    origin = Origin(archive=None, run_id="run", unit_id="unit", seen_at=ORIGIN.seen_at)
    staged = stage_quarantine(storage, [set_aside(record.record_id, Stage.SCORE)], origin)
    publish.upsert(storage, "quarantine", [staged], run_id="run")

    assert mended_records(storage, ["0" * 32], stage=Stage.SCORE) == []
    assert mended_records(storage, [record.segment_id], stage=Stage.TRAIN) == []
    assert mended_records(storage, [record.segment_id], stage=Stage.SCORE) == [("score", None, None, record.record_id)]
