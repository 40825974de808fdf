"""Only what is new is converted, bit for bit; what cannot be read is set aside by name; nothing is lost silently."""

import gc
import json
import tracemalloc
from itertools import chain
from typing import NamedTuple

import deltalake
import numpy as np
import pytest
import wfdb
import xarray as xr

from cardioclarity.config import ConvertConfig, StorageOptions
from cardioclarity.convert import CONVERT, UNIT_BYTES, UNIT_RECORDS, _slices, plan_listing
from cardioclarity.errors import NotFoundError, StorageError, UsageError
from cardioclarity.patients import PATIENT_KEY_VARIABLE
from cardioclarity.readers.protocol import Source
from cardioclarity.segments.read import read as read_segment
from cardioclarity.storage import open_storage
from cardioclarity.synthetic import MIT, Scene, ecg, wfdb_files, write_archive
from cardioclarity.tables import catalog, publish
from cardioclarity.vocabulary import Reason
from cardioclarity.work import Quarantined, Receipt, RunState, drive

SCENE = Scene(name="a", seed=3, duration_s=20.0, rate_hz=360.0)
MB = 1 << 20


def put(archive, files):
    storage = open_storage(str(archive))
    for key, data in files.items():
        storage.replace(key, data)


def convert(archive, root, **settings):
    return drive(CONVERT, ConvertConfig(archive=str(archive), root=str(root), **settings), map)


def table(root, name):
    return deltalake.DeltaTable(str(root / "tables" / name)).to_pyarrow_table().to_pylist()


@pytest.fixture
def archive(tmp_path):
    put(tmp_path / "archive", wfdb_files(ecg(SCENE), MIT))
    return tmp_path / "archive"


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


def test_a_second_run_has_nothing_to_do(archive, root):
    first = convert(archive, root)
    second = convert(archive, root)

    assert (first.state, first.done) == (RunState.COMPLETED, 1)
    assert (second.state, second.done, second.already_done) == (RunState.NOTHING_NEW, 0, 1)
    assert [row["state"] for row in catalog.runs(open_storage(str(root)))] == ["nothing_new", "completed"]


def test_every_spelling_of_an_archive_is_one_archive(archive, root, monkeypatch):
    monkeypatch.chdir(archive.parent)
    convert(archive, root)

    for spelling in ("archive", "archive/", "./archive", f"file://{archive}", f"/{archive}", f"{archive}/../archive/"):
        again = convert(spelling, root)
        assert (again.state, again.already_done) == (RunState.NOTHING_NEW, 1)

    assert {row["archive"] for row in table(root, "sources")} == {str(archive)}
    assert {json.loads(row["config"])["archive"] for row in table(root, "runs")} == {str(archive)}


def test_a_record_delivered_twice_and_renamed_is_one_record(archive, root):
    put(archive, wfdb_files(ecg(Scene(name="renamed/b", seed=3, duration_s=20.0, rate_hz=360.0)), MIT))

    summary = convert(archive, root)

    assert (summary.inputs, summary.done) == (2, 2)
    assert len(table(root, "records")) == 1
    assert len({row["record_id"] for row in table(root, "sources")}) == 1


def test_a_second_delivery_in_a_later_run_is_the_same_record(archive, root):
    convert(archive, root)
    put(archive, wfdb_files(ecg(Scene(name="late", seed=3, duration_s=20.0, rate_hz=360.0)), MIT))
    put(archive, wfdb_files(ecg(Scene(name="other", seed=4, duration_s=20.0, rate_hz=360.0)), MIT))

    summary = convert(archive, root)

    assert (summary.done, summary.already_done) == (2, 1)
    assert len(table(root, "records")) == 2
    assert len(table(root, "sources")) == 3


def test_every_broken_file_is_set_aside_for_its_reason_and_the_rest_is_converted(tmp_path, root):
    truth = write_archive(open_storage(str(tmp_path / "archive")).put_new, seed=1)

    summary = convert(tmp_path / "archive", root)

    reasons = {row["source_key"]: row["reason"] for row in table(root, "quarantine")}
    assert reasons == dict(truth.broken)
    assert summary.quarantined == len(truth.broken)
    assert summary.done == len(truth.records)
    assert len(table(root, "records")) == len(truth.records) - len(truth.copies)
    names = {key.removesuffix(".hea") for key in (*truth.broken, *truth.records)}
    for message in (row["message"] for row in table(root, "quarantine")):
        assert len(message) >= 20
        assert "\n" not in message
        assert not [name for name in names if name in message]


