"""What was written is read back bit by bit, or the damage is named: no lost byte ever reads as a missing sample."""

import hashlib
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioclarity.errors import CardioClarityError, DamageError, NotFoundError
from cardioclarity.record import Annotations, Patient, Record
from cardioclarity.segments import layout
from cardioclarity.segments.layout import SegmentRef
from cardioclarity.segments.read import manifest, open_dataset, read
from cardioclarity.segments.write import write
from cardioclarity.storage import Storage, open_storage


def record(number: int, *, n_samples=1000, leads=("I", "II"), dtype=np.int16, n_marks=3) -> Record:
    random = np.random.default_rng(number)
    info = np.iinfo(dtype)
    return Record(
        record_id=f"{number:032x}",
        rate_hz=360.0,
        leads=leads,
        source_leads=leads,
        signal=random.integers(info.min, info.max, (len(leads), n_samples), endpoint=True).astype(dtype),
        gain=random.uniform(100, 300, len(leads)),
        baseline=random.integers(-9, 9, len(leads)).astype(np.float64),
        annotations=Annotations(
            sample=np.sort(random.integers(0, max(n_samples, 1), n_marks)),
            symbol=tuple(random.choice(list("NVA+"), n_marks)),
            aux=tuple(random.choice(["", "(AFIB", "(N"], n_marks)),
        ),
        patient=Patient(age=3),
        notes=("gain assumed",),
    )


@pytest.fixture
def root(tmp_path: Path) -> Storage:
    return replace(open_storage(str(tmp_path / "root")), name="as-it-was-given")


@pytest.fixture
def many_shards(monkeypatch) -> None:
    """Make shards so small that each record of 1000 samples has its own, of several chunks."""
    monkeypatch.setattr(layout, "TILE_SAMPLES", 256)
    monkeypatch.setattr(layout, "SHARD_BYTES", 4096)


def assert_same(found: Record, written: Record) -> None:
    assert (found.record_id, found.rate_hz, found.leads) == (written.record_id, written.rate_hz, written.leads)
    assert found.signal.dtype == written.signal.dtype
    np.testing.assert_array_equal(found.signal, written.signal)
    np.testing.assert_array_equal(found.gain, written.gain)
    np.testing.assert_array_equal(found.baseline, written.baseline)
    np.testing.assert_array_equal(found.annotations.sample, written.annotations.sample)
    assert found.annotations.symbol == written.annotations.symbol
    assert found.annotations.aux == written.annotations.aux


@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=6),
    marks=st.lists(st.integers(0, 4), min_size=6, max_size=6),
    n_leads=st.integers(1, 3),
    dtype=st.sampled_from([np.int16, np.int32]),
    tile=st.sampled_from([64, 2**17]),
    shard_bytes=st.sampled_from([512, 2**27]),
)
@settings(max_examples=40, deadline=None)
def test_read_after_write_is_the_identity(tmp_path_factory, lengths, marks, n_leads, dtype, tile, shard_bytes):
    root = open_storage(str(tmp_path_factory.mktemp("root")))
    records = [
        record(i, n_samples=n, leads=("I", "II", "V1")[:n_leads], dtype=dtype, n_marks=marks[i])
        for i, n in enumerate(lengths)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "TILE_SAMPLES", tile)
        patch.setattr(layout, "CHUNK_BYTES", 1024)
        patch.setattr(layout, "SHARD_BYTES", shard_bytes)
        ref = write(records, root)

    found = list(read(root, ref.segment_id, digest=ref.digest))

    assert [row for row, _ in found] == list(range(len(records)))
    for (_, each), written in zip(found, records, strict=True):
        assert_same(each, written)


def test_a_record_without_a_sample_survives(root):
    ref = write([record(1, n_samples=0, n_marks=0)], root)

    ((_, found),) = read(root, ref.segment_id, digest=ref.digest)

    assert found.signal.shape == (2, 0)


def test_what_a_segment_does_not_hold_comes_back_empty(root):
    ref = write([record(1)], root)

    ((_, found),) = read(root, ref.segment_id, digest=ref.digest)

    assert found.patient == Patient()
    assert found.notes == ()
    assert found.source_leads == found.leads


