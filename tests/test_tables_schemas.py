"""One schema per table: documented column by column, plain enough for every Delta reader, and never silently newer."""

import re
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from table_rows import new_root

from cardioclarity.tables import snapshot
from cardioclarity.tables.schemas import (
    DESCRIPTIONS,
    IDENTIFYING,
    KEYS,
    PARTITIONS,
    RESEARCH_USE,
    SCHEMA_VERSION,
    SCHEMAS,
    file_schema,
)

DOCUMENT = (Path(__file__).parents[1] / "docs/tables.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL))
WORDS = {
    pa.string(): "text",
    pa.int64(): "int64",
    pa.int32(): "int32",
    pa.float64(): "float64",
    pa.float32(): "float32",
    pa.bool_(): "bool",
    pa.timestamp("us", "UTC"): "time",
    pa.list_(pa.field("element", pa.string())): "texts",
}
EVERY_TABLE = pytest.mark.parametrize("table", SCHEMAS)


def documented(table):
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in SECTIONS[table].splitlines() if "|" in line
    ]
    return rows[2:]


def named(table, sentence):
    found = re.search(sentence + r": (.*?)[.;]", SECTIONS[table])
    return tuple(re.findall(r"`(\w+)`", found[1]))


def test_every_table_is_documented_and_every_documented_table_exists():
    assert set(SECTIONS) == set(SCHEMAS) == set(KEYS) == set(PARTITIONS) == set(DESCRIPTIONS)


@EVERY_TABLE
def test_the_document_and_the_schema_have_the_same_columns_and_types_in_the_same_order(table):
    in_document = [(column, kind) for column, kind, *_ in documented(table)]

    assert in_document == [(field.name, WORDS[field.type]) for field in SCHEMAS[table]]


@EVERY_TABLE
def test_the_document_says_when_a_column_is_null_and_never_means_never(table):
    for column, _, _, meaning, null_when in documented(table):
        assert meaning
        assert null_when
        assert (null_when == "never") == (not SCHEMAS[table].field(column).nullable), column


@EVERY_TABLE
def test_the_document_names_the_key_and_the_partitions(table):
    assert named(table, "Key") == KEYS[table]
    assert named(table, "Partitioned by") == PARTITIONS[table]


@EVERY_TABLE
def test_a_unit_stands_at_the_end_of_a_columns_name_and_in_the_document(table):
    units = {"hz": "Hz", "s": "s", "bpm": "1/min", "sample": "samples", "samples": "samples"}
    for column, _, unit, *_ in documented(table):
        suffix = column.rsplit("_", 1)[-1]
        assert unit == units.get(suffix, unit), column


@EVERY_TABLE
def test_keys_partitions_and_identifying_columns_are_columns(table):
    assert {*KEYS[table], *PARTITIONS[table]} <= set(SCHEMAS[table].names)
    assert set().union(*(schema.names for schema in SCHEMAS.values())) >= IDENTIFYING


@EVERY_TABLE
def test_a_file_holds_every_column_but_the_partition_columns(table):
    assert set(file_schema(table).names) == set(SCHEMAS[table].names) - set(PARTITIONS[table])


@EVERY_TABLE
def test_a_table_says_that_it_is_for_research_and_which_schema_it_has(table, tmp_path):
    root = new_root(tmp_path)
    metadata = DeltaTable(root.join(f"tables/{table}")).metadata()

    assert RESEARCH_USE in metadata.description
    assert metadata.name == table
    assert metadata.partition_columns == list(PARTITIONS[table])
    assert metadata.configuration[snapshot.VERSION_PROPERTY] == str(SCHEMA_VERSION)


@EVERY_TABLE
def test_a_table_needs_no_feature_that_an_older_reader_lacks(table, tmp_path):
    protocol = DeltaTable(new_root(tmp_path).join(f"tables/{table}")).protocol()

    assert (protocol.min_reader_version, protocol.min_writer_version) == (1, 2)
    assert not protocol.reader_features
    assert not protocol.writer_features


@EVERY_TABLE
def test_the_stored_schema_is_the_arrow_schema(table, tmp_path):
    stored = snapshot.open_table(new_root(tmp_path), table).to_pyarrow_dataset().schema

    assert stored.equals(SCHEMAS[table])


def test_the_statements_in_the_document_are_those_of_the_table_descriptions():
    statements = re.search(r"```sql\n(.*?)\n```", DOCUMENT, re.DOTALL)[1].splitlines()

    assert statements[0] in DESCRIPTIONS["events"]
    assert statements[1] in DESCRIPTIONS["beats"]
