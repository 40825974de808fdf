"""A segment is checked object by object, and each record by what its samples say it is."""

import json

import numpy as np
import pytest

from cardioclarity.record import Annotations, Record, content_id
from cardioclarity.segments import layout
from cardioclarity.segments.check import check, check_spare, rebuild_manifest
from cardioclarity.segments.layout import Stored
from cardioclarity.segments.write import write
from cardioclarity.storage import open_storage
from cardioclarity.vocabulary import Problem


def record(number, *, record_id=None, constant=False):
    signal = np.random.default_rng(number).integers(-999, 999, (2, 1000)).astype(np.int16)
    signal = np.full_like(signal, number) if constant else signal
    leads = ("V1", "V5")
    name = record_id or content_id(signal=signal, rate_hz=360.0, leads=leads, salt="delivery")
    return Record(
        record_id=name,
        rate_hz=360.0,
        leads=leads,
        source_leads=leads,
        signal=signal,
        gain=np.full(2, 200.0),
        baseline=np.zeros(2),
        annotations=Annotations.none(),
    )


@pytest.fixture
def root(tmp_path):
    return open_storage(str(tmp_path / "root"))


@pytest.fixture
def many_shards(monkeypatch):
    """Make shards so small that each record has its own."""
    monkeypatch.setattr(layout, "TILE_SAMPLES", 256)
    monkeypatch.setattr(layout, "SHARD_BYTES", 4096)


def checked(root, ref, *, wanted=None, read_data=True, digest=None):
    listed = {found.key: found.size for found in root.list("segments/")}
    wanted = ref.record_ids if wanted is None else wanted
    found = check(
        root,
        ref.segment_id,
        digest=digest or ref.digest,
        wanted=wanted,
        listed=listed,
        read_data=read_data,
    )
    return found, {flaw.key.rpartition(".zarr/")[2]: flaw for flaw in found.flaws}


def shard(ref, row):
    return f"{layout.folder_key(ref.segment_id)}/signal/c/{row}/0/0"


def replace_manifest(root, ref, **fields):
    key = layout.manifest_key(ref.segment_id)
    data = json.dumps(json.loads(root.fetch(key)) | fields).encode()
    root.replace(key, data)
    return Stored.of(data).sha256


def test_a_sound_segment_has_no_flaw_and_names_all_its_objects(root):
    ref = write([record(0), record(1), record(2, constant=True)], root)

    found, flaws = checked(root, ref)

    assert flaws == {}
    assert found.named == {listed.key for listed in root.list()}


def test_a_bad_shard_touches_the_records_in_it_and_no_other(root, many_shards):
    ref = write([record(0), record(1), record(2)], root)
    data = bytearray(root.fetch(shard(ref, 1)))
    data[7] ^= 4
    root.replace(shard(ref, 1), bytes(data))

    _, flaws = checked(root, ref)

    assert {key: (flaw.problem, flaw.record_ids) for key, flaw in flaws.items()} == {
        "signal/c/1/0/0": (Problem.DIGEST, (ref.record_ids[1],))
    }


@pytest.mark.parametrize("read_data", [True, False])
def test_a_shard_that_no_catalogued_record_needs_may_be_missing(root, many_shards, read_data):
    ref = write([record(0), record(1), record(2)], root)
    root.delete(shard(ref, 1))

    _, flaws = checked(root, ref, wanted=[ref.record_ids[0], ref.record_ids[2]], read_data=read_data)
    _, missed = checked(root, ref, read_data=read_data)

    assert flaws == {}
    assert missed["signal/c/1/0/0"].problem == Problem.MISSING
    assert missed["signal/c/1/0/0"].record_ids == (ref.record_ids[1],)


def test_an_id_that_the_samples_do_not_give_is_a_flaw_though_every_digest_is_right(root, many_shards):
    ref = write([record(0), record(1, record_id="f" * 32)], root)

    _, flaws = checked(root, ref)

    (flaw,) = flaws.values()
    assert (flaw.problem, flaw.record_ids) == (Problem.INCONSISTENT, ("f" * 32,))


def test_two_swapped_shards_are_each_the_other_one(root, many_shards):
    ref = write([record(0), record(1)], root)
    first, second = root.fetch(shard(ref, 0)), root.fetch(shard(ref, 1))
    root.replace(shard(ref, 0), second)
    root.replace(shard(ref, 1), first)

    _, flaws = checked(root, ref)

    assert flaws["signal/c/0/0/0"].found == flaws["signal/c/1/0/0"].expected
    assert flaws["signal/c/1/0/0"].found == flaws["signal/c/0/0/0"].expected


def test_a_newer_format_is_no_damage_of_the_bytes(root):
    ref = write([record(0)], root)
    digest = replace_manifest(root, ref, format_version=99)

    _, flaws = checked(root, ref, digest=digest)

    assert [flaw.problem for flaw in flaws.values()] == [Problem.UNKNOWN_VERSION]


def test_a_manifest_of_other_records_contradicts_the_catalog(root):
    ref = write([record(0)], root)
    digest = replace_manifest(root, ref, record_ids=["0" * 32])

    _, flaws = checked(root, ref, digest=digest)

    assert [flaw.problem for flaw in flaws.values()] == [Problem.INCONSISTENT]


def test_a_lost_manifest_is_rebuilt_byte_for_byte_or_not_at_all(root):
    ref = write([record(0), record(1)], root)
    key = layout.manifest_key(ref.segment_id)
    manifest = root.fetch(key)
    root.delete(key)

    assert rebuild_manifest(root, ref.segment_id, digest=ref.digest) == manifest
    root.replace(shard(ref, 0), b"")
    assert rebuild_manifest(root, ref.segment_id, digest=ref.digest) is None
    root.replace(f"{layout.folder_key(ref.segment_id)}/zarr.json", b"{")
    assert rebuild_manifest(root, ref.segment_id, digest=ref.digest) is None


def test_a_segment_that_nobody_names_is_held_against_its_own_manifest(root):
    ref = write([record(0)], root)
    listed = {found.key: found.size for found in root.list("segments/")}
    key = layout.manifest_key(ref.segment_id)

    assert check_spare(root, ref.segment_id, listed=listed) == ()
    root.replace(shard(ref, 0), b"other bytes")
    (flaw,) = check_spare(root, ref.segment_id, listed=listed)
    assert (flaw.key, flaw.problem, flaw.record_ids) == (shard(ref, 0), Problem.SIZE, ())
    root.delete(shard(ref, 0))
    assert check_spare(root, ref.segment_id, listed=listed) == ()
    root.replace(key, b"{")
    assert [flaw.key for flaw in check_spare(root, ref.segment_id, listed=listed)] == [key]
    root.delete(key)
    assert check_spare(root, ref.segment_id, listed=listed) == ()
