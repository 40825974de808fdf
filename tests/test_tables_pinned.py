"""A pinned catalog answers every question from one state."""

import pytest
from table_rows import (
    catalogue,
    new_root,
)

from cardioclarity.tables import catalog


@pytest.fixture
def root(tmp_path):
    return new_root(tmp_path)


def test_a_segment_counts_its_catalogued_records(root):
    catalogue(root, "c", segment="t", run_id="r1", duration_s=10.0, segment_digest="dt")
    catalogue(root, "abc", segment="s", run_id="r2", duration_s=[1.0, 2.0, 4.0], segment_digest="ds")

    assert catalog.segments(root) == [
        catalog.Segment(segment_id="s", digest="ds", n_records=2, duration_s=3.0),
        catalog.Segment(segment_id="t", digest="dt", n_records=1, duration_s=10.0),
    ]


def test_a_pinned_catalog_does_not_see_what_is_published_later(root):
    catalogue(root, "ba", segment="s", run_id="r1", duration_s=[1.0, 2.0])
    catalogue(root, "c", segment="t", run_id="r2")
    pinned = catalog.pinned(root)
    before = list(pinned.records())

    catalogue(root, "de", segment="s", run_id="r3")
    catalogue(root, "f", segment="u", run_id="r4")

    assert (pinned.n_records, pinned.segment_ids, pinned.n_records_in("s")) == (3, ("s", "t"), 2)
    assert (pinned.n_records_in("u"), pinned.record_ids("u"), pinned.rows("u")) == (0, (), [])
    assert pinned.record_ids("s") == ("a", "b")
    assert [record.record_id for record in pinned.rows("s")] == ["a", "b"]
    assert list(pinned.records()) == before == [*pinned.rows("s"), *pinned.rows("t")]
    assert [segment.n_records for segment in pinned.segments()] == [2, 1]
    assert sorted(row["record_id"] for row in pinned.iter_records(["segment_id", "record_id"])) == ["a", "b", "c"]
    assert catalog.pinned(root).record_ids("s") == ("a", "b", "d", "e")


def test_a_catalog_can_be_pinned_for_some_segments_only(root):
    catalogue(root, "ab", segment="s", run_id="r1")
    catalogue(root, "c", segment="t", run_id="r2")

    assert catalog.Pinned(root, ["t", "unknown"]).segment_ids == ("t",)
