"""What a reader is told is one state of the tables: current, in a fixed order, with nothing of a run in progress."""

import dataclasses
import datetime as dt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_rows import (
    NIGHT,
    new_root,
    of_beats,
    of_events,
    of_quarantine,
    of_records,
    of_run,
    of_scores,
    of_sources,
    stage,
)

from cardioclarity.errors import ConflictError, NotFoundError, StorageError
from cardioclarity.storage import open_storage
from cardioclarity.tables import catalog, publish, snapshot
from cardioclarity.tables.schemas import MEMBERS, PARTITIONS, SCHEMAS
from cardioclarity.vocabulary import Head, Severity


@pytest.fixture
def root(tmp_path):
    return new_root(tmp_path)


def catalogue(root, ids, *, segment="s", run_id="run", **columns):
    publish.add_new(
        root, [stage(root, "records", of_records(ids, **columns), run_id=run_id, segment_id=segment)], run_id=run_id
    )


def score(root, run_id, *, segment="s", replaces=None, ids="a", events=None, evidence=None, model_id="m"):
    """Publish one segment the way a scoring run does, up to the switch."""
    place = {"run_id": run_id, "model_id": model_id, "segment_id": segment}
    events = of_events([f"{run_id} {segment}"]) if events is None else events
    publish.add(root, "events", [stage(root, "events", events, **place)], run_id=run_id)
    scores = stage(root, "scores", of_scores(ids, evidence_run_id=evidence or run_id), **place)
    publish.switch_scores(root, [scores], run_id=run_id, model_id=model_id, replaces={segment: replaces})


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
    assert list(catalog.sources(root, "s3://ecg")) == []
    assert catalog.current_scores(root, "m") == {}
    assert catalog.scores(root, model_id="m") == catalog.events(root, model_id="m") == []
    assert catalog.quarantine(root) == catalog.runs(root) == []


def test_a_file_that_is_gone_is_one_sentence_without_the_place_of_the_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = new_root("here")
    catalogue(root, "a")
    for listed in list(root.list("tables/records/segment_id=s/")):
        root.delete(listed.key)

    with pytest.raises(
        StorageError, match=r"^here: cannot read tables/records/ .*; check the root and run again$"
    ) as info:
        catalog.records(root)

    assert str(tmp_path) not in str(info.value)


# ---------------------------------------------------------------- what a plan asks


@settings(max_examples=15)
@given(
    keys=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), unique=True, max_size=8)
)
def test_sources_come_in_the_byte_order_of_their_keys(tmp_path_factory, keys):
    root = new_root(tmp_path_factory.mktemp("root"))
    for i, part in enumerate((keys[::2], keys[1::2])):
        columns = of_sources(part, archive="s3://ecg", record_id=None)
        publish.upsert(root, "sources", [stage(root, "sources", columns, run_id=f"r{i}")], run_id=f"r{i}")

    found = [row.key for row in catalog.sources(root, "s3://ecg")]

    assert found == sorted(keys, key=str.encode)


