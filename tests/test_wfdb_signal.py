"""What is written is read back, sample for sample, however signals are interleaved; and real files read as wfdb does."""

import numpy as np
import pytest
from ecg_files import checksum, ramp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from referees import wfdb

from cardioclarity.errors import UnreadableFileError, UnsupportedFileError
from cardioclarity.readers import wfdb_header, wfdb_signal
from cardioclarity.readers.protocol import Limits
from cardioclarity.readers.wfdb_header import SignalSpec
from cardioclarity.readers.wfdb_signal import DECODERS, MISSING
from cardioclarity.vocabulary import Reason

CODES = {16: -32768, 212: -2048}
RANGE = {16: st.integers(-32767, 32767), 212: st.integers(-2047, 2047)}


def specs(n: int, wfdb_format: int, file: str = "1.dat", **fields: object) -> list[SignalSpec]:
    return [SignalSpec(file=file, format=wfdb_format, **fields) for _ in range(n)]  # type: ignore[arg-type]


def decode(signals, files, *, n_samples=None, wanted=None):
    wanted = range(len(signals)) if wanted is None else wanted
    groups = wfdb_signal.groups(signals, wanted)
    return wfdb_signal.decode(groups, files, wanted=wanted, n_samples=n_samples)


@st.composite
def signals_of_a_format(draw):
    wfdb_format = draw(st.sampled_from(sorted(DECODERS)))
    shape = draw(st.tuples(st.integers(1, 7), st.integers(1, 40)))
    values = RANGE[wfdb_format] | st.just(MISSING)
    return wfdb_format, draw(arrays(np.int16, shape, elements=values))


@given(signals_of_a_format())
def test_decoding_undoes_encoding_for_any_number_of_signals_and_samples(case):
    wfdb_format, signal = case

    data = wfdb_signal.encode(signal, wfdb_format)
    decoded = decode(specs(len(signal), wfdb_format), {"1.dat": data}, n_samples=signal.shape[1])

    np.testing.assert_array_equal(decoded.signal, signal)
    assert decoded.signal.flags.c_contiguous
    assert decoded.checksums_hold


@given(signals_of_a_format(), st.data())
def test_any_choice_of_signals_in_any_order_is_that_choice_of_rows(case, data):
    wfdb_format, signal = case
    wanted = data.draw(st.lists(st.sampled_from(range(len(signal))), min_size=1, unique=True))
    stored = wfdb_signal.encode(signal, wfdb_format)

    decoded = decode(specs(len(signal), wfdb_format), {"1.dat": stored}, n_samples=signal.shape[1], wanted=wanted)

    np.testing.assert_array_equal(decoded.signal, signal[wanted])


@pytest.mark.parametrize("n_signals", [1, 2, 3, 12])
@pytest.mark.parametrize("wfdb_format", sorted(DECODERS))
def test_a_file_of_many_blocks_is_joined_without_a_seam(monkeypatch, wfdb_format, n_signals):
    signal = ramp(n_signals, 2001)
    stored = wfdb_signal.encode(signal, wfdb_format)
    monkeypatch.setattr(wfdb_signal, "_BLOCK_BYTES", 64)

    decoded = decode(specs(n_signals, wfdb_format, checksum=None), {"1.dat": stored}, n_samples=2001)

    np.testing.assert_array_equal(decoded.signal, signal)


def test_format_212_packs_two_samples_into_three_bytes_as_the_manual_shows():
    signal = np.array([[0x123], [-1]], np.int16)

    assert wfdb_signal.encode(signal, 212) == bytes([0x23, 0xF1, 0xFF])
    np.testing.assert_array_equal(decode(specs(2, 212), {"1.dat": bytes([0x23, 0xF1, 0xFF])}).signal, signal)


def test_format_16_is_little_endian():
    assert wfdb_signal.encode(np.array([[0x0102, -2]], np.int16), 16) == bytes([2, 1, 0xFE, 0xFF])


