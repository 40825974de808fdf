"""Annotations survive the round trip, read as wfdb reads them, and no sequence of bytes hangs or crashes the reader."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from referees import wfdb

from cardioclarity.errors import UnreadableFileError
from cardioclarity.readers.wfdb_annotations import SYMBOLS, decode, encode
from cardioclarity.record import Annotations
from cardioclarity.vocabulary import BEAT_CLASSES, RHYTHMS, Reason

pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")  # of wfdb's own use of pandas

NOTE, SKIP, NUM, SUB, CHN, AUX = 22, 59, 60, 61, 62, 63
END = b"\0\0"


def word(kind: int, low: int = 0) -> bytes:
    return (kind << 10 | low).to_bytes(2, "little")


def skip(step: int) -> bytes:
    bits = step & 0xFFFFFFFF
    return word(SKIP) + (bits >> 16).to_bytes(2, "little") + (bits & 0xFFFF).to_bytes(2, "little")


def aux(text: bytes) -> bytes:
    return word(AUX, len(text)) + text + b"\0" * (len(text) % 2)


def note(text: bytes) -> bytes:
    return word(NOTE) + aux(text)


def read(*parts: bytes, rate_hz: float = 360.0) -> Annotations:
    return decode(b"".join(parts), rate_hz=rate_hz)


def rows(found: Annotations) -> list[tuple[int, str, str]]:
    return list(zip(found.sample.tolist(), found.symbol, found.aux, strict=True))


marks = st.tuples(
    st.integers(0, 5000) | st.sampled_from([0, 1023, 1024, 65535, 65536, 2**31 - 1]),
    st.sampled_from(sorted(SYMBOLS.values())),
    st.just("") | st.sampled_from([f"({rhythm}" for rhythm in sorted(RHYTHMS)]),
)


@given(st.lists(marks, max_size=30))
def test_decoding_undoes_encoding(items):
    annotations = Annotations(
        sample=np.cumsum([step for step, _, _ in items], dtype=np.int64),
        symbol=tuple(symbol for _, symbol, _ in items),
        aux=tuple(text for _, _, text in items),
    )

    found = decode(encode(annotations), rate_hz=360.0)

    assert rows(found) == rows(annotations)
    assert found.sample.dtype == np.int64


@settings(max_examples=25)
@given(st.lists(marks, min_size=1, max_size=12))
def test_wfdb_reads_what_we_write(tmp_path_factory, items):
    # From sample 1 on: wfdb takes a note without text at sample 0 for a definition and drops it.
    sample = 1 + np.cumsum([step % 10**6 for step, _, _ in items], dtype=np.int64)
    aux_texts = tuple(text for _, _, text in items)
    annotations = Annotations(sample=sample, symbol=tuple(symbol for _, symbol, _ in items), aux=aux_texts)
    folder = tmp_path_factory.mktemp("written")
    (folder / "1.atr").write_bytes(encode(annotations))

    theirs = wfdb.rdann(str(folder / "1"), "atr")

    assert theirs.sample.tolist() == sample.tolist()
    assert tuple(theirs.symbol) == annotations.symbol
    assert tuple(theirs.aux_note) == aux_texts


def test_we_read_what_wfdb_writes(tmp_path):
    sample, symbol, texts = np.array([0, 5, 2000, 99999]), ["+", "N", "V", "+"], ["(N", "", "", "(AFIB\0"]
    wfdb.wrann("1", "atr", sample, symbol=symbol, aux_note=texts, fs=360, write_dir=str(tmp_path))

    found = decode((tmp_path / "1.atr").read_bytes(), rate_hz=360.0)

    assert rows(found) == [(0, "+", "(N"), (5, "N", ""), (2000, "V", ""), (99999, "+", "(AFIB")]


@pytest.mark.real_data
def test_every_reference_annotation_of_the_open_databases_reads_as_wfdb_reads_it(real_data):
    files = sorted(real_data.rglob("*.atr"))
    assert len(files) > 35
    for path in files:
        theirs = wfdb.rdann(str(path.with_suffix("")), "atr")

        found = decode(path.read_bytes(), rate_hz=360.0)

        assert found.sample.tolist() == theirs.sample.tolist(), path.name
        assert found.symbol == tuple(theirs.symbol), path.name
        words = [text.rstrip("\0 ") for text in theirs.aux_note]
        assert found.aux == tuple(w if w[:1] == "(" and w[1:] in RHYTHMS else "" for w in words), path.name


@pytest.mark.real_data
def test_the_rhythms_of_record_203_are_all_there(real_data):
    found = decode((real_data / "mitdb/203.atr").read_bytes(), rate_hz=360.0)

    assert Counter(filter(None, found.aux)) == {"(AFIB": 21, "(VT": 21, "(AFL": 2, "(T": 1}


def test_every_beat_symbol_has_a_type():
    assert set(BEAT_CLASSES) <= set(SYMBOLS.values())


def test_types_and_symbols_are_those_of_wfdb():
    table = {label.label_store: label.symbol for label in wfdb.io.annotation.ann_labels}

    assert {code: table[code] for code in SYMBOLS} == SYMBOLS


def test_the_high_word_of_a_skip_stands_first():
    assert rows(read(skip(0x00010002), word(1, 3), END)) == [(0x00010005, "N", "")]


def test_a_negative_skip_is_legal_while_time_does_not_run_backwards():
    assert rows(read(word(1, 100), skip(-50), word(5, 60), END)) == [(100, "N", ""), (110, "V", "")]


def test_time_that_runs_backwards_is_refused():
    with pytest.raises(UnreadableFileError, match="backwards"):
        read(word(1, 100), skip(-50), word(5, 10), END)


def test_time_before_the_record_is_refused():
    with pytest.raises(UnreadableFileError, match="backwards"):
        read(skip(-50), word(5, 10), END)


def test_num_sub_and_chn_change_nothing_that_is_kept_and_take_no_time():
    data = (word(1, 100), word(NUM, 5), word(SUB, 1), word(CHN, 1023), word(5, 10), END)

    assert rows(read(*data)) == [(100, "N", ""), (110, "V", "")]


def test_a_text_belongs_to_the_annotation_before_it_even_behind_a_channel():
    assert rows(read(word(28, 100), word(CHN, 1), aux(b"(VT"), word(1, 1), END)) == [(100, "+", "(VT"), (101, "N", "")]


@pytest.mark.parametrize("text", [b"(AFIB\0", b"(AFIB", b"(AFIB \0\0", b" (AFIB"])
def test_a_rhythm_word_keeps_its_parenthesis_and_loses_its_padding(text):
    assert rows(read(word(28, 9), aux(text), END)) == [(9, "+", "(AFIB")]


@pytest.mark.parametrize("text", [b"AFIB", b"(afib", b"Smith, Eva", b"(", b"((AFIB", b"(AFIB)", b"PSE", b"\xff\xfe"])
def test_any_other_text_is_dropped_and_the_annotation_kept(text):
    assert rows(read(word(28, 9), aux(text), END)) == [(9, "+", "")]


def test_bytes_of_a_text_are_never_taken_for_annotations():
    text = word(1, 5) + END + word(SKIP) + word(AUX, 200)

    assert rows(read(word(NOTE, 1), aux(text), word(1, 5), END)) == [(1, '"', ""), (6, "N", "")]


def test_the_terminator_ends_the_file_and_may_be_missing():
    beat = word(1, 7)

    assert rows(read(beat, END, beat)) == rows(read(beat)) == rows(read(beat, b"\1")) == [(7, "N", "")]


def test_an_empty_file_holds_no_annotation():
    assert rows(read(b"")) == rows(read(END)) == []


def test_a_type_without_a_symbol_counts_as_a_note_and_so_as_no_beat():
    assert rows(read(word(45, 7), END)) == [(7, '"', "")]


def test_type_zero_only_carries_time():
    assert rows(read(word(0, 7), word(1, 3), END)) == [(10, "N", "")]


@pytest.mark.parametrize("data", [word(AUX, 4) + b"ab", word(SKIP) + b"\0\0", word(SKIP)], ids=["text", "half", "skip"])
def test_an_item_that_runs_over_the_end_is_truncated(data):
    with pytest.raises(UnreadableFileError, match="ends inside the item at byte 2") as caught:
        read(word(1, 7), data)

    assert caught.value.reason is Reason.TRUNCATED


def test_a_text_without_an_annotation_is_refused():
    with pytest.raises(UnreadableFileError, match="belongs to no annotation"):
        read(aux(b"(N"), word(1, 7), END)


@pytest.mark.parametrize("text", [b"## hello", b"## annotation type definitions", b"## time resolution: x"])
def test_a_comment_at_time_0_neither_hangs_nor_counts(text):
    assert rows(read(note(text), word(1, 7), END)) == [(7, "N", "")]


def test_definitions_of_types_are_no_annotations():
    data = (
        note(b"## annotation type definitions"),
        note(b"42 c calibration pulse"),
        note(b"## end of definitions"),
        note(b"MISSB"),
        word(1, 7),
    )

    assert rows(read(*data, END)) == [(0, '"', ""), (7, "N", "")]


def test_a_comment_later_than_time_0_is_a_note():
    assert rows(read(word(NOTE, 4), aux(b"## hello"), END)) == [(4, '"', "")]


def test_a_time_resolution_of_its_own_is_rescaled_to_the_rate_of_the_record():
    data = (note(b"## time resolution: 1000"), skip(-1), word(0, 1), word(1, 500), word(5, 501), END)

    assert rows(read(*data, rate_hz=250.0)) == [(125, "N", ""), (250, "V", "")]


def test_the_same_resolution_leaves_sample_numbers_alone():
    data = (note(b"## time resolution: 360.0"), skip(2**31 - 1), skip(2**31 - 1), word(1, 3), END)

    assert read(*data, rate_hz=360.0).sample.tolist() == [2**32 + 1]


def test_a_resolution_that_moves_annotations_beyond_any_record_is_refused():
    with pytest.raises(UnreadableFileError, match="beyond any record"):
        read(note(b"## time resolution: 0.000000001"), skip(2**31 - 1), word(1), END, rate_hz=20_000.0)


@given(st.binary(max_size=120))
def test_any_bytes_are_annotations_in_the_order_of_time_or_refused(data):
    try:
        found = decode(data, rate_hz=360.0)
    except UnreadableFileError:
        return

    assert (np.diff(found.sample, prepend=0) >= 0).all()
    assert len(found.sample) <= len(data) // 2
    assert all(text == "" or text[1:] in RHYTHMS for text in found.aux)


items = st.one_of(
    st.builds(word, st.integers(0, 63), st.integers(0, 1023)),
    st.builds(skip, st.integers(-2000, 2**31 - 1)),
    st.builds(aux, st.binary(max_size=9)),
    st.builds(
        note,
        st.sampled_from([b"## hello", b"## end of definitions", b"## time resolution: 0", b"## time resolution: 1e9"]),
    ),
)


@given(st.lists(items, max_size=12), st.integers(0, 3))
def test_any_sequence_of_items_cut_anywhere_is_read_or_refused(parts, cut):
    data = b"".join(parts)

    try:
        found = decode(data[: len(data) - cut], rate_hz=128.0)
    except UnreadableFileError:
        return

    assert (np.diff(found.sample, prepend=0) >= 0).all()


def test_an_unsorted_list_is_not_written():
    with pytest.raises(AssertionError, match="order of time"):
        encode(Annotations(sample=np.array([5, 4]), symbol=("N", "N"), aux=("", "")))


def test_a_file_of_a_day_with_a_text_and_a_skip_at_every_beat_agrees_with_its_source():
    n = 100_000
    day = Annotations(sample=np.arange(1, n + 1) * 1100, symbol=("+",) * n, aux=("(AFIB",) * n)

    found = decode(encode(day), rate_hz=1000.0)

    assert rows(found) == rows(day)
