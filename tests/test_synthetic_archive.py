"""What is written is what is read: samples, annotations, and the reason for every broken file."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioclarity import readers
from cardioclarity.errors import DataError
from cardioclarity.readers import archive
from cardioclarity.synthetic import (
    FINE,
    MIT,
    Episode,
    Scene,
    digitise,
    ecg,
    short_records,
    wfdb_files,
    write_archive,
)
from cardioclarity.synthetic.scenes import TWELVE_LEADS
from cardioclarity.vocabulary import BEAT_CLASSES, Reason

SEEDS = st.integers(0, 2**32 - 1)


@dataclass(frozen=True)
class Listed:
    key: str
    size: int
    version: str = "1"


def fetcher(files):
    def fetch(key):
        if key not in files:
            raise FileNotFoundError(key)
        return files[key]

    return fetch


def sources(files):
    listing = [Listed(key, len(files[key])) for key in sorted(files, key=str.encode)]
    return {source.key: source for source in archive.group(listing)}


def read_all(files):
    return {key: readers.read(source, fetcher(files)) for key, source in sources(files).items()}


def scene(seed=1, **plan):
    return Scene(**{"name": "ward/one", "seed": seed, "duration_s": 20.0, "rate_hz": 250.0, **plan})


@pytest.fixture(scope="module")
def demo():
    files = {}
    truth = write_archive(files.__setitem__, seed=0)
    return files, truth


@pytest.fixture(scope="module")
def read_back(demo):
    files, truth = demo
    found = sources(files)
    return {stem: readers.read(found[f"{stem}.hea"], fetcher(files)) for stem in truth.records}


@given(seed=SEEDS, adc=st.sampled_from([MIT, FINE]), duration_s=st.sampled_from([1.0, 7.004, 20.0]))
@settings(max_examples=20, deadline=None)
def test_a_signal_read_back_differs_by_half_a_digit_at_most(seed, adc, duration_s):
    recording = ecg(scene(seed, duration_s=duration_s))
    files = wfdb_files(recording, adc)

    record = read_all(files)["ward/one.hea"]

    assert record.rate_hz == 250.0
    assert record.leads == record.source_leads == ("V1", "MLII")  # canonical order, the file has the other one
    assert record.notes == ()
    np.testing.assert_allclose(record.millivolts()[::-1], recording.signal_mv, atol=0.5001 / adc.gain)


@pytest.mark.parametrize("adc", [MIT, FINE])
def test_missing_samples_are_read_back_as_missing(adc):
    recording = ecg(scene(episodes=(Episode(kind="missing", start_s=5, end_s=9),)))

    record = read_all(wfdb_files(recording, adc))["ward/one.hea"]

    np.testing.assert_array_equal(np.isnan(record.millivolts()), np.isnan(recording.signal_mv))
    assert np.isnan(record.millivolts()).any()
    assert record.notes == ()  # the checksum counts the format's own code for a missing sample


def test_a_value_beyond_the_range_is_held_at_the_rail():
    signal_mv = np.array([[-99, -5.12, 0, 5.11, 99, np.nan]], np.float32)

    np.testing.assert_array_equal(digitise(signal_mv, MIT), [[0, 0, 1024, 2046, 2047, -32768]])
    np.testing.assert_array_equal(digitise(signal_mv, FINE), [[-32767, -5120, 0, 5110, 32767, -32768]])


@given(seed=SEEDS, adc=st.sampled_from([MIT, FINE]))
@settings(max_examples=15, deadline=None)
def test_annotations_survive_the_round_trip(seed, adc):
    episodes = (Episode(kind="af", start_s=20, end_s=35), Episode(kind="noise", start_s=45, end_s=52))
    recording = ecg(scene(seed, duration_s=60.0, pvc_per_hour=200, pac_per_hour=200, episodes=episodes))

    read = read_all(wfdb_files(recording, adc))["ward/one.hea"].annotations

    wanted = recording.annotations()
    np.testing.assert_array_equal(read.sample, wanted.sample)
    assert read.symbol == wanted.symbol
    assert read.aux == wanted.aux


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pandas warns of what wfdb 4.3.1 does on import
def test_the_files_open_in_the_reference_implementation(tmp_path):
    wfdb = pytest.importorskip("wfdb")
    recording = ecg(scene(duration_s=60.0, pvc_per_hour=200, episodes=(Episode(kind="missing", start_s=30, end_s=33),)))
    for adc in (MIT, FINE):
        folder = tmp_path / str(adc.wfdb_format)
        (folder / "ward").mkdir(parents=True)
        for key, data in wfdb_files(recording, adc).items():
            (folder / key).write_bytes(data)

        theirs = wfdb.rdrecord(str(folder / "ward/one"))
        beats = wfdb.rdann(str(folder / "ward/one"), "atr")

        assert theirs.sig_name == ["MLII", "V1"]
        assert theirs.units == ["mV", "mV"]
        np.testing.assert_allclose(theirs.p_signal.T, recording.signal_mv, atol=0.5001 / adc.gain)
        seen = [i for i, symbol in enumerate(beats.symbol) if symbol in BEAT_CLASSES]
        np.testing.assert_array_equal(beats.sample[seen], recording.rpeaks)


def test_without_annotations_there_are_two_files():
    assert sorted(wfdb_files(ecg(scene()), MIT, annotated=False)) == ["ward/one.dat", "ward/one.hea"]


def test_the_demo_archive_follows_from_its_seed(demo):
    files, _ = demo
    again, other = {}, {}

    write_archive(again.__setitem__, seed=0)
    write_archive(other.__setitem__, seed=1)

    assert files == again
    assert files.keys() == other.keys()
    assert all(files[key] != other[key] for key in files if key.startswith("normal/"))


def test_the_demo_archive_is_small(demo):
    files, _ = demo

    assert sum(map(len, files.values())) < 40 << 20


def test_every_demo_record_is_read_without_a_complaint(read_back):
    assert {stem: record.notes for stem, record in read_back.items() if record.notes} == {}


def test_every_demo_record_holds_the_beats_of_its_truth(demo, read_back):
    _, truth = demo

    for stem, record in read_back.items():
        known, annotations = truth.records[stem], record.annotations
        is_beat = np.array([symbol in BEAT_CLASSES for symbol in annotations.symbol], bool)
        np.testing.assert_array_equal(annotations.sample[is_beat], known.rpeaks)
        assert tuple(s for s in annotations.symbol if s in BEAT_CLASSES) == known.symbols
        assert record.duration_s == pytest.approx(known.scene.duration_s)
        assert sorted(record.leads) == sorted(known.scene.leads)


def test_normal_patients_have_normal_beats_only(demo):
    _, truth = demo
    normal = [record for record in truth.records.values() if record.group == "normal"]

    assert len(normal) == 12
    assert {symbol for record in normal for symbol in record.symbols} == {"N"}
    assert all(np.ptp(60 * record.scene.rate_hz / np.diff(record.rpeaks)) < 40 for record in normal)


HOLDS = {
    "pause": lambda rr_s: len(rr_s) == 1 and 2.5 < rr_s[0] < 4,
    "tachycardia": lambda rr_s: rr_s.max() < 60 / 110,
    "bradycardia": lambda rr_s: rr_s.min() > 60 / 45,
    "af": lambda rr_s: rr_s.std() / rr_s.mean() > 0.15,
    "bigeminy": lambda rr_s: rr_s[1::2].mean() > 1.5 * rr_s[::2].mean(),
    "noise": lambda rr_s: len(rr_s) == 0,
    "flat": lambda rr_s: len(rr_s) == 0,
    "missing": lambda rr_s: len(rr_s) == 0,
}
"""What the intervals between the beats inside an episode must be."""


def test_patients_with_episodes_have_what_the_truth_says(demo):
    _, truth = demo
    checked = set()

    for record in truth.records.values():
        seconds = record.rpeaks / record.scene.rate_hz
        for episode in record.episodes if record.group == "episodes" else ():
            within = seconds[(seconds >= episode.start_s - 0.003) & (seconds <= episode.end_s + 0.003)]
            assert HOLDS[episode.kind](np.diff(within)), (record.scene.name, episode)
            checked.add(episode.kind)

    assert checked == set(HOLDS)


def test_records_at_the_edge_are_read_and_have_no_beat(read_back):
    assert read_back["edge/five-seconds"].duration_s == 5
    assert np.ptp(read_back["edge/flat"].signal) == 0
    for name in ("flat", "no-beats", "noise"):
        assert not set(read_back[f"edge/{name}"].annotations.symbol) & set(BEAT_CLASSES)


def test_a_second_delivery_is_the_same_record(demo, read_back):
    _, truth = demo

    assert truth.copies
    for second, first in truth.copies.items():
        assert read_back[second].record_id == read_back[first].record_id
        assert truth.records[second].group == "copy"
    ids = [record.record_id for stem, record in read_back.items() if stem not in truth.copies]
    assert len(set(ids)) == len(ids)


def test_every_broken_file_is_refused_for_its_reason(demo):
    files, truth = demo
    found = sources(files)

    for key, reason in truth.broken.items():
        with pytest.raises(DataError) as refused:
            readers.read(found[key], fetcher(files))
        assert refused.value.reason == reason, key


def test_the_archive_holds_nothing_that_the_truth_does_not_know(demo):
    files, truth = demo

    known = {f"{stem}.hea" for stem in truth.records} | set(truth.broken)
    assert set(sources(files)) == known
    assert len(set(truth.broken.values())) == 7
    assert Reason.BAD_KEY in truth.broken.values()


def test_short_records_are_read_and_are_all_different():
    files = dict(short_records(20, seed=1))

    records = read_all(files)

    assert len(records) == 20
    assert len({record.record_id for record in records.values()}) == 20
    assert all(record.leads == TWELVE_LEADS and record.duration_s == 10 for record in records.values())
    assert all(record.notes == () for record in records.values())


def test_asking_for_more_short_records_keeps_the_first_ones():
    assert (
        dict(short_records(3, seed=1, leads=("MLII", "V5"))).items()
        <= dict(short_records(5, seed=1, leads=("MLII", "V5"))).items()
    )