@pytest.mark.parametrize(("n_signals", "n_samples"), [(1, 1), (1, 5), (3, 3), (5, 7)])
def test_an_odd_tail_of_format_212_may_lack_its_padding(n_signals, n_samples):
    signal = ramp(n_signals, n_samples)
    stored = wfdb_signal.encode(signal, 212)

    decoded = decode(specs(n_signals, 212), {"1.dat": stored[:-1]}, n_samples=n_samples)

    np.testing.assert_array_equal(decoded.signal, signal)


@pytest.mark.parametrize("wfdb_format", sorted(DECODERS))
def test_the_code_of_a_missing_sample_becomes_the_smallest_integer(wfdb_format):
    signal = np.array([[5, CODES[wfdb_format], 7, 8]], np.int16)

    decoded = decode(specs(1, wfdb_format), {"1.dat": wfdb_signal.encode(signal, wfdb_format)})

    assert decoded.signal.tolist() == [[5, MISSING, 7, 8]]


@pytest.mark.parametrize("value", [2048, -2049])
def test_a_sample_that_does_not_fit_the_format_is_our_own_mistake(value):
    with pytest.raises(AssertionError, match="12 bits"):
        wfdb_signal.encode(np.array([[value]], np.int16), 212)


def test_bytes_before_the_offset_are_passed_over_even_an_odd_number_of_them():
    signal = ramp(2, 9)
    files = {"1.dat": b"\x7f" * 25 + wfdb_signal.encode(signal, 16)}

    decoded = decode(specs(2, 16, byte_offset=25), files)

    np.testing.assert_array_equal(decoded.signal, signal)


@pytest.mark.parametrize("offsets", [(24, 0), (0, 24)])
def test_an_offset_that_stands_on_one_line_only_holds_for_its_file(offsets):
    signal = ramp(2, 9)
    signals = [specs(1, 16, byte_offset=offset)[0] for offset in offsets]

    decoded = decode(signals, {"1.dat": bytes(24) + wfdb_signal.encode(signal, 16)})

    np.testing.assert_array_equal(decoded.signal, signal)


def test_several_files_with_formats_of_their_own_make_one_record():
    first, second = ramp(2, 11), ramp(3, 11) + 1
    signals = [*specs(2, 212, "a"), *specs(3, 16, "b")]
    files = {"a": wfdb_signal.encode(first, 212), "b": wfdb_signal.encode(second, 16)}

    decoded = decode(signals, files, n_samples=11, wanted=[4, 0, 1, 2])

    np.testing.assert_array_equal(decoded.signal, np.stack([second[2], first[0], first[1], second[0]]))


def test_a_file_that_holds_no_wanted_signal_is_not_asked_for():
    signals = [*specs(1, 516, "pressure"), *specs(1, 16, "ecg")]

    (only,) = wfdb_signal.groups(signals, [1])

    assert only.file == "ecg"


def test_without_a_count_the_shortest_file_tells_the_length():
    signals = [*specs(1, 16, "a"), *specs(1, 212, "b")]
    files = {"a": wfdb_signal.encode(ramp(1, 9), 16), "b": wfdb_signal.encode(ramp(1, 6), 212)}

    assert decode(signals, files).signal.shape == (2, 6)


def test_a_file_that_goes_on_is_read_as_far_as_its_header_says():
    signal = ramp(2, 20)
    declared = [checksum(row[:15]) for row in signal]
    signals = [specs(1, 16, checksum=declared[i])[0] for i in range(2)]

    decoded = decode(signals, {"1.dat": wfdb_signal.encode(signal, 16)}, n_samples=15)

    np.testing.assert_array_equal(decoded.signal, signal[:, :15])
    assert decoded.checksums_hold