def test_sources_are_those_of_one_archive(root):
    columns = of_sources("ab", archive=["s3://one", "s3://two"], record_id=["x", None], reason=[None, "truncated"])
    publish.upsert(root, "sources", [stage(root, "sources", columns)], run_id="run")

    assert list(catalog.sources(root, "s3://two")) == [
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


def test_a_segment_counts_its_catalogued_records(root):
    catalogue(root, "c", segment="t", run_id="r1", duration_s=10.0, segment_digest="dt")
    catalogue(root, "abc", segment="s", run_id="r2", duration_s=[1.0, 2.0, 4.0], segment_digest="ds")

    assert catalog.segments(root) == [
        catalog.Segment(segment_id="s", digest="ds", n_records=2, duration_s=3.0),
        catalog.Segment(segment_id="t", digest="dt", n_records=1, duration_s=10.0),
    ]


def test_current_scores_name_the_run_its_evidence_and_the_number_of_records(root):
    score(root, "r1", ids="abc")
    score(root, "r2", ids="abc", replaces="r1", evidence="r1")
    score(root, "r3", segment="t")
    score(root, "r4", segment="u", ids="")
    score(root, "r5", model_id="other")

    assert catalog.current_scores(root, "m") == {
        "s": catalog.CurrentScores(run_id="r2", evidence_run_id="r1", n_records=3),
        "t": catalog.CurrentScores(run_id="r3", evidence_run_id="r3", n_records=1),
        "u": catalog.CurrentScores(run_id="r4", evidence_run_id="r4", n_records=0),
    }


def test_evidence_comes_back_in_its_order_with_nan_for_null(root):
    n = 70_000
    template = np.linspace(0, 1, n, dtype=np.float32)
    template[::3] = np.nan
    columns = of_beats(
        n,
        record_index=np.arange(n) // 1000,
        kind=np.where(np.arange(n) % 7 == 0, "window", "beat"),
        start_sample=np.arange(n)[::-1] * 10,
        readable=np.arange(n) % 2 == 0,
        template=template,
    )
    for segment, run_id in (("s", "r1"), ("t", "r1"), ("s", "r2")):
        place = {"run_id": run_id, "model_id": "m", "segment_id": segment}
        part = columns if (segment, run_id) == ("s", "r1") else of_beats(2)
        publish.add(root, "beats", [stage(root, "beats", part, **place)], run_id=run_id + segment)

    found = catalog.evidence(root, model_id="m", segment_id="s", run_id="r1")

    assert list(found) == [name for name in SCHEMAS["beats"].names if name not in (*PARTITIONS["beats"], "run_id")]
    np.testing.assert_array_equal(found["start_sample"], columns["start_sample"])
    np.testing.assert_array_equal(found["record_index"], columns["record_index"])
    np.testing.assert_array_equal(found["template"], template)
    np.testing.assert_array_equal(found["readable"], columns["readable"])
    np.testing.assert_array_equal(found["kind"] == "window", np.arange(n) % 7 == 0)
    assert {found[name].dtype for name in (*MEMBERS, "score", "p_value", "rr_s")} == {np.dtype(np.float32)}
    assert found["start_sample"].dtype == np.int64
    assert found["readable"].dtype == np.bool_


def test_evidence_of_no_beats_is_empty_and_absent_evidence_is_an_error(root):
    publish.add(
        root, "beats", [stage(root, "beats", of_beats(0), run_id="r1", model_id="m", segment_id="s")], run_id="r1"
    )

    assert {len(column) for column in catalog.evidence(root, model_id="m", segment_id="s", run_id="r1").values()} == {0}
    for absent in ({"model_id": "n"}, {"segment_id": "t"}, {"run_id": "r"}):
        with pytest.raises(NotFoundError, match="score the segment again"):
            catalog.evidence(root, **({"model_id": "m", "segment_id": "s", "run_id": "r1"} | absent))


# ---------------------------------------------------------------- what people ask


def test_scores_are_the_models_own_by_record_and_head(root):
    score(root, "r1", ids="ba")
    score(root, "r2", model_id="other")

    found = catalog.scores(root, model_id="m")

    assert [(row["record_id"], row["head"]) for row in found] == [(i, head) for i in "ab" for head in sorted(Head)]
    assert found[0].keys() == set(SCHEMAS["scores"].names)
    assert found[0]["p_value"] is None


def test_events_of_a_run_that_has_not_switched_or_was_replaced_are_not_told(root):
    score(root, "r1")
    place = {"model_id": "m", "segment_id": "s"}
    publish.add(root, "events", [stage(root, "events", of_events("x"), run_id="r2", **place)], run_id="r2")
    assert [row["event_id"] for row in catalog.events(root, model_id="m")] == ["r1 s"]

    publish.switch_scores(
        root,
        [stage(root, "scores", of_scores("a"), run_id="r2", **place)],
        run_id="r2",
        model_id="m",
        replaces={"s": "r1"},
    )

    assert [row["event_id"] for row in catalog.events(root, model_id="m")] == ["x"]
    assert catalog.events(root, model_id="other") == []


def test_severe_events_come_first_then_improbable_ones_then_fixed_rules(root):
    events = of_events(
        ["low", "fixed", "medium", "rare", "rarer"],
        severity=[Severity.LOW, Severity.HIGH, Severity.MEDIUM, Severity.HIGH, Severity.HIGH],
        p_value=[1e-9, None, 1e-8, 1e-3, 1e-4],
    )
    score(root, "r1", events=events)
    score(root, "r2", segment="t", events=of_events(["rarest"], severity="high", p_value=[1e-5]))
    score(root, "r3", segment="u", events=of_events([]))

    found = [row["event_id"] for row in catalog.events(root, model_id="m")]

    assert found == ["rarest", "rarer", "rare", "fixed", "medium", "low"]
    for limit in range(7):
        limited = catalog.events(root, model_id="m", limit=limit)
        assert [row["event_id"] for row in limited] == found[:limit]


def test_a_reader_between_two_publications_looks_again(root, monkeypatch):
    """Between the look at `scores` and the one at `events`, a whole run is published and the old events are swept."""
    score(root, "r1")
    opened, nights = snapshot.open_table, iter(["r2"])

    def interrupted(root, table):
        if table == "events" and (run_id := next(nights, None)):
            score(root, run_id, replaces="r1")
            publish.sweep(root, model_id="m", run_id=run_id, gone_events={("s", "r1")}, gone_beats=())
        return opened(root, table)

    monkeypatch.setattr(snapshot, "open_table", interrupted)

    assert [row["event_id"] for row in catalog.events(root, model_id="m")] == ["r2 s"]


def test_a_reader_that_is_always_overtaken_gives_up_with_a_sentence(root, monkeypatch):
    score(root, "r0")
    opened, runs, busy = snapshot.open_table, iter(range(1, 99)), []

    def overtaken(root, table):
        if table == "events" and not busy:
            busy.append(True)
            number = next(runs)
            score(root, f"r{number}", replaces=f"r{number - 1}")
            busy.clear()
        return opened(root, table)

    monkeypatch.setattr(snapshot, "open_table", overtaken)

    with pytest.raises(ConflictError, match=r"published again and again .* run again"):
        catalog.events(root, model_id="m")


def test_quarantine_and_runs_come_newest_first(root):
    times = [NIGHT + dt.timedelta(days=day) for day in (1, 3, 2)]
    for day, time in enumerate(times):
        columns = of_quarantine(source_key=[f"k{day}", "same"][: 1 + (day == 1)], seen_at=time)
        publish.upsert(root, "quarantine", [stage(root, "quarantine", columns, run_id=f"r{day}")], run_id=f"r{day}")
        publish.record_run(root, of_run(f"r{day}", started_at=time))

    assert [row["source_key"] for row in catalog.quarantine(root)] == ["k1", "same", "k2", "k0"]
    assert [row["run_id"] for row in catalog.runs(root)] == ["r1", "r2", "r0"]
    assert catalog.runs(root)[0].keys() == set(SCHEMAS["runs"].names)
