"""Records that may share a segment do, padding stays below a tenth, and a segment's name covers all its bytes."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioclarity.errors import CardioClarityError, DamageError
from cardioclarity.record import Annotations, Record
from cardioclarity.segments import layout
from cardioclarity.segments.layout import Manifest, Stored

lengths = st.lists(st.integers(1, 400), min_size=1, max_size=20)


def record(number: int = 0, *, n_samples: int = 10, leads=("I", "II"), rate_hz=250.0, dtype=np.int16) -> Record:
    return Record(
        record_id=f"{number:032x}",
        rate_hz=rate_hz,
        leads=leads,
        source_leads=leads,
        signal=np.arange(len(leads) * n_samples, dtype=dtype).reshape(len(leads), n_samples),
        gain=np.full(len(leads), 200.0),
        baseline=np.zeros(len(leads)),
        annotations=Annotations(sample=np.array([3, 7]), symbol=("N", "V"), aux=("", "")),
    )


def changed(**fields) -> Record:
    """The record of `record()` with some fields changed, its id kept."""
    plain = record()
    kept = {name: getattr(plain, name) for name in Record.__dataclass_fields__}
    return Record(**{**kept, **fields})


# ---------------------------------------------------------------- groups


@given(lengths=lengths)
@settings(max_examples=60)
def test_every_record_is_in_one_group_and_at_least_nine_tenths_as_long_as_its_longest(lengths):
    records = [record(i, n_samples=n) for i, n in enumerate(lengths)]

    groups = layout.group(records)

    assert sorted(r.record_id for members in groups for r in members) == [r.record_id for r in records]
    for members in groups:
        longest = max(r.n_samples for r in members)
        assert all(10 * r.n_samples >= 9 * longest for r in members)
        padding = 1 - sum(r.n_samples for r in members) / (longest * len(members))
        assert padding <= 0.1


@given(lengths=lengths, seed=st.integers(0, 99))
@settings(max_examples=40)
def test_groups_do_not_depend_on_the_order_of_the_records(lengths, seed):
    records = [record(i, n_samples=n) for i, n in enumerate(lengths)]
    shuffled = [records[i] for i in np.random.default_rng(seed).permutation(len(records))]

    assert layout.group(shuffled) == layout.group(records)


def test_no_two_groups_could_be_one():
    records = [record(i, n_samples=n) for i, n in enumerate([100, 91, 90, 89, 81, 80])]

    groups = layout.group(records)

    assert [[r.n_samples for r in members] for members in groups] == [[100, 91, 90], [89, 81], [80]]


def test_within_a_group_records_stand_in_the_order_of_their_ids():
    records = [record(i, n_samples=100 - i % 3) for i in (5, 1, 4, 2, 3)]

    (members,) = layout.group(records)

    assert [int(r.record_id, 16) for r in members] == [1, 2, 3, 4, 5]


def test_rate_leads_and_dtype_part_records():
    records = [
        record(1),
        record(2, rate_hz=500.0),
        record(3, leads=("I",)),
        record(4, dtype=np.int32),
        record(5),
    ]

    groups = layout.group(records)

    assert sorted([int(r.record_id, 16) for r in members] for members in groups) == [[1, 5], [2], [3], [4]]


def test_nothing_gives_no_group():
    assert layout.group([]) == []


# ---------------------------------------------------------------- chunks and shards


def test_ten_seconds_of_twelve_leads_go_eight_to_a_chunk():
    chunk, shard = layout.tiling(n_records=1000, n_leads=12, n_samples=5000, itemsize=2)

    assert chunk == (8, 12, 5000)
    assert shard == (1000, 12, 5000)


def test_a_holter_goes_in_tiles_of_a_power_of_two():
    chunk, shard = layout.tiling(n_records=4, n_leads=2, n_samples=24 * 3600 * 250, itemsize=2)

    assert chunk == (1, 2, 2**17)
    assert shard == (1, 2, 165 * 2**17)


def test_a_record_larger_than_a_shard_is_cut_along_time():
    chunk, shard = layout.tiling(n_records=2, n_leads=12, n_samples=24 * 3600 * 500, itemsize=2)

    assert chunk == (1, 12, 2**17)
    assert shard[0] == 1
    assert shard[2] < 24 * 3600 * 500
    assert 2**25 <= np.prod(shard) * 2 <= layout.SHARD_BYTES


@given(
    n_records=st.integers(1, 3000),
    n_leads=st.integers(1, 16),
    n_samples=st.integers(0, 10**7),
    itemsize=st.sampled_from([2, 4]),
)
def test_a_shard_is_whole_chunks_and_never_too_large(n_records, n_leads, n_samples, itemsize):
    chunk, shard = layout.tiling(n_records=n_records, n_leads=n_leads, n_samples=n_samples, itemsize=itemsize)

    assert all(s % c == 0 for s, c in zip(shard, chunk, strict=True))
    assert chunk[1] == shard[1] == n_leads
    assert np.prod(shard, dtype=int) * itemsize <= layout.SHARD_BYTES
    if n_samples <= layout.TILE_SAMPLES:
        assert chunk[2] == max(n_samples, 1)
        assert np.prod(chunk, dtype=int) * itemsize <= max(layout.CHUNK_BYTES, n_leads * n_samples * itemsize)
    else:
        assert chunk == (1, n_leads, layout.TILE_SAMPLES)


@given(n_records=st.integers(1, 3000), n_samples=st.integers(1, 5000))
def test_the_last_chunk_lacks_less_than_one_record_per_chunk(n_records, n_samples):
    (rows, _, _), _ = layout.tiling(n_records=n_records, n_leads=12, n_samples=n_samples, itemsize=2)

    n_chunks = -(-n_records // rows)

    assert n_chunks * rows - n_records < n_chunks


# ---------------------------------------------------------------- names


def test_equal_records_give_one_name_and_their_order_counts():
    assert layout.segment_id([record(1), record(2)]) == layout.segment_id([record(1), record(2)])
    assert layout.segment_id([record(1), record(2)]) != layout.segment_id([record(2), record(1)])
    assert len(layout.segment_id([record()])) == 32


@pytest.mark.parametrize(
    "fields",
    [
        {"record_id": "f" * 32},
        {"gain": np.array([200.0, 201.0])},
        {"baseline": np.array([0.0, 1.0])},
        {"leads": ("I", "III"), "source_leads": ("I", "III")},
        {"signal": np.arange(20, dtype=np.int32).reshape(2, 10)},
        {"signal": np.arange(22, dtype=np.int16).reshape(2, 11)},
        {"annotations": Annotations.none()},
        {"annotations": Annotations(sample=np.array([3, 8]), symbol=("N", "V"), aux=("", ""))},
        {"annotations": Annotations(sample=np.array([3, 7]), symbol=("N", "N"), aux=("", ""))},
        {"annotations": Annotations(sample=np.array([3, 7]), symbol=("N", "V"), aux=("", "(N"))},
    ],
    ids="-".join,
)
def test_whatever_changes_the_bytes_changes_the_name(fields):
    assert layout.segment_id([changed(**fields)]) != layout.segment_id([record()])


def test_a_computed_lead_that_differs_changes_the_name_though_the_record_id_ignores_it():
    leads = ("I", "II", "III")
    plain = record(leads=leads, n_samples=4)
    signal = plain.signal.copy()
    signal[2, 0] += 1

    other = changed(leads=leads, source_leads=leads, signal=signal, gain=plain.gain, baseline=plain.baseline)
    same = changed(leads=leads, source_leads=leads, signal=plain.signal, gain=plain.gain, baseline=plain.baseline)

    assert layout.segment_id([same]) == layout.segment_id([plain])
    assert layout.segment_id([other]) != layout.segment_id([plain])


def test_what_belongs_to_a_patient_is_not_stored_and_does_not_count():
    assert layout.segment_id([changed(notes=("checksum wrong",))]) == layout.segment_id([record()])


def test_keys_lie_below_segments():
    assert layout.manifest_key("abc") == "segments/abc.json"
    assert layout.folder_key("abc") == "segments/abc.zarr"


def test_every_key_of_a_segment_tells_whose_it_is_and_no_other_key_does():
    name = "0f" * 16
    own = [layout.manifest_key(name), f"{layout.folder_key(name)}/zarr.json", f"{layout.folder_key(name)}/signal/c/0/0"]
    other = ["segments/readme.md", f"segments/{name}.zarr", f"segments/{name}.json.bak", f"old/segments/{name}.json"]

    assert {layout.segment_of(key) for key in own} == {name}
    assert {layout.segment_of(key) for key in other} == {None}


# ---------------------------------------------------------------- manifest


def manifest(**fields) -> Manifest:
    objects = {"segments/a.zarr/b": Stored(2, "bb"), "segments/a.zarr/a": Stored(1, "aa")}
    return Manifest(**{"segment_id": "a", "record_ids": ("r2", "r1"), "objects": objects, **fields})


def test_a_manifest_reads_back_as_written():
    assert Manifest.from_bytes(manifest().to_bytes()) == manifest()


def test_equal_manifests_give_equal_bytes():
    turned = dict(reversed(manifest().objects.items()))

    assert manifest(objects=turned).to_bytes() == manifest().to_bytes()


def test_a_manifest_of_a_newer_version_is_refused_in_clear_words():
    with pytest.raises(CardioClarityError, match=r"written by a newer version of CardioClarity.* update it") as caught:
        Manifest.from_bytes(manifest(format_version=layout.FORMAT_VERSION + 1).to_bytes())

    assert not isinstance(caught.value, DamageError)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b"{}", b"\xff", json.dumps({"format_version": 1, "segment_id": "a"}).encode()],
)
def test_bytes_that_are_no_manifest_are_damage(data):
    with pytest.raises(DamageError, match="no segment manifest"):
        Manifest.from_bytes(data)


def test_an_object_is_known_by_size_and_sha256():
    assert Stored.of(b"abc") == (3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