@pytest.mark.parametrize(("wfdb_format", "needs"), [(16, 24 + 100), (212, 24 + 75)])
def test_a_file_shorter_than_declared_is_truncated_and_says_by_how_much(wfdb_format, needs):
    stored = bytes(24) + wfdb_signal.encode(ramp(2, 25), wfdb_format)

    with pytest.raises(UnreadableFileError, match=f"has {needs - 1} bytes, header needs {needs}") as caught:
        decode(specs(2, wfdb_format, byte_offset=24), {"1.dat": stored[: needs - 1]}, n_samples=25)

    assert caught.value.reason is Reason.TRUNCATED


def test_nothing_is_allocated_for_samples_that_a_file_cannot_hold():
    with pytest.raises(UnreadableFileError) as caught:
        decode(specs(256, 16), {"1.dat": bytes(100)}, n_samples=10**17)

    assert caught.value.reason is Reason.TRUNCATED


@pytest.mark.parametrize(
    ("n_bytes", "reason"),
    [(0, Reason.TRUNCATED), (9, Reason.TRUNCATED), (10, Reason.TOO_SHORT), (13, Reason.TOO_SHORT)],
)
def test_a_file_without_a_whole_frame_is_too_short_and_one_that_ends_before_its_offset_truncated(n_bytes, reason):
    with pytest.raises(UnreadableFileError) as caught:
        decode(specs(2, 16, byte_offset=10), {"1.dat": bytes(n_bytes)})

    assert caught.value.reason is reason


@pytest.mark.parametrize("wfdb_format", sorted(DECODERS))
def test_a_checksum_holds_over_the_stored_samples_modulo_65536(wfdb_format):
    signal = ramp(2, 25)
    signal[0, 3], signal[1, 2] = CODES[wfdb_format], 2047
    stored = {"1.dat": wfdb_signal.encode(signal, wfdb_format)}
    sums = [checksum(row) for row in signal]
    held = [specs(1, wfdb_format, checksum=total, skew=2)[0] for total in sums]
    broken = [held[0], specs(1, wfdb_format, checksum=(sums[1] + 1) % 65536)[0]]

    assert decode(held, stored).checksums_hold
    assert not decode(broken, stored).checksums_hold


@pytest.mark.parametrize(
    ("skew", "expected"), [(0, [1, 2, 3, 4]), (1, [2, 3, 4, MISSING]), (4, [MISSING] * 4), (9, [MISSING] * 4)]
)
def test_a_skewed_signal_is_moved_to_its_time_and_its_end_is_missing(skew, expected):
    stored = wfdb_signal.encode(np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.int16), 16)
    signals = [*specs(1, 16, skew=skew), *specs(1, 16)]

    decoded = decode(signals, {"1.dat": stored})

    assert decoded.signal.tolist() == [expected, [5, 6, 7, 8]]


@pytest.mark.parametrize("wfdb_format", [0, 8, 24, 32, 80, 311, 516, 9999])
def test_a_format_that_is_not_read_is_named(wfdb_format):
    with pytest.raises(UnsupportedFileError, match=f"format {wfdb_format}; read are formats 16, 212") as caught:
        wfdb_signal.groups(specs(1, wfdb_format), [0])

    assert caught.value.reason is Reason.UNSUPPORTED_VARIANT


@pytest.mark.parametrize("n", [0, 2])
def test_other_than_one_sample_per_frame_is_refused_by_name(n):
    with pytest.raises(UnsupportedFileError, match="one sample per frame"):
        wfdb_signal.groups([*specs(1, 16), *specs(1, 16, samples_per_frame=n)], [0])


@pytest.mark.parametrize(
    "signals",
    [
        [*specs(1, 16), *specs(1, 212)],
        [*specs(1, 16, byte_offset=24), *specs(1, 16, byte_offset=25)],
        [*specs(1, 16, "a"), *specs(1, 16, "b"), *specs(1, 16, "a")],
    ],
    ids=["formats", "offsets", "return"],
)
def test_signal_lines_that_contradict_each_other_are_refused(signals):
    with pytest.raises(UnreadableFileError) as caught:
        wfdb_signal.groups(signals, [0])

    assert caught.value.reason is Reason.MALFORMED


