"""A root read with public libraries alone, as an outside tool reads it, holds together; so it does judged again."""

import shutil

import deltalake
import duckdb
import numpy as np
import pytest
import xarray as xr
import zarr

from cardioclarity.config import ScoreConfig
from cardioclarity.score import SCORE
from cardioclarity.work import drive

TABLES = ("sources", "quarantine", "scores", "events", "beats", "runs", "records")
KEYS = {
    "sources": "archive, source_key",
    "quarantine": "stage, archive, source_key, record_id",
    "scores": "record_id, model_id, head",
    "events": "event_id",
    "runs": "run_id",
    "records": "record_id",
    "beats": "model_id, segment_id, run_id, record_index, kind, start_sample",
}
PROMISED = {"signal", "gain", "baseline", "n_samples", "record_id", "lead"}


@pytest.fixture(scope="module", params=["scored once", "judged again"])
def root(request, scored, tmp_path_factory):
    if request.param == "scored once":
        return scored
    copy = shutil.copytree(scored, tmp_path_factory.mktemp("judged") / "root")
    assert drive(SCORE, ScoreConfig(root=str(copy), alarms_per_hour=200.0), map).done > 0
    return copy


@pytest.fixture(scope="module")
def ask(root):
    """Ask the tables in SQL; `current` are the events of the runs that stand in `scores`: the reader's rule."""
    with duckdb.connect() as connection:
        for name in TABLES:
            table = deltalake.DeltaTable(str(root / "tables" / name)).to_pyarrow_table()
            connection.register(name, table)
        connection.execute(
            "create view current as select * from events semi join scores using (segment_id, model_id, run_id)"
        )
        yield lambda query: connection.execute(query).fetchall()


@pytest.fixture(scope="module")
def segments(root):
    """Segment id → what xarray alone makes of it."""
    opened = {path.stem: xr.open_zarr(path, consolidated=False) for path in (root / "segments").glob("*.zarr")}
    yield opened
    for segment in opened.values():
        segment.close()


@pytest.mark.parametrize("table", TABLES)
def test_every_table_opens_and_has_rows(ask, table):
    assert ask(f"select count(*) from {table}")[0][0] > 0


@pytest.mark.parametrize("table", TABLES)
def test_no_key_stands_in_two_rows(ask, table):
    assert ask(f"select {KEYS[table]} from {table} group by all having count(*) > 1") == []


def test_every_scored_record_has_each_of_the_four_heads_once_per_model(ask):
    heads = ask("select list(head order by head) from scores group by model_id, record_id")

    assert {tuple(of_one) for (of_one,) in heads} == {("beat", "quality", "rate", "rhythm")}


def test_every_state_is_one_of_the_four_words(ask):
    assert ask("select state from scores where state not in ('normal', 'anomalous', 'unreadable', 'unscorable')") == []


def test_the_scored_records_are_the_catalogued_ones(ask):
    assert ask("select record_id from scores anti join records using (record_id)") == []
    assert ask("select record_id from records anti join scores using (record_id)") == []


def test_a_head_counts_the_events_that_the_readers_rule_finds(ask):
    rows = ask("""
        select s.n_events, count(e.event_id) from scores s
        left join current e on (s.record_id, s.model_id, s.head) = (e.record_id, e.model_id, e.kind)
        group by s.record_id, s.model_id, s.head, s.n_events""")

    assert [row for row in rows if row[0] != row[1]] == []
    assert sum(found for _, found in rows) > 0


def test_no_event_of_a_superseded_run_is_left(ask):
    assert ask("select event_id from events anti join scores using (segment_id, model_id, run_id)") == []


def test_every_event_lies_in_its_record(ask):
    assert ask("select event_id from events anti join records using (record_id)") == []
    assert (
        ask("""
        select event_id from events join records using (record_id)
        where start_sample < 0 or end_sample < start_sample or end_sample > n_samples""")
        == []
    )


@pytest.mark.parametrize(
    "column", ["event_id", "model_id", "run_id", "segment_id", "scored_at", "severity", "score", "record_id"]
)
def test_every_event_says_where_it_comes_from(ask, column):
    assert ask(f"select * from events where {column} is null or cast({column} as text) in ('', 'nan')") == []


@pytest.mark.parametrize("table", ["events", "scores", "records", "sources", "quarantine", "beats"])
def test_every_row_names_a_run_that_is_in_the_log(ask, table):
    assert ask(f"select distinct run_id from {table} anti join runs using (run_id)") == []


def test_every_input_of_a_run_was_done_or_set_aside_or_had_been_done(ask):
    assert ask("select * from runs where inputs <> done + quarantined + already_done") == []
    assert {verb for (verb,) in ask("select distinct verb from runs")} == {"convert", "train", "score"}


def test_a_segment_opens_with_xarray_alone_and_has_what_is_promised(segments):
    assert segments
    for segment in segments.values():
        assert set(segment.variables) >= PROMISED
        assert segment.signal.dims == ("record", "lead", "sample")
        assert np.isfinite(segment.gain.values).all()


def test_a_segment_opens_with_zarr_alone_and_holds_the_same_samples(root, segments):
    for segment_id in segments:
        path = root / "segments" / f"{segment_id}.zarr"
        signal = zarr.open_group(path, mode="r")["signal"]
        with xr.open_zarr(path, consolidated=False, mask_and_scale=False) as raw:
            np.testing.assert_array_equal(signal[...], raw.signal.values)


def test_each_catalogued_record_is_in_the_segment_that_the_catalog_names_with_its_length_and_leads(ask, segments):
    catalogued = ask("select segment_id, record_id, n_samples, leads from records")

    for segment_id, record_id, n_samples, leads in catalogued:
        segment = segments[segment_id]
        (place,) = np.flatnonzero(segment.record_id.values == record_id)
        assert int(segment.n_samples[place]) == n_samples
        assert segment.lead.values.tolist() == leads
    assert len(catalogued) == sum(segment.sizes["record"] for segment in segments.values())


def test_the_samples_of_a_record_are_known_up_to_its_end(ask, segments):
    for segment_id, record_id, n_samples in ask("select segment_id, record_id, n_samples from records"):
        segment = segments[segment_id].set_index(record="record_id").sel(record=record_id)
        mv = ((segment.signal - segment.baseline) / segment.gain).values

        assert mv.shape[-1] >= n_samples
        assert 0 < np.nanmax(np.abs(mv[:, :n_samples])) < 20