def test_a_broken_file_is_not_tried_again_until_it_changes_or_one_asks(archive, root):
    header = archive / "a.hea"
    sound = header.read_bytes()
    header.write_bytes(sound.replace(b"200", b"nan"))
    assert convert(archive, root).quarantined == 1

    assert convert(archive, root).state == RunState.NOTHING_NEW
    assert convert(archive, root, retry_quarantined=True).quarantined == 1

    header.write_bytes(sound)
    mended = convert(archive, root)
    assert (mended.done, mended.quarantined) == (1, 0)
    assert table(root, "quarantine") == []
    assert len(table(root, "sources")) == 1


def test_an_archive_of_broken_files_alone_leaves_every_one_in_quarantine(archive, root):
    (archive / "a.dat").unlink()

    summary = convert(archive, root)

    assert (summary.done, summary.quarantined) == (0, 1)
    assert [row["reason"] for row in table(root, "quarantine")] == [Reason.MISSING_FILE]
    assert table(root, "records") == []


def test_a_missing_archive_and_one_without_a_record_write_nothing(tmp_path, root):
    with pytest.raises(NotFoundError, match="does not exist"):
        convert(tmp_path / "nowhere", root)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("nothing")
    with pytest.raises(NotFoundError, match="1 x txt"):
        convert(tmp_path / "empty", root)

    assert not root.exists()


def test_records_are_taken_in_batches_in_the_order_of_their_keys(tmp_path, root):
    for i in range(5):
        put(tmp_path / "archive", wfdb_files(ecg(Scene(name=f"{i}", seed=i, duration_s=12.0, rate_hz=250.0)), MIT))

    done = [convert(tmp_path / "archive", root, max_records=2).done for _ in range(4)]

    assert done == [2, 2, 1, 0]
    assert [row["source_key"] for row in sorted(table(root, "sources"), key=lambda row: row["source_key"])] == [
        f"{i}.hea" for i in range(5)
    ]


def test_the_patients_file_says_who_is_who_and_no_raw_id_is_stored(archive, root, tmp_path, monkeypatch):
    put(archive, wfdb_files(ecg(Scene(name="b", seed=5, duration_s=20.0, rate_hz=360.0)), MIT))
    (tmp_path / "patients.csv").write_text("source_key,patient\na.hea,DOE-JANE\nb.hea,DOE-JANE\n")
    monkeypatch.setenv(PATIENT_KEY_VARIABLE, "secret of the test")

    convert(archive, root, patients=str(tmp_path / "patients.csv"))

    assert len({row["patient_id"] for row in table(root, "records")}) == 1
    assert not [path for path in root.rglob("*") if path.is_file() and b"DOE-JANE" in path.read_bytes()]


def test_without_a_key_nobody_knows_whose_a_record_is(archive, root, tmp_path, monkeypatch, caplog):
    (tmp_path / "patients.csv").write_text("source_key,patient\na.hea,DOE-JANE\n")
    monkeypatch.delenv(PATIENT_KEY_VARIABLE, raising=False)

    convert(archive, root, patients=str(tmp_path / "patients.csv"))

    assert [row["patient_id"] for row in table(root, "records")] == [None]
    assert PATIENT_KEY_VARIABLE in caplog.text


@pytest.mark.parametrize("content", ["", "key,name\na,b\n"])
def test_a_patients_file_without_its_columns_is_refused(archive, root, tmp_path, content):
    (tmp_path / "patients.csv").write_text(content)

    with pytest.raises(UsageError, match="source_key and patient"):
        convert(archive, root, patients=str(tmp_path / "patients.csv"))


def test_what_was_tolerated_is_written_down(archive, root):
    header = archive / "a.hea"
    header.write_bytes(header.read_bytes().replace(b" 200 11 ", b" 0 11 "))
    header.write_bytes(header.read_bytes().replace(b" 200(1024)/mV ", b" 0 "))

    assert convert(archive, root).done == 1
    assert any("gain" in note for row in table(root, "records") for note in row["notes"])


