"""A segment opens in xarray alone and says all of its records; equal records give equal bytes, the manifest last."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioclarity.errors import ConflictError
from cardioclarity.record import Annotations, Patient, Record
from cardioclarity.segments import layout
from cardioclarity.segments.write import write
from cardioclarity.storage import Storage, open_storage


def record(number: int, *, n_samples=1000, leads=("I", "II"), dtype=np.int16, marks=True, seed=0) -> Record:
    random = np.random.default_rng([number, seed])
    info = np.iinfo(dtype)
    signal = random.integers(info.min + 1, info.max, (len(leads), n_samples)).astype(dtype)
    signal[0, :: max(n_samples // 5, 1)] = info.min
    sample = np.sort(random.integers(0, max(n_samples, 1), 4)) if marks else np.zeros(0, np.int64)
    return Record(
        record_id=f"{number:032x}",
        rate_hz=257.0,
        leads=leads,
        source_leads=tuple(f"source {lead}" for lead in leads),
        signal=signal,
        gain=random.uniform(100, 300, len(leads)),
        baseline=random.integers(-9, 9, len(leads)).astype(np.float64),
        annotations=Annotations(
            sample=sample, symbol=tuple("NV+~")[: len(sample)], aux=("", "", "(AFIB", "")[: len(sample)]
        ),
        patient=Patient(patient_id="hashed", age=50, device="Acme"),
        notes=("checksum wrong",),
    )


@pytest.fixture
def root(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path / "root"))


def opened(root: Storage, segment_id: str, **options) -> xr.Dataset:
    """Open a segment as somebody does who has nothing of ours."""
    return xr.open_zarr(Path(root.url, "segments", f"{segment_id}.zarr"), consolidated=False, **options)


def test_xarray_alone_shows_every_variable_of_the_design(root):
    records = [record(1), record(2, n_samples=990), record(3, marks=False)]

    dataset = opened(root, write(records, root).segment_id)

    shown = {name: (dataset[name].dims, dataset[name].encoding["dtype"].kind) for name in dataset.variables}
    assert shown == {
        "signal": (("record", "lead", "sample"), "i"),
        "gain": (("record", "lead"), "f"),
        "baseline": (("record", "lead"), "f"),
        "n_samples": (("record",), "i"),
        "record_id": (("record",), "T"),
        "lead": (("lead",), "T"),
        "annotation_record": (("annotation",), "i"),
        "annotation_sample": (("annotation",), "i"),
        "annotation_symbol": (("annotation",), "T"),
        "annotation_aux": (("annotation",), "T"),
    }
    assert dataset.lead.values.tolist() == ["I", "II"]
    assert dataset.record_id.values.tolist() == [r.record_id for r in records]
    assert dataset.n_samples.values.tolist() == [1000, 990, 1000]
    assert dataset.annotation_record.values.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert dataset.annotation_sample.values.tolist() == [*records[0].annotations.sample, *records[1].annotations.sample]
    assert dataset.annotation_symbol.values.tolist() == list("NV+~NV+~")
    assert dataset.annotation_aux.values.tolist() == ["", "", "(AFIB", ""] * 2
    np.testing.assert_array_equal(dataset.gain, [r.gain for r in records])
    np.testing.assert_array_equal(dataset.baseline, [r.baseline for r in records])


def test_the_physical_value_is_one_xarray_expression_and_missing_samples_are_nan(root):
    records = [record(1), record(2, n_samples=950)]

    dataset = opened(root, write(records, root).segment_id)
    millivolts = ((dataset.signal - dataset.baseline) / dataset.gain).values

    for row, each in zip(millivolts, records, strict=True):
        np.testing.assert_allclose(row[:, : each.n_samples], each.millivolts(), rtol=1e-6)
        assert np.isnan(row[:, each.n_samples :]).all()
    assert np.isnan(millivolts[0, 0, 0])


def test_the_attributes_say_what_a_reader_needs(root):
    dataset = opened(root, write([record(1)], root).segment_id)

    assert dataset.attrs["rate_hz"] == 257.0
    assert dataset.attrs["format_version"] == layout.FORMAT_VERSION
    assert dataset.attrs["encoding"] == layout.ENCODING
    assert dataset.attrs["producer"].startswith("cardioclarity ")
    assert dataset.attrs["intended_use"] == "Research use only, not for diagnostic use"
    assert all(dataset[name].attrs["long_name"] for name in dataset.variables)


@pytest.mark.parametrize("dtype", [np.int16, np.int32])
def test_samples_keep_their_dtype_and_the_padding_is_its_minimum(root, dtype):
    records = [record(1, dtype=dtype), record(2, dtype=dtype, n_samples=990)]

    signal = opened(root, write(records, root).segment_id, mask_and_scale=False).signal

    assert signal.dtype == dtype
    assert (signal[1, :, 990:] == np.iinfo(dtype).min).all()
    np.testing.assert_array_equal(signal[0], records[0].signal)


def test_nothing_of_the_patient_or_the_source_is_stored(root):
    write([record(1)], root)

    stored = b"".join(root.fetch(listed.key) for listed in root.list())

    for secret in (b"hashed", b"Acme", b"source I", b"checksum wrong"):
        assert secret not in stored


def test_a_segment_without_annotations_has_no_annotation_variable(root):
    dataset = opened(root, write([record(1, marks=False)], root).segment_id)

    assert not [name for name in dataset.variables if str(name).startswith("annotation")]


def test_every_array_is_checked_by_crc32c_and_the_signal_is_sharded_blosc(root):
    ref = write([record(1)], root)
    group = zarr.open_group(Path(root.url, layout.folder_key(ref.segment_id)), mode="r")

    for name, array in group.arrays():
        codecs = array.metadata.to_dict()["codecs"]
        if name == "signal":
            (sharding,) = codecs
            assert sharding["name"] == "sharding_indexed"
            codecs = sharding["configuration"]["codecs"]
            blosc = codecs[-2]["configuration"]
            assert (blosc["cname"], blosc["clevel"], blosc["shuffle"], blosc["typesize"]) == (
                "zstd",
                3,
                "bitshuffle",
                2,
            )
        assert codecs[-1]["name"] == "crc32c", name


@given(
    n_records=st.integers(1, 7),
    n_samples=st.integers(1, 300),
    n_leads=st.integers(1, 3),
    tile=st.sampled_from([16, 64, 2**17]),
    shard_bytes=st.sampled_from([256, 2048, 2**27]),
    dtype=st.sampled_from([np.int16, np.int32]),
)
@settings(max_examples=40, deadline=None)
def test_our_shards_are_those_that_zarr_reads(
    tmp_path_factory, n_records, n_samples, n_leads, tile, shard_bytes, dtype
):
    leads = ("I", "II", "V1")[:n_leads]
    records = [record(i, n_samples=n_samples - i % 2, leads=leads, dtype=dtype, marks=False) for i in range(n_records)]
    root = open_storage(str(tmp_path_factory.mktemp("root")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "TILE_SAMPLES", tile)
        patch.setattr(layout, "CHUNK_BYTES", 512)
        patch.setattr(layout, "SHARD_BYTES", shard_bytes)
        ref = write(records, root)

    signal = opened(root, ref.segment_id, mask_and_scale=False).signal.values

    assert signal.shape == (n_records, n_leads, max(r.n_samples for r in records))
    for row, each in zip(signal, records, strict=True):
        np.testing.assert_array_equal(row[:, : each.n_samples], each.signal)
        assert (row[:, each.n_samples :] == np.iinfo(dtype).min).all()


def test_two_hundred_short_records_are_one_shard_of_chunks_of_eight(root):
    leads = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
    random = np.random.default_rng(0)
    signal = random.normal(0, 30, (12, 5000)).astype(np.int16)
    base = record(0, leads=leads, marks=False)
    kept = {name: getattr(base, name) for name in Record.__dataclass_fields__}
    records = [Record(**{**kept, "record_id": f"{i:032x}", "signal": signal}) for i in range(200)]

    ref = write(records, root)

    group = zarr.open_group(Path(root.url, layout.folder_key(ref.segment_id)), mode="r")
    assert group["signal"].chunks == (8, 12, 5000)
    assert [k.key for k in root.list(f"{layout.folder_key(ref.segment_id)}/signal/c/")] == [
        f"{layout.folder_key(ref.segment_id)}/signal/c/0/0/0"
    ]
    assert sum(1 for _ in root.list()) <= 16


def test_no_chunk_inside_of_the_array_is_left_out_even_where_all_samples_are_missing(root):
    signal = np.full((1, 3 * 2**17), np.iinfo(np.int16).min, np.int16)
    base = record(1, leads=("I",), marks=False)
    kept = {name: getattr(base, name) for name in Record.__dataclass_fields__}

    ref = write([Record(**{**kept, "signal": signal})], root)

    shard = root.fetch(f"{layout.folder_key(ref.segment_id)}/signal/c/0/0/0")
    index = np.frombuffer(shard[-3 * 16 - 4 : -4], "<u8")
    assert len(index) == 6
    assert (index < len(shard)).all()


# ---------------------------------------------------------------- manifest, twice, crashes


def test_the_manifest_lists_every_object_with_size_and_sha256(root):
    ref = write([record(1), record(2)], root)

    data = root.fetch(layout.manifest_key(ref.segment_id))

    assert hashlib.sha256(data).hexdigest() == ref.digest
    stored = {k.key: root.fetch(k.key) for k in root.list() if not k.key.endswith(".json") or "zarr/" in k.key}
    listed = json.loads(data)
    assert listed["objects"] == {key: [len(v), hashlib.sha256(v).hexdigest()] for key, v in stored.items()}
    assert listed["record_ids"] == [f"{i:032x}" for i in (1, 2)] == list(ref.record_ids)
    assert ref.n_bytes == sum(k.size for k in root.list())


def test_writing_again_changes_nothing_and_gives_the_same_reference(root, tmp_path):
    records = [record(1), record(2)]
    first = write(records, root)
    before = [(k.key, k.version) for k in root.list()]

    assert write(records, root) == first
    assert [(k.key, k.version) for k in root.list()] == before

    elsewhere = open_storage(str(tmp_path / "other"))
    assert write(records, elsewhere) == first


def test_a_write_that_broke_off_is_completed_by_the_next(root):
    records = [record(1), record(2)]
    first = write(records, root)
    root.delete(layout.manifest_key(first.segment_id))
    root.delete(f"{layout.folder_key(first.segment_id)}/signal/c/0/0/0")

    assert write(records, root) == first
    assert root.fetch(layout.manifest_key(first.segment_id))


def test_the_manifest_is_written_last(root, monkeypatch):
    written: list[str] = []
    monkeypatch.setattr(os, "link", _telling(os.link, written))

    ref = write([record(1)], root)

    assert written[-1].endswith(f"{ref.segment_id}.json")
    assert len(written) > 10


def _telling(link, written: list[str]):
    def told(source, target) -> None:
        link(source, target)
        written.append(str(target))

    return told


def test_a_corrected_annotation_makes_another_segment_beside_the_first(root):
    plain = record(1)
    kept = {name: getattr(plain, name) for name in Record.__dataclass_fields__}
    corrected = Record(**{**kept, "annotations": Annotations(sample=np.array([5]), symbol=("V",), aux=("",))})

    assert write([plain], root).segment_id != write([corrected], root).segment_id


def test_a_damaged_object_is_never_overwritten(root):
    records = [record(1)]
    ref = write(records, root)
    shard = f"{layout.folder_key(ref.segment_id)}/signal/c/0/0/0"
    root.replace(shard, b"damaged")

    with pytest.raises(ConflictError, match="signal/c/0/0/0 is there with other content"):
        write(records, root)

    assert root.fetch(shard) == b"damaged"


@pytest.mark.parametrize(
    "records",
    [
        [],
        [record(1), record(1)],
        [record(1), record(2, dtype=np.int32)],
        [record(1), record(2, leads=("I", "V1"))],
    ],
    ids=["none", "twice", "dtypes", "leads"],
)
def test_records_that_are_no_group_are_our_own_mistake(root, records):
    with pytest.raises(AssertionError):
        write(records, root)

    assert not root.exists()
