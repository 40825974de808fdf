"""A staged file is seen by nobody, is the same however often it is staged, and holds exactly the table's columns."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from table_rows import new_root, of_beats, of_events, of_records, of_sources, rows, stage, version

from cardioclarity.tables import publish, staging
from cardioclarity.tables.schemas import IDENTIFYING, MEMBERS, SCHEMAS, file_schema
from cardioclarity.vocabulary import Reason


@pytest.fixture
def root(tmp_path):
    return new_root(tmp_path)


def test_a_staged_file_is_seen_by_nobody(root):
    staged = stage(root, "records", of_records("ab"), segment_id="s")

    assert (staged.n_rows, staged.size) == (2, len(root.fetch(staged.key)))
    assert staged.path == f"segment_id=s/run-unit-{staged.sha256}.parquet"
    assert rows(root, "records") == []
    assert version(root, "records") == 0


def test_a_repeated_unit_stages_the_same_bytes_under_the_same_name(root):
    first, second = (stage(root, "records", of_records("ab"), segment_id="s") for _ in range(2))

    assert first == second
    assert len(list(root.list("tables/records/segment_id=s/"))) == 1


def test_a_run_and_unit_of_any_name_can_be_told_from_a_path(root):
    run_id, unit_id = "20261126T020000-1a2b3c4d", "unit-7/a b"

    staged = stage(root, "sources", of_sources("a"), run_id=run_id, unit_id=unit_id)

    assert staging.run_of(staged.path) == run_id


@pytest.mark.parametrize("change", [{"age": None, "extra": 1}, {"record_id": ["a"]}, {"rate_hz": None}])
def test_wrong_columns_lengths_and_nulls_are_our_own_mistake(root, change):
    with pytest.raises(AssertionError, match=r"extra|unlike length|rate_hz must not be null"):
        stage(root, "records", of_records("ab") | change, segment_id="s")


def test_a_missing_column_is_our_own_mistake(root):
    columns = of_records("ab")
    del columns["notes"]

    with pytest.raises(AssertionError, match=r"columns missing \['notes'\]"):
        stage(root, "records", columns, segment_id="s")


def test_a_partition_that_the_table_does_not_have_is_our_own_mistake(root):
    with pytest.raises(AssertionError, match="partitioned by"):
        stage(root, "records", of_records("ab"), model_id="m")


@pytest.mark.parametrize("value", ["a/b", "a%b", "", "ä"])
def test_a_name_that_the_log_would_have_to_escape_is_our_own_mistake(root, value):
    with pytest.raises(AssertionError):
        stage(root, "records", of_records("ab"), segment_id=value)


def test_all_that_producers_have_becomes_exact_columns(root):
    columns = of_beats(
        2,
        record_index=np.array([0, 1], np.int64),
        kind=np.array(["beat", "window"], np.dtypes.StringDType()),
        reason=[Reason.MEMORY, None],
        rr_s=np.array([0.8, np.nan]),
        template=[np.float32(1.5), None],
        p_value=[0.1, float("nan")],
    )

    table = staging.arrow_table("beats", columns)

    assert table.schema.equals(file_schema("beats"))
    found = table.to_pylist()
    assert [row["kind"] for row in found] == ["beat", "window"]
    assert [row["reason"] for row in found] == ["memory", None]
    assert [row["rr_s"] for row in found] == [pytest.approx(0.8), None]
    assert [row["template"] for row in found] == [1.5, None]
    assert [row["p_value"] for row in found] == [pytest.approx(0.1), None]
    assert {row["lead"] for row in found} == {"MLII"}


def test_a_number_that_does_not_fit_is_refused():
    with pytest.raises(pa.ArrowInvalid):
        staging.arrow_table("beats", of_beats(1, record_index=np.array([2**40])))


@pytest.mark.parametrize(
    ("table", "columns"), [("records", of_records("")), ("events", of_events("")), ("beats", of_beats(0))]
)
def test_no_rows_are_a_file_too(root, table, columns):
    partition = {"segment_id": "s"} | ({} if table == "records" else {"model_id": "m"})

    staged = stage(root, table, columns, **partition)
    publish.add(root, table, [staged], run_id="run")

    assert (staged.n_rows, staged.row_digest) == (0, "0" * 32)
    assert rows(root, table) == []


def test_pages_have_checksums_and_identifying_columns_no_statistics(root):
    staged = stage(root, "sources", of_sources(["patient 7.dat"]))
    data = root.fetch(staged.key)
    group = pq.ParquetFile(pa.BufferReader(data)).metadata.row_group(0)

    for i in range(group.num_columns):
        column = group.column(i)
        assert (column.statistics is None) == (column.path_in_schema in IDENTIFYING), column.path_in_schema
        assert column.compression == "ZSTD"
    start = group.column(1).dictionary_page_offset
    damaged = bytearray(data)
    damaged[start + group.column(1).total_compressed_size // 2] ^= 1
    with pytest.raises(OSError, match=r"crc|CRC|checksum|corrupt"):
        pq.ParquetFile(pa.BufferReader(bytes(damaged)), page_checksum_verification=True).read()


def test_members_are_single_precision_and_verdicts_double():
    assert {SCHEMAS["beats"].field(name).type for name in MEMBERS} == {pa.float32()}
    assert SCHEMAS["scores"].field("score").type == pa.float64()