@pytest.mark.real_data
def test_every_record_of_the_arrhythmia_database_is_stored_bit_for_bit(real_data, root):
    summary = convert(real_data / "mitdb", root)

    headers = sorted((real_data / "mitdb").glob("*.hea"))
    assert (summary.done, summary.quarantined) == (len(headers), 0)
    storage = open_storage(str(root))
    keys = {row.record_id: row.key for row in catalog.known_sources(storage, str((real_data / "mitdb").resolve()))}
    compared = 0
    for segment in catalog.segments(storage):
        for _, record in read_segment(storage, segment.segment_id, digest=segment.digest):
            source = wfdb.rdrecord(
                str(real_data / "mitdb" / keys[record.record_id].removesuffix(".hea")), physical=False
            )
            for lead, row in zip(record.source_leads, record.signal, strict=True):
                np.testing.assert_array_equal(row, source.d_signal[:, source.sig_name.index(lead)])
            compared += 1
    assert compared == len(headers)


def test_a_segment_opens_with_xarray_alone(archive, root):
    convert(archive, root)
    (segment,) = (root / "segments").glob("*.zarr")

    with xr.open_zarr(segment, consolidated=False) as ds:
        mv = ((ds.signal - ds.baseline) / ds.gain).isel(record=0).values

    truth = ecg(SCENE).signal_mv
    names = list(SCENE.leads)
    stored = mv[:, : truth.shape[1]]
    for lead, row in zip(ds.lead.values.tolist(), stored, strict=True):
        np.testing.assert_allclose(row, truth[names.index(lead)], atol=0.5 / MIT.gain + 1e-4)


def test_the_same_listing_gives_the_same_units_which_name_no_file_when_printed(tmp_path, root):
    for i in range(3):
        put(tmp_path / "archive", wfdb_files(ecg(Scene(name=f"{i}", seed=i, duration_s=12.0, rate_hz=250.0)), MIT))
    plan = CONVERT.plan(ConvertConfig(archive=str(tmp_path / "archive"), root=str(root)))

    again = CONVERT.plan(ConvertConfig(archive=str(tmp_path / "archive"), root=str(root)))

    assert [unit.id for unit in plan.units] == [unit.id for unit in again.units]
    assert sum(len(unit.inputs) for unit in plan.units) == 3
    assert all(".hea" not in repr(unit) for unit in plan.units)