def test_a_record_owns_its_samples_and_nobody_can_change_them(root):
    ref = write([record(1), record(2, n_samples=990)], root)

    for _, found in read(root, ref.segment_id, digest=ref.digest):
        assert found.signal.base is None
        assert found.signal.flags.c_contiguous
        assert not found.signal.flags.writeable


def test_only_the_asked_records_come_and_only_their_shards_are_fetched(root, many_shards):
    records = [record(i) for i in range(5)]
    ref = write(records, root)
    for row in (0, 2, 4):
        root.delete(f"{layout.folder_key(ref.segment_id)}/signal/c/{row}/0/0")
    wanted = {records[3].record_id, records[1].record_id, "unknown"}

    found = list(read(root, ref.segment_id, digest=ref.digest, only=wanted))

    assert [row for row, _ in found] == [1, 3]
    assert_same(found[0][1], records[1])
    assert_same(found[1][1], records[3])
    assert list(read(root, ref.segment_id, digest=ref.digest, only=())) == []


def test_neighbours_in_one_chunk_can_be_read_apart(root):
    records = [record(i, n_samples=100 - i % 5) for i in range(20)]
    ref = write(records, root)

    found = list(read(root, ref.segment_id, digest=ref.digest, only={records[i].record_id for i in (3, 4, 11)}))

    assert [row for row, _ in found] == [3, 4, 11]
    for row, each in found:
        assert_same(each, records[row])


def test_one_shard_is_in_memory_at_a_time(root, monkeypatch):
    monkeypatch.setattr(layout, "CHUNK_BYTES", 2**18)
    monkeypatch.setattr(layout, "SHARD_BYTES", 2**18)
    records = [record(i, n_samples=50_000, n_marks=0) for i in range(24)]
    ref = write(records, root)
    each = records[0].signal.nbytes
    list(read(root, ref.segment_id, digest=ref.digest))  # whatever is made once is made

    tracemalloc.start()
    n_read = sum(1 for _ in read(root, ref.segment_id, digest=ref.digest))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert n_read == 24
    assert peak < 8 * each


# ---------------------------------------------------------------- damage


def damage_of(root: Storage, ref: SegmentRef) -> str:
    """Read all; the message must name the segment and say what to do."""
    with pytest.raises(DamageError) as caught:
        list(read(root, ref.segment_id, digest=ref.digest))
    message = str(caught.value)
    assert message.startswith(f"segment {ref.segment_id}: segments/{ref.segment_id}.")
    assert "cardioclarity verify" in message
    assert root.url not in message
    return message


def test_a_flipped_bit_in_any_object_is_found(root):
    ref = write([record(1, n_samples=300), record(2, n_samples=290)], root)
    random = np.random.default_rng(0)

    for listed in list(root.list()):
        whole = root.fetch(listed.key)
        for at in {0, listed.size - 1, *random.integers(0, listed.size, 3).tolist()}:
            flipped = bytearray(whole)
            flipped[at] ^= 1 << int(random.integers(8))
            root.replace(listed.key, bytes(flipped))
            message = damage_of(root, ref)
            assert listed.key in message
        root.replace(listed.key, whole)

    assert len(list(read(root, ref.segment_id, digest=ref.digest))) == 2


def test_any_missing_object_is_found(root, many_shards):
    ref = write([record(1), record(2)], root)

    for listed in list(root.list()):
        whole = root.fetch(listed.key)
        root.delete(listed.key)
        assert f"{listed.key} is missing" in damage_of(root, ref)
        root.replace(listed.key, whole)


def test_a_truncated_shard_is_found(root):
    ref = write([record(1)], root)
    shard = f"{layout.folder_key(ref.segment_id)}/signal/c/0/0/0"
    whole = root.fetch(shard)
    root.replace(shard, whole[:-1])

    assert f"{shard} has {len(whole) - 1} bytes, its manifest says {len(whole)}" in damage_of(root, ref)


def test_two_swapped_shards_are_found_though_each_is_whole(root, many_shards):
    ref = write([record(1), record(2)], root)
    first, second = (f"{layout.folder_key(ref.segment_id)}/signal/c/{row}/0/0" for row in (0, 1))
    bodies = root.fetch(first), root.fetch(second)
    root.replace(first, bodies[1])
    root.replace(second, bodies[0])

    damage_of(root, ref)


