"""A WFDB record becomes one Record: the right leads, what was tolerated in its notes, and nothing of the patient's."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from ecg_files import fetch_from, ramp, sources, wfdb_header, wfdb_record

from cardioclarity import readers
from cardioclarity.errors import DataError, LimitExceededError, UnreadableFileError, UnsupportedFileError
from cardioclarity.readers.archive import Census, group
from cardioclarity.readers.protocol import Limits
from cardioclarity.record import Patient
from cardioclarity.vocabulary import Reason


def read(files, limits=Limits()):  # noqa: B008 - frozen
    (source,) = sources(files)
    return readers.read(source, fetch_from(files), limits)


def test_leads_come_in_canonical_order_with_their_own_samples_and_verbatim_names():
    signal = ramp(3)
    files = wfdb_record(signal=signal, leads=("MLII ", "LEAD aVR", "v1"), gain="100(3)/mV")

    record = read(files)

    assert record.leads == ("aVR", "V1", "MLII")
    assert record.source_leads == ("LEAD aVR", "v1", "MLII")
    np.testing.assert_array_equal(record.signal, signal[[1, 2, 0]])
    assert (record.gain.tolist(), record.baseline.tolist()) == ([100.0] * 3, [3.0] * 3)
    assert record.notes == ()


def test_millivolts_follow_gain_and_baseline():
    record = read(wfdb_record(signal=np.array([[1024, 1224, -2048]], np.int16), leads=("II",)))

    np.testing.assert_array_equal(record.millivolts(), np.array([[0, 1, np.nan]], np.float32))


def test_the_reference_annotations_come_along():
    record = read(wfdb_record())

    assert record.annotations.sample.tolist() == [3, 20]
    assert record.annotations.symbol == ("+", "N")
    assert record.annotations.aux == ("(AFIB", "")


def test_a_record_without_annotations_has_none():
    files = wfdb_record()
    del files["p1.atr"]

    record = read(files)

    assert len(record.annotations.sample) == 0
    assert record.notes == ()


def test_the_output_of_a_detector_is_no_reference():
    files = wfdb_record()
    files["p1.qrs"] = files.pop("p1.atr")

    assert len(read(files).annotations.sample) == 0


def test_corrupt_annotations_do_not_lose_the_signal():
    files = wfdb_record()
    files["p1.atr"] = b"\x01\x04\x00\xec"

    record = read(files)

    assert len(record.annotations.sample) == 0
    assert record.notes == ("annotations unreadable",)


def test_annotations_behind_the_end_are_dropped_and_noted():
    record = read(wfdb_record(signal=ramp(2, 20)))

    assert record.annotations.sample.tolist() == [3]
    assert record.notes == ("annotations behind the end dropped",)


def test_signals_that_are_no_ecg_are_dropped_and_counted():
    signal = ramp(4)
    files = wfdb_record(signal=signal, leads=("RESP", "II", "ABP", "V"))

    record = read(files)

    assert record.leads == ("II",)
    np.testing.assert_array_equal(record.signal, signal[1:2])
    assert record.notes == ("3 signals dropped",)


def test_the_x_of_an_accelerometer_is_no_lead():
    header = wfdb_header(ramp(2), leads=("X", "II")).decode().replace("200(1024)/mV", "200(1024)/g", 1)
    files = wfdb_record() | {"p1.hea": header.encode()}

    assert read(files).leads == ("II",)


@pytest.mark.parametrize("leads", [("RESP", "ABP"), ("noise1", "noise2")])
def test_a_record_without_a_known_lead_is_set_aside(leads):
    with pytest.raises(UnreadableFileError, match="none of the 2 signals") as caught:
        read(wfdb_record(leads=leads))

    assert caught.value.reason is Reason.NO_ECG_LEAD


@pytest.mark.parametrize(
    ("leads", "expected", "notes"),
    [
        (("ECG", "ECG"), ("ECG1", "ECG2"), ()),
        (("ECG", "ECG1", "ECG"), ("ECG1", "ECG2", "ECG3"), ()),
        (("ECG",), ("ECG",), ()),
        (("MLII", "MLII"), ("MLII", "ECG1"), ("lead named twice",)),
        (("II", "ECG 1", "L2"), ("II", "ECG1", "ECG2"), ("lead named twice",)),
        (("ECG1", "ECG_1"), ("ECG1", "ECG2"), ("lead named twice",)),
    ],
)
def test_names_that_repeat_are_told_apart(leads, expected, notes):
    record = read(wfdb_record(signal=ramp(len(leads)), leads=leads))

    assert record.leads == expected
    assert record.notes == notes


def test_the_second_of_a_name_is_the_one_renamed():
    signal = ramp(2)

    record = read(wfdb_record(signal=signal, leads=("MLII", "MLII")))

    np.testing.assert_array_equal(record.signal, signal)


def test_more_leads_than_allowed_are_refused():
    with pytest.raises(LimitExceededError, match="2 ECG leads, 1 are allowed"):
        read(wfdb_record(), Limits(ecg_leads=1))


def test_more_leads_of_one_name_than_there_are_generic_names_are_refused():
    files = wfdb_record(signal=ramp(34), leads=("II",) * 34)

    with pytest.raises(LimitExceededError, match="told apart"):
        read(files, Limits(ecg_leads=99))


def test_a_wrong_checksum_is_noted_and_the_record_kept():
    files = wfdb_record()
    files["p1.dat"] = bytes([files["p1.dat"][0] ^ 1]) + files["p1.dat"][1:]

    assert read(files).notes == ("checksum wrong",)


def test_an_assumed_gain_is_noted():
    record = read(wfdb_record(gain="0"))

    assert record.notes == ("gain assumed",)
    assert record.gain.tolist() == [200.0, 200.0]


def test_an_assumed_gain_of_a_dropped_signal_is_no_news():
    header = wfdb_header(ramp(2), leads=("RESP", "II")).decode().replace("200(1024)/mV", "0", 1)

    assert read(wfdb_record() | {"p1.hea": header.encode()}).notes == ("1 signals dropped",)


def test_facts_of_the_patient_come_from_the_allow_list():
    record = read(wfdb_record(comments="# Age: 300\n# Sex: Female\n# Dx: 426783006\n# Rx: Digoxin\n"))

    assert record.patient == Patient(age=90, sex="F", diagnosis_codes=("sct:426783006",))


def test_the_same_samples_in_another_format_and_lead_order_are_the_same_record():
    signal = ramp(2)

    first = read(wfdb_record(signal=signal))
    second = read(wfdb_record(signal=signal[::-1], leads=("V1", "MLII"), wfdb_format=16, name="other", gain="100/mV"))

    assert first.record_id == second.record_id


def test_two_flat_recordings_are_never_the_same_record():
    flat = np.zeros((1, 25), np.int16)
    files = wfdb_record("a/", flat, leads=("II",)) | wfdb_record("b/", flat, leads=("II",))

    first, second = (readers.read(source, fetch_from(files)).record_id for source in sources(files))

    assert first != second


def test_the_signal_file_may_lie_in_a_folder_below_the_header():
    files = wfdb_record("db/")
    files["db/sub/p1.dat"] = files.pop("db/p1.dat")
    files["db/p1.hea"] = files["db/p1.hea"].replace(b"p1.dat", b"sub/p1.dat")

    assert read(files).n_samples == 25


@pytest.mark.parametrize("name", ["../secret.dat", "/etc/passwd", "http://127.0.0.1:1/x", "a\\b.dat", "C:p1.dat"])
def test_a_header_cannot_make_the_reader_ask_for_anything_elsewhere(name):
    files = wfdb_record("db/")
    files["db/p1.hea"] = files["db/p1.hea"].replace(b"p1.dat", name.encode())
    asked = []

    def fetch(key):
        asked.append(key)
        return files[key]

    with pytest.raises(UnreadableFileError) as caught:
        readers.read(sources(files)[0], fetch)

    assert caught.value.reason is Reason.BAD_KEY
    assert asked == ["db/p1.hea"]


def test_a_format_that_is_not_read_is_refused_before_its_file_is_fetched():
    files = wfdb_record()
    files["p1.hea"] = files["p1.hea"].replace(b" 212 ", b" 80 ")
    del files["p1.dat"]

    with pytest.raises(UnsupportedFileError, match="format 80"):
        read(files)


def test_a_file_in_another_place_is_capped_as_well():
    files = wfdb_record()
    files["big"] = bytes(10_000)
    files["p1.hea"] = files["p1.hea"].replace(b"p1.dat", b"big")

    with pytest.raises(LimitExceededError):
        read(files, Limits(file_bytes=5_000))


def test_an_annotation_file_that_has_grown_beyond_the_cap_is_not_read():
    files = wfdb_record()
    (source,) = sources(files)
    files["p1.atr"] = bytes(1_000)

    record = readers.read(source, fetch_from(files), Limits(file_bytes=999))

    assert record.notes == ("annotations unreadable",)


@pytest.mark.parametrize(("key", "reason"), [("p1.hea", Reason.NO_HEADER), ("p1.dat", Reason.MISSING_FILE)])
def test_a_file_that_has_gone_is_named_by_its_role(key, reason):
    files = wfdb_record()
    (source,) = sources(files)
    del files[key]

    with pytest.raises(UnreadableFileError) as caught:
        readers.read(source, fetch_from(files))

    assert caught.value.reason is reason


def test_a_format_that_nobody_reads_is_bad_data_and_not_a_crash():
    (source,) = sources(wfdb_record())

    with pytest.raises(UnsupportedFileError, match="only for: wfdb") as caught:
        readers.read(replace(source, format="mfer"), fetch_from({}))

    assert caught.value.reason is Reason.UNKNOWN_FORMAT


CANARY = "Zweistein"
POISONED = {
    "record name": (b"p1 2", f"{CANARY}-rec 2".encode()),
    "comment": (b"\n#", f"\n# {CANARY}\n#".encode()),
    "age": (b"# Age: 50", f"# Age: {CANARY}".encode()),
    "diagnosis": (b"# Dx: 426783006", f"# Dx: {CANARY}".encode()),
    "lead": (b"V1", CANARY.encode()),
    "time": (b" 25\n", f" 25 {CANARY}\n".encode()),
    "count": (b" 25\n", f" {CANARY}\n".encode()),
    "rate": (b" 360 ", f" {CANARY} ".encode()),
    "signals": (b"p1 2 ", f"p1 {CANARY} ".encode()),
    "file": (b"p1.dat", f"{CANARY}.dat".encode()),
    "bad file": (b"p1.dat", f"../{CANARY}.dat".encode()),
    "format": (b" 212 ", f" {CANARY} ".encode()),
    "gain": (b"200(1024)/mV", CANARY.encode()),
    "units": (b"/mV", f"/{CANARY}".encode()),
    "resolution": (b" 12 0 ", f" {CANARY} 0 ".encode()),
}


@pytest.mark.parametrize("place", sorted(POISONED))
def test_a_name_planted_anywhere_in_a_header_shows_up_nowhere(place):
    files = wfdb_record(f"{CANARY}/", comments="# Age: 50\n# Dx: 426783006\n")
    old, new = POISONED[place]
    assert old in files[f"{CANARY}/p1.hea"]
    files[f"{CANARY}/p1.hea"] = files[f"{CANARY}/p1.hea"].replace(old, new)

    try:
        record = read(files)
    except DataError as error:
        shown = f"{error!r} {error}"
    else:
        shown = f"{record!r} {record.notes} {record.source_leads} {record.patient}"

    assert CANARY.lower() not in shown.lower()


def test_a_name_planted_in_annotations_shows_up_nowhere():
    files = wfdb_record()
    text = CANARY.encode() + b"\0"
    files["p1.atr"] = b"\x01\x58" + bytes([len(CANARY), 0xFC]) + text + files["p1.atr"]

    record = read(files)

    assert (record.annotations.symbol[0], record.annotations.aux[0]) == ('"', "")
    assert CANARY not in f"{record!r}"


@pytest.mark.real_data
def test_every_malformed_file_gives_a_record_or_a_reason(real_data):
    files = {path.name: path.read_bytes() for path in (real_data / "malformed").iterdir()}
    outcome = {}
    for source in sources(files):
        try:
            outcome[source.key] = readers.read(source, fetch_from(files)).notes
        except DataError as error:
            outcome[source.key] = error.reason

    assert outcome == {
        "date_first.hea": (),
        "year_short.hea": ("date unreadable",),
        "path_in_name.hea": Reason.UNSUPPORTED_VARIANT,
        "segments_short.hea": Reason.UNSUPPORTED_VARIANT,
    }


@pytest.mark.real_data
def test_the_whole_folder_of_open_databases_gives_records_or_reasons_and_nothing_else(real_data):
    files = {path.relative_to(real_data).as_posix(): path for path in real_data.rglob("*") if path.is_file()}
    census, outcome, notes = Census(), Counter(), Counter()

    def fetch(key):
        if key not in files:
            raise FileNotFoundError(key)
        return files[key].read_bytes()

    for source in group(_listing(files), census):
        try:
            record = readers.read(source, fetch)
        except DataError as error:
            outcome[error.reason] += 1
        else:
            outcome["read"] += 1
            notes.update(record.notes)

    assert census.ignored["xml"] == 11
    assert outcome["read"] >= 361
    assert outcome.keys() <= {"read", Reason.NO_ECG_LEAD, Reason.UNSUPPORTED_VARIANT, Reason.MISSING_FILE}
    assert notes["checksum wrong"] == 0
    assert notes["gain assumed"] == 1


def _listing(files):
    return sorted((_Entry(key, path.stat().st_size) for key, path in files.items()), key=lambda entry: entry.key)


class _Entry:
    def __init__(self, key, size):
        self.key, self.size, self.version = key, size, "1"