@pytest.mark.parametrize(
    ("sizes", "lengths"),
    [
        ([10] * 2500, [UNIT_RECORDS, UNIT_RECORDS, 2500 - 2 * UNIT_RECORDS]),
        ([40 * MB] * 3, [1, 1, 1]),
        ([UNIT_BYTES // 2] * 4, [2, 2]),
        ([10, UNIT_BYTES + 1, 10, 10], [1, 1, 2]),
        ([10] * 1500 + [40 * MB, 10, 40 * MB] + [10] * 5, [UNIT_RECORDS, 478, 6]),
        ([], []),
    ],
)
def test_a_unit_never_holds_more_than_its_share_of_the_archive_and_nothing_is_lost_between_two(sizes, lengths):
    listed = [Source(format="wfdb", key=f"{i:05d}.hea", version="1", size=size) for i, size in enumerate(sizes)]

    slices = list(_slices(listed))

    assert list(chain.from_iterable(slices)) == listed
    assert [len(part) for part in slices] == lengths
    assert all(len(part) <= UNIT_RECORDS for part in slices)
    assert all(len(part) == 1 or sum(source.size for source in part) <= UNIT_BYTES for part in slices)


def test_a_converter_that_died_between_its_commits_is_repaired_by_the_next_run(archive, root):
    plan = CONVERT.plan(ConvertConfig(archive=str(archive), root=str(root)))
    receipts = [CONVERT.run(unit) for unit in plan.units]
    records = [file for receipt in receipts for file in receipt.output.records]
    publish.add_new(open_storage(str(root)), records, run_id=plan.run_id)

    summary = convert(archive, root)

    assert (summary.state, summary.done) == (RunState.COMPLETED, 1)
    assert len(table(root, "records")) == len(table(root, "sources")) == 1


def test_a_converter_that_died_before_its_commits_left_nothing_to_see(archive, root):
    plan = CONVERT.plan(ConvertConfig(archive=str(archive), root=str(root)))
    for unit in plan.units:
        CONVERT.run(unit)
    assert table(root, "records") == table(root, "sources") == []

    assert convert(archive, root).done == 1
    assert len(list((root / "segments").glob("*.zarr"))) == 1


def test_a_segment_that_gc_took_while_its_rows_were_published_is_written_again_by_the_next_run(archive, root):
    config = ConvertConfig(archive=str(archive), root=str(root))
    plan = CONVERT.plan(config)
    receipts = [CONVERT.run(unit) for unit in plan.units]
    shard = next(path for path in (root / "segments").rglob("signal/c/**/*") if path.is_file())
    shard.unlink()

    with pytest.raises(StorageError, match=r"signal/c.* is missing.*run the same command again"):
        CONVERT.finish(config, plan, iter(receipts))

    assert table(root, "sources") == []
    assert convert(archive, root).done == 1
    assert shard.is_file()
    assert len(table(root, "records")) == len(table(root, "sources")) == 1


class File(NamedTuple):
    """An object of a listing."""

    key: str
    size: int = 1000
    version: str = "1"


def listing(n):
    """So many records of two files each, as a store lists them."""
    for number in range(n):
        for suffix in ("dat", "hea"):
            yield File(f"{number // 1000:06d}/{number:09d}.{suffix}")


def test_a_plan_of_ten_times_as_many_keys_takes_the_same_memory(tmp_path):
    config = ConvertConfig(archive=str(tmp_path), root=str(tmp_path / "root"))

    def peak_bytes(n):
        tracemalloc.start()
        try:
            plan = plan_listing(config, listing(n))
            gc.collect()  # cycles that opening tables leaves come and go by chance
            assert sum(len(unit.sources) for unit in plan.units) == n
            assert plan.expected_units == -(-n // UNIT_RECORDS)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak_bytes(3000)  # whatever loads once

    assert peak_bytes(50_000) < 1.1 * peak_bytes(5000)


def test_what_is_known_counts_beyond_the_batch_too(tmp_path, root):
    for i in range(4):
        put(tmp_path / "archive", wfdb_files(ecg(Scene(name=f"{i}", seed=i, duration_s=12.0, rate_hz=250.0)), MIT))
    convert(tmp_path / "archive", root)
    for name in ("00", "01"):
        put(tmp_path / "archive", wfdb_files(ecg(Scene(name=name, seed=7, duration_s=12.0, rate_hz=250.0)), MIT))

    summary = convert(tmp_path / "archive", root, max_records=1)

    assert (summary.done, summary.already_done) == (1, 4)


def test_a_patients_file_that_names_no_new_record_is_said(archive, root, tmp_path, monkeypatch, caplog):
    (tmp_path / "patients.csv").write_text("source_key,patient\nA.HEA,DOE-JANE\n")
    monkeypatch.setenv(PATIENT_KEY_VARIABLE, "secret of the test")

    convert(archive, root, patients=str(tmp_path / "patients.csv"))

    assert "none of the 1 patients in the file belongs to a new record" in caplog.text
    assert "DOE" not in caplog.text


def test_a_patients_file_is_reached_by_the_options_of_the_archive(archive, root, monkeypatch):
    monkeypatch.setenv(PATIENT_KEY_VARIABLE, "secret of the test")
    monkeypatch.setenv("CARDIOCLARITY_RETRY_S", "0")
    options = StorageOptions(endpoint_url="http://127.0.0.1:9", anon=True)

    with pytest.raises(StorageError, match=r"the store at http://127\.0\.0\.1:9 cannot be reached"):
        convert(archive, root, patients="s3://bucket/patients.csv", archive_storage=options)


def test_the_sources_of_a_unit_that_killed_its_worker_are_set_aside_and_not_tried_every_night(archive, root):
    config = ConvertConfig(archive=str(archive), root=str(root))
    plan = CONVERT.plan(config)
    (unit,) = plan.units
    rows = tuple(
        Quarantined(input=name, stage=unit.stage, reason=Reason.POISONED, message="it killed its worker twice")
        for name in unit.inputs
    )

    summary = CONVERT.finish(config, plan, iter([Receipt(unit_id=unit.id, done=0, quarantined=rows)]))

    assert (summary.done, summary.quarantined) == (0, 1)
    assert [(row["source_key"], row["reason"]) for row in table(root, "quarantine")] == [("a.hea", "poisoned")]
    assert convert(archive, root).state == RunState.NOTHING_NEW
    assert convert(archive, root, retry_quarantined=True).done == 1
    assert table(root, "quarantine") == []