@settings(max_examples=60)
@given(
    st.binary(max_size=80),
    st.sampled_from([16, 212]),
    st.integers(1, 5),
    st.none() | st.integers(1, 30),
    st.integers(0, 9),
)
def test_any_bytes_are_samples_or_refused(data, wfdb_format, n_signals, n_samples, offset):
    try:
        decoded = decode(specs(n_signals, wfdb_format, byte_offset=offset), {"1.dat": data}, n_samples=n_samples)
    except UnreadableFileError:
        return

    assert decoded.signal.shape[0] == n_signals
    assert decoded.signal.shape[1] == n_samples or n_samples is None
    assert n_signals * decoded.signal.shape[1] * DECODERS[wfdb_format].bits <= 8 * max(len(data) - offset, 0)


def read_as_wfdb(path):
    """Decode all signals, with the format's own code for missing samples, as wfdb leaves it."""
    header = wfdb_header.parse(path.read_bytes(), Limits())
    wanted = range(len(header.signals))
    groups = wfdb_signal.groups(header.signals, wanted)
    files = {group.file: (path.parent / group.file).read_bytes() for group in groups}
    decoded = wfdb_signal.decode(groups, files, wanted=wanted, n_samples=header.n_samples)
    code = CODES[header.signals[0].format]
    return np.where(decoded.signal == MISSING, code, decoded.signal), decoded.checksums_hold


@pytest.mark.real_data
def test_every_record_of_mit_bih_reads_as_wfdb_reads_it(real_data):
    headers = sorted((real_data / "mitdb").glob("*.hea"))
    assert len(headers) == 26
    for path in headers:
        ours, checksums_hold = read_as_wfdb(path)

        np.testing.assert_array_equal(ours.T, wfdb.rdrecord(str(path.with_suffix("")), physical=False).d_signal)
        assert checksums_hold


@pytest.mark.real_data
@pytest.mark.parametrize(
    "pattern",
    [
        "cpsc2021/*.hea",
        "svdb/*.hea",
        "nstdb/*.hea",
        "cudb/*.hea",
        "challenge12/*.hea",
        "cinc2017/*.hea",
        "construe/*.hea",
        "ludb/*.hea",
        "ptbxl/records500/*/*.hea",
        "ptbxl/records100/*/*0_lr.hea",
        "wfdb_formats/a103l*.hea",
        "wfdb_formats/v102s.hea",
        "wfdb_formats/s0010_re.hea",
        "wfdb_formats/test01_00s_skew.hea",
        "quality/*.hea",
    ],
)
def test_records_of_other_databases_read_as_wfdb_reads_them(real_data, pattern):
    headers = sorted(real_data.glob(pattern))
    assert headers
    for path in headers:
        ours, checksums_hold = read_as_wfdb(path)

        np.testing.assert_array_equal(ours.T, wfdb.rdrecord(str(path.with_suffix("")), physical=False).d_signal)
        assert checksums_hold


@pytest.mark.parametrize("wfdb_format", sorted(DECODERS))
@pytest.mark.parametrize("n_signals", [1, 2, 3])
def test_wfdb_reads_what_we_write(tmp_path, wfdb_format, n_signals):
    signal = ramp(n_signals, 101)
    lines = [f"1 {n_signals} 360 101"]
    lines += [f"1.dat {wfdb_format} 200 12 0 {row[0]} {checksum(row)} 0 ECG{i}" for i, row in enumerate(signal, 1)]
    (tmp_path / "1.hea").write_text("\n".join(lines) + "\n")
    (tmp_path / "1.dat").write_bytes(wfdb_signal.encode(signal, wfdb_format))

    np.testing.assert_array_equal(wfdb.rdrecord(str(tmp_path / "1"), physical=False).d_signal.T, signal)