def test_a_shard_of_equal_size_from_another_segment_is_found(root):
    ref, other = write([record(1)], root), write([record(2)], root)
    key = "segments/{}.zarr/signal/c/0/0/0"
    root.replace(key.format(ref.segment_id), root.fetch(key.format(other.segment_id)))

    damage_of(root, ref)


def test_the_records_before_the_damage_are_still_read(root, many_shards):
    records = [record(1), record(2)]
    ref = write(records, root)
    root.delete(f"{layout.folder_key(ref.segment_id)}/signal/c/1/0/0")

    reading = read(root, ref.segment_id, digest=ref.digest)

    assert_same(next(reading)[1], records[0])
    with pytest.raises(DamageError, match="signal/c/1/0/0 is missing"):
        next(reading)


# ---------------------------------------------------------------- the manifest


def test_the_manifest_is_the_one_that_the_catalog_names(root):
    ref, other = write([record(1)], root), write([record(2)], root)

    found = manifest(root, ref.segment_id, digest=ref.digest)

    assert found.record_ids == ref.record_ids
    assert set(found.objects) == {k.key for k in root.list(layout.folder_key(ref.segment_id))}
    with pytest.raises(DamageError, match="not the manifest that the catalog names"):
        manifest(root, ref.segment_id, digest=other.digest)


def test_the_manifest_of_another_segment_is_found(root):
    ref, other = write([record(1)], root), write([record(2)], root)
    root.replace(layout.manifest_key(ref.segment_id), root.fetch(layout.manifest_key(other.segment_id)))

    with pytest.raises(DamageError, match=f"is the manifest of {other.segment_id}"):
        manifest(root, ref.segment_id, digest=other.digest)


def test_a_shard_that_the_manifest_does_not_list_is_damage(root):
    ref = write([record(1)], root)
    key = layout.manifest_key(ref.segment_id)
    found = manifest(root, ref.segment_id, digest=ref.digest)
    kept = {name: stored for name, stored in found.objects.items() if "signal/c/" not in name}
    changed = layout.Manifest(segment_id=ref.segment_id, record_ids=ref.record_ids, objects=kept).to_bytes()
    root.replace(key, changed)

    with pytest.raises(DamageError, match=r"its manifest does not list .*signal/c/0/0/0"):
        list(read(root, ref.segment_id, digest=hashlib.sha256(changed).hexdigest()))


def test_a_segment_of_a_newer_version_is_refused(root):
    ref = write([record(1)], root)
    found = manifest(root, ref.segment_id, digest=ref.digest)
    newer = layout.Manifest(
        segment_id=ref.segment_id, record_ids=ref.record_ids, objects=found.objects, format_version=99
    ).to_bytes()
    root.replace(layout.manifest_key(ref.segment_id), newer)

    with pytest.raises(CardioClarityError, match="format 99 was written by a newer version"):
        list(read(root, ref.segment_id, digest=hashlib.sha256(newer).hexdigest()))


# ---------------------------------------------------------------- xarray


def test_a_notebook_opens_a_segment_lazily(root):
    records = [record(1), record(2, n_samples=990)]
    ref = write(records, root)

    dataset = open_dataset(root, ref.segment_id)

    assert not dataset.signal.variable._in_memory
    millivolts = ((dataset.signal - dataset.baseline) / dataset.gain).sel(lead="II").isel(record=1).values
    np.testing.assert_allclose(millivolts[:990], records[1].millivolts()[1], rtol=1e-6)
    assert np.isnan(millivolts[990:]).all()


def test_a_segment_that_is_not_there_is_not_found(root):
    with pytest.raises(NotFoundError, match="has no segment abc; the table records names"):
        open_dataset(root, "abc")


def test_the_remedy_names_the_root(root):
    root.put_new(layout.manifest_key("0" * 32), b"other bytes")

    with pytest.raises(DamageError) as raised:
        manifest(root, "0" * 32, digest="0" * 64)

    assert str(raised.value).endswith("cardioclarity verify --root as-it-was-given --read-data")
