"""A header means what header(5) says; what public databases do otherwise is tolerated by name, all else is refused."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioclarity.errors import DataError, LimitExceededError, UnreadableFileError, UnsupportedFileError
from cardioclarity.readers.protocol import Limits
from cardioclarity.readers.wfdb_header import DEFAULT_GAIN, Header, parse
from cardioclarity.record import Patient
from cardioclarity.vocabulary import Reason

SIGNAL = "1.dat 212 200(1024)/mV 11 1024 995 -22131 0 MLII"


def header(*lines: str, limits: Limits = Limits()) -> Header:  # noqa: B008 - frozen
    return parse("\n".join(lines).encode(), limits)


def record_line(line: str) -> Header:
    return header(line, SIGNAL)


def signal(line: str):
    return header("1 1 360 100", line).signals[0]


def test_a_full_header_is_read_field_by_field():
    found = header("1 1 360 650000 10:00:00 01/02/1999", SIGNAL)

    (spec,) = found.signals
    assert (found.rate_hz, found.n_samples, found.notes) == (360.0, 650000, ())
    assert (spec.file, spec.format, spec.samples_per_frame, spec.skew, spec.byte_offset) == ("1.dat", 212, 1, 0, 0)
    assert (spec.gain, spec.gain_assumed, spec.baseline) == (200.0, False, 1024)
    assert (spec.checksum, spec.description) == (65536 - 22131, "MLII")


@pytest.mark.parametrize(
    ("line", "rate_hz", "n_samples"),
    [
        ("1 1", 250.0, None),
        ("1 1 128", 128.0, None),
        ("1 1 62.4725 9", 62.4725, 9),
        ("1 1 1e3 9", 1000.0, 9),
        ("1 1 250/24000 9", 250.0, 9),
        ("1 1 360/360(0) 9", 360.0, 9),
        ("1 1 360 0", 360.0, None),
        ("a/b/rec 1 360 9", 360.0, 9),
    ],
)
def test_the_record_line_has_its_defaults_and_variants(line, rate_hz, n_samples):
    found = record_line(line)

    assert (found.rate_hz, found.n_samples) == (rate_hz, n_samples)


@pytest.mark.parametrize("words", ["", "10:00", "10:00:00.5", "10:00:00 12-May-2020", "12-May-2020 12:33:59"])
def test_time_and_date_may_stand_in_either_order_and_style(words):
    assert record_line(f"1 1 360 9 {words}").notes == ()


@pytest.mark.parametrize("words", ["10:00:00 01/01/199", "yesterday", "10:00:00 Januar 2020"])
def test_an_unreadable_date_costs_a_note_and_not_the_record(words):
    assert record_line(f"1 1 360 9 {words}").notes == ("date unreadable",)


@pytest.mark.parametrize("ends", ["\r\n", "\n", "\r", " \n", "\n\n"])
def test_line_ends_trailing_blanks_and_blank_lines_do_not_matter(ends):
    data = ends.join(["# a comment first", "1 1 360 9", SIGNAL, ""]).encode()

    assert parse(data, Limits()) == record_line("1 1 360 9")


def test_tabs_separate_fields_as_blanks_do():
    assert signal(SIGNAL.replace(" ", "\t")) == signal(SIGNAL)


def test_a_byte_order_mark_is_passed_over():
    assert parse(b"\xef\xbb\xbf# a comment\n1 1 360 9\n" + SIGNAL.encode(), Limits()).n_samples == 9


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_micro_sign_is_read_in_either_encoding(encoding):
    data = "1 1 360 9\n1.dat 16 0.2/µV 16 0 0 0 0 II".encode(encoding)

    assert parse(data, Limits()).signals[0].gain == 200.0


@pytest.mark.parametrize(
    ("word", "n", "skew", "offset"),
    [("16", 1, 0, 0), ("16x1+24", 1, 0, 24), ("16:3", 1, 3, 0), ("16x4:2+8", 4, 2, 8), ("16+24", 1, 0, 24)],
)
def test_the_format_field_carries_samples_per_frame_skew_and_offset(word, n, skew, offset):
    spec = signal(f"1.dat {word}")

    assert (spec.samples_per_frame, spec.skew, spec.byte_offset) == (n, skew, offset)


@pytest.mark.parametrize(
    ("word", "gain", "baseline"),
    [
        ("200", 200.0, 7),
        ("-200", -200.0, 7),
        ("1.052e+04/mV", 10520.0, 7),
        ("1000.0(0)/mv", 1000.0, 0),
        ("200(-12)", 200.0, -12),
        (".5/uV", 500.0, 7),
        ("200000/V", 200.0, 7),
        ("0.0002/nV", 200.0, 7),
        ("34043.46727318676(-167477)/mV", 34043.46727318676, -167477),
    ],
)
def test_gains_become_units_per_millivolt_and_the_baseline_defaults_to_the_adc_zero(word, gain, baseline):
    spec = signal(f"1.dat 16 {word} 12 7 0 0 0 II")

    assert spec.gain == pytest.approx(gain)
    assert (spec.baseline, spec.gain_assumed) == (baseline, False)


@pytest.mark.parametrize("line", ["1.dat 16", "1.dat 16 0 12 7 0 0 0 II", "1.dat 16 0.0(3)/mV", "1.dat 16 0/uV"])
def test_a_gain_of_zero_or_none_means_200_units_per_millivolt_and_says_so(line):
    spec = signal(line)

    assert (spec.gain, spec.gain_assumed) == (DEFAULT_GAIN, True)


@pytest.mark.parametrize("units", ["mmHg", "NU", "degrees", "g", "%"])
def test_a_unit_that_is_no_voltage_gives_no_gain(units):
    assert signal(f"1.dat 16 12.5/{units} 12 7 0 0 0 X").gain is None


@pytest.mark.parametrize(
    "word", ["nan", "NaN/mV", "inf", "-Infinity(3)/mV", "1e999", "200(", "x200", "200/", "1e-9", "1e12/mV"]
)
def test_a_gain_that_is_no_usable_number_is_refused(word):
    with pytest.raises(UnreadableFileError) as caught:
        signal(f"1.dat 16 {word} 12 7 0 0 0 II")

    assert caught.value.reason is Reason.BAD_GAIN


def test_the_gain_limit_holds_per_millivolt():
    with pytest.raises(UnreadableFileError, match="outside"):
        header("1 1 360 9", "1.dat 16 200/nV", limits=Limits(gain_max=1e6))


@pytest.mark.parametrize(
    ("written", "read"), [("-401", 65135), ("65135", 65135), ("-22131", 43405), ("0", None), ("", None)]
)
def test_a_checksum_is_read_signed_or_unsigned_and_zero_means_none(written, read):
    assert signal(f"1.dat 16 200 12 0 5 {written}").checksum == read


@pytest.mark.parametrize(
    ("words", "name"),
    [("II", "II"), ("sig 0, fmt 8", "sig 0, fmt 8"), ("II \r", "II"), ("LEAD aVR", "LEAD aVR"), ("", "")],
)
def test_a_description_is_verbatim_with_its_blanks_and_commas(words, name):
    assert signal(f"1.dat 16 200 12 0 5 1 0 {words}").description == name


@pytest.mark.parametrize(
    "line", ["1.dat", "1.dat x", "1.dat 16x", "1.dat 16y2", "1.dat -16", "1.dat 16 200 12 zero", "1.dat 16 200 1.5"]
)
def test_a_signal_line_off_the_grammar_is_refused(line):
    with pytest.raises(UnreadableFileError) as caught:
        signal(line)

    assert caught.value.reason is Reason.MALFORMED


@pytest.mark.parametrize(
    "line", ["1", "1 x 360", "1 -1 360", "1 1 360 -5", "1 1 360 9.5", "1 1 360 ٣", f"1 {'9' * 40}", "1 1 360 10:00:00"]
)
def test_a_record_line_off_the_grammar_is_refused(line):
    with pytest.raises(UnreadableFileError) as caught:
        record_line(line)

    assert caught.value.reason is Reason.MALFORMED


@pytest.mark.parametrize("rate", ["0", "-360", "9.9", "20001", "1e999", "nan", "inf", "fast", "360//2", "360/"])
def test_a_rate_out_of_range_is_refused(rate):
    with pytest.raises(UnreadableFileError) as caught:
        record_line(f"1 1 {rate} 9")

    assert caught.value.reason is Reason.BAD_RATE


@pytest.mark.parametrize("data", [b"", b"\n\n", b"# only a comment\n"])
def test_a_header_without_a_record_line_is_no_header(data):
    with pytest.raises(UnreadableFileError) as caught:
        parse(data, Limits())

    assert caught.value.reason is Reason.NO_HEADER


def test_a_header_of_no_signal_holds_no_ecg():
    with pytest.raises(UnreadableFileError) as caught:
        header("1 0 128 0")

    assert caught.value.reason is Reason.NO_ECG_LEAD


def test_fewer_signal_lines_than_declared_are_refused_and_more_are_noted():
    assert header("1 1 360 9", SIGNAL, SIGNAL).notes == ("more header lines than signals",)
    with pytest.raises(UnreadableFileError, match="declares 3 signals and describes 2"):
        header("1 3 360 9", SIGNAL, SIGNAL)


def test_a_record_of_several_segments_is_refused_in_clear_words():
    with pytest.raises(UnsupportedFileError, match="joined from 36 segments") as caught:
        record_line("1/36 4 125 52725000")

    assert caught.value.reason is Reason.UNSUPPORTED_VARIANT


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (Limits(header_bytes=20), "bytes"),
        (Limits(line_bytes=20), "line has"),
        (Limits(signals=1), "declares 2 signals"),
    ],
)
def test_a_header_beyond_the_limits_is_refused(limits, says):
    with pytest.raises(LimitExceededError, match=says) as caught:
        header("1 2 360 9", SIGNAL, SIGNAL, limits=limits)

    assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize("comments", ["#Age: 71\n#Sex: Male\n#Dx: 426783006", "# Age: 71\n# Sex: M\n# Dx: 426783006,x"])
def test_age_sex_and_diagnosis_pass_with_or_without_a_blank(comments):
    found = header("1 1 360 9", SIGNAL, comments)

    assert found.patient == Patient(age=71, sex="M", diagnosis_codes=("sct:426783006",))


@pytest.mark.parametrize(
    ("comment", "years", "sex"),
    [
        ("# 69 M 1085 1629 x1", 69, "M"),
        ("# 23 F 2546 N/A x1", 23, "F"),
        ("# 34 F", 34, "F"),
        ("# -1 M 1 2 x1", None, "M"),
    ],
)
def test_the_first_comment_of_mit_bih_gives_age_and_sex(comment, years, sex):
    assert header("1 1 360 9", SIGNAL, comment, "# Aldomet, Inderal").patient == Patient(age=years, sex=sex)


@pytest.mark.parametrize(
    "comments",
    [
        "# Aldomet\n# 69 M 1085 1629 x1",
        "# Name: Smith",
        "#Rx: 426783006",
        "# 69 M was seen by Dr Smith",
        "# sex: female",
    ],
)
def test_every_other_comment_is_dropped(comments):
    assert header("1 1 360 9", SIGNAL, comments).patient == Patient()


def test_the_first_of_two_statements_of_a_fact_holds():
    assert header("1 1 360 9", SIGNAL, "# Age: 71", "# Age: 17").patient.age == 71


@pytest.mark.parametrize(("words", "notes"), [("", ()), (" ", ()), (" Unknown", ("diagnosis codes dropped",))])
def test_a_diagnosis_that_is_no_code_is_dropped_and_noted(words, notes):
    found = header("1 1 360 9", SIGNAL, f"#Dx:{words}")

    assert (found.patient.diagnosis_codes, found.notes) == ((), notes)


def test_what_a_header_shows_of_itself_names_neither_file_nor_lead():
    shown = repr(header("smith 1 360 9", "smith.dat 16 200 12 0 0 0 0 SMITH-lead", "# Smith"))

    assert "smith" not in shown.lower()


def test_a_message_shows_the_shape_of_a_value_and_never_the_value():
    with pytest.raises(UnreadableFileError, match="xxxxx,xxxxxxxxx") as caught:
        signal("1.dat 16 Smith,Katherine 12 0 0 0 0 II")

    assert "Smith" not in str(caught.value)


REAL = (
    b"A0001 12 500 7500 12-May-2020 12:33:59\r\n"
    + b"".join(b"A0001.mat 16x1+24 1000.0(0)/mV 16 0 28 -1716 0 V%d\r\n" % i for i in range(12))
    + b"#Age: 74\r\n#Sex: Male\r\n#Dx: 59118001,426783006\r\n"
)
TOKENS = [
    b"\0",
    b"-",
    b"/",
    b"nan",
    b"inf",
    b"9" * 30,
    b"1e999",
    b"\xff",
    b"\xc2\xb2",
    b"(",
    b")",
    b"x",
    b":",
    b"+",
    b"#",
    b"\t",
]


@settings(max_examples=300)
@given(st.data())
def test_any_mutant_of_a_real_header_is_read_or_refused(data):
    mutant = bytearray(REAL)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(mutant)))
        stop = start + data.draw(st.integers(0, 8))
        mutant[start:stop] = data.draw(st.sampled_from(TOKENS) | st.binary(max_size=4))

    try:
        found = parse(bytes(mutant), Limits())
    except DataError:
        return

    assert 10 <= found.rate_hz <= 20_000
    assert 1 <= len(found.signals) <= 256
    assert all(spec.gain is None or 1e-6 <= abs(spec.gain) <= 1e9 for spec in found.signals)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    with contextlib.suppress(DataError):
        assert parse(data, Limits()).signals


@pytest.mark.real_data
def test_every_header_of_the_open_databases_is_read_or_refused_as_segmented_or_empty(real_data):
    reasons = set()
    for path in sorted(real_data.rglob("*.hea")):
        try:
            assert parse(path.read_bytes(), Limits()).signals
        except DataError as error:
            reasons.add(error.reason)

    assert reasons == {Reason.UNSUPPORTED_VARIANT, Reason.NO_ECG_LEAD}
