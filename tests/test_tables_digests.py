"""Equal rows have equal digests in any order, other rows others; a set of keys knows its own and no more."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_rows import NIGHT, new_root, of_beats, of_scores, stage

from cardioclarity.tables import digests, publish, staging
from cardioclarity.tables.digests import KeySet


@pytest.fixture
def root(tmp_path):
    return new_root(tmp_path)


ROWS = st.lists(
    st.tuples(
        st.integers(-5, 5),
        st.sampled_from(["", "a", "b", "ab"]),
        st.sampled_from([0.0, 1.0, 1.5, None]),
    ),
    max_size=8,
)


def digest(rows, *, segment="s"):
    columns = of_beats(
        len(rows),
        start_sample=[row[0] for row in rows],
        kind=[row[1] for row in rows],
        score=[row[2] for row in rows],
        p_value=None,
    )
    return digests.row_digest(staging.arrow_table("beats", columns), (("segment_id", segment),))


@settings(max_examples=60)
@given(rows=ROWS, seed=st.integers(0, 99), cut=st.integers(0, 8))
def test_the_row_digest_does_not_depend_on_order_or_on_the_division_into_files(rows, seed, cut):
    shuffled = [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))]

    assert digest(shuffled) == digest(rows)
    assert (digest(rows[:cut]) + digest(rows[cut:])) % 2**128 == digest(rows)


@settings(max_examples=60)
@given(first=ROWS, second=ROWS)
def test_other_rows_have_another_digest(first, second):
    same = sorted(first, key=repr) == sorted(second, key=repr)

    assert (digest(first) == digest(second)) == same


def test_the_row_digest_leaves_out_what_names_the_run_and_nothing_else(root):
    columns = of_scores(["a"])
    base = stage(root, "scores", columns, model_id="m", segment_id="s").row_digest
    changes = {
        "run_id": "other",
        "evidence_run_id": "other",
        "scored_at": NIGHT.replace(hour=3),
        "state": "anomalous",
        "reasons": [("noise",)] * 4,
        "coverage": 0.5,
        "n_beats": 21,
        "heart_rate_min_bpm": 50.0,
        "patient_id": "p",
    }

    same = {
        name
        for name, value in changes.items()
        if publish.stage(
            root,
            "scores",
            columns | {name: value},
            run_id="run",
            unit_id="u",
            partition={"model_id": "m", "segment_id": "s"},
        ).row_digest
        == base
    }

    assert same == {"run_id", "evidence_run_id", "scored_at"}
    assert stage(root, "scores", columns, model_id="m", segment_id="t").row_digest != base


def test_minus_zero_is_zero_and_null_is_neither_empty_nor_zero():
    assert digest([(0, "a", 0.0)]) == digest([(0, "a", -0.0)])
    assert digest([(0, "a", None)]) != digest([(0, "a", 0.0)])


# ---------------------------------------------------------------- sets of keys


def words(pairs):
    high, low = zip(*pairs, strict=True) if pairs else ((), ())
    return np.array(high, np.uint64), np.array(low, np.uint64)


PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12)


@settings(max_examples=200)
@given(parts=st.lists(PAIRS, max_size=3), asked=PAIRS)
def test_a_set_of_keys_is_a_set_also_where_first_words_are_equal(parts, asked):
    every = [pair for part in parts for pair in part]
    held = KeySet.of(words(part) for part in parts)

    assert len(held) == len(every)
    assert held.n_doubled == len(every) - len(set(every))
    assert held.holds(words(asked)).tolist() == [pair in every for pair in asked]
    places = held.find(words(asked))
    assert [(int(held.high[p]), int(held.low[p])) for p in places if p >= 0] == [p for p in asked if p in every]


def keys_of(table, **columns):
    return list(zip(*(lane.tolist() for lane in digests.key_words(table, pa.table(columns))), strict=True))


def test_a_key_is_told_from_every_other_one_column_by_column():
    archives, names = ["a", "ab", "b", "", "a"], ["bc", "c", "a", "abc", "bc"]

    found = keys_of("sources", archive=archives, source_key=names)

    assert len(set(found)) == 4
    assert found[0] == found[4]


def test_a_quarantined_source_has_one_key_whatever_record_came_of_it():
    columns = {"stage": ["convert"] * 4, "archive": ["s3://ecg"] * 4}
    sources, records = pa.array(["k", "k", None, None]), pa.array([None, "r", "r", None])

    found = keys_of("quarantine", **columns, source_key=sources, record_id=records)

    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_the_order_of_the_columns_of_a_file_does_not_change_its_keys():
    first = keys_of("sources", archive=["a"], source_key=["b"])

    assert keys_of("sources", source_key=["b"], archive=["a"]) == first
    assert keys_of("sources", source_key=["a"], archive=["b"]) != first
