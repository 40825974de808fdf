"""A protocol is read from a file, keeps patients apart, and is refused with a sentence where it does not."""

import pytest

from cardioclarity.errors import NotFoundError, UsageError
from cardioclarity.evaluation import protocol
from cardioclarity.evaluation.protocol import Protocol, load, parse

HALVES = '[train]\nrecords = ["a", "b"]\n[test]\nrecords = ["c"]\n'


def beats(text):
    return parse(f'kind = "beats"\n{text}', where="mine")


@pytest.mark.parametrize("name", protocol.names())
def test_every_shipped_protocol_is_read_and_says_what_it_is_and_where_it_comes_from(name):
    found = load(name)

    assert found.name == name
    assert found.title
    assert found.source
    assert found.split_in_words()


def test_the_public_halves_are_the_published_ones_and_leave_the_paced_records_out():
    halves = load("ds1-ds2")

    assert len(halves.train) == len(halves.test) == 22
    assert not set(halves.train) & set(halves.test)
    assert halves.exclude == {"102", "104", "107", "217"}
    assert "201/202" in halves.split_in_words()


def test_the_one_patient_in_both_public_halves_passes_only_because_the_protocol_says_so():
    halves = load("ds1-ds2")

    with pytest.raises(UsageError, match=r"1 patients stand on both sides: 201/202"):
        Protocol(name="mine", kind="beats", train=halves.train, test=halves.test, patients=halves.patients)


def test_a_patient_on_both_sides_is_refused_by_name():
    with pytest.raises(UsageError, match=r"both sides: jane"):
        beats(HALVES + '[patients]\na = "jane"\nc = "jane"\n')


def test_those_who_calibrate_are_apart_from_both_sides():
    with pytest.raises(UsageError, match="both sides: b"):
        beats(HALVES + '[calibrate]\nrecords = ["b"]\n')


def test_folds_are_shared_out_by_patient_and_every_record_is_tested_once():
    folds = beats('[folds]\nn = 2\nrecords = ["a", "b", "c", "d"]\n[patients]\na = "jane"\nd = "jane"\n')

    splits = folds.splits(())

    assert [split.test for split in splits] == [("a", "c", "d"), ("b",)]
    assert [split.train for split in splits] == [("b",), ("a", "c", "d")]


def test_more_folds_than_patients_leave_no_empty_test():
    folds = parse('kind = "rhythm"\n[folds]\nn = 5\n', where="mine")

    assert [split.test for split in folds.splits(("a", "b"))] == [("a",), ("b",)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind = ", "is no TOML"),
        ('kind = "beatz"', "kind 'beatz' does not exist; there are: beats, rhythm"),
        ('kind = "beats"\ntrian = 1', "there is no key 'trian'; there are: name, kind"),
        ('kind = "beats"\n[test]\nrecord = ["a"]', "there is no key 'record'; there are: records, folds"),
        ('kind = "beats"\n[test]\nrecords = "a"', "records must be a list of texts"),
        ('kind = "beats"\n[test]\nrecords = [100]', "records must be a list of texts"),
        ('kind = "beats"\ntest = ["a"]', "test must be a table"),
        ('kind = "beats"\n[folds]\nn = 1', "folds.n is 1; give 2 or more"),
        ('kind = "beats"\n[folds]\nn = true', "n must be a whole number"),
        ('kind = "beats"', r"name records in \[train\] and \[test\]"),
        ('kind = "beats"\n[test]\nrecords = ["a"]\n[folds]\nn = 2', "exclude each other"),
        ('kind = "noise"', r"name the noise records with kinds in \[noise\]"),
        ('kind = "noise"\n[noise]\nkinds = "em"', "kinds must be a list of texts"),
        ('kind = "noise"\n[noise]\nkinds = ["em"]\nsnr_db = 6', "snr_db must be a list of numbers"),
        ('kind = "noise"\n[noise]\nkinds = ["em"]\nperiod_s = 0', "period_s must be a positive number"),
        ('kind = "series"\n[labels]\ntrain = "X"', "train must be a list of texts"),
        ('kind = "beats"\n[folds]\nn = 2\nrecords = ["a", "a"]', "names a record twice: a"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_a_sentence(text, said):
    with pytest.raises(UsageError, match=said):
        parse(text, where="mine.toml")


def test_a_mistyped_name_is_answered_with_the_names_there_are():
    with pytest.raises(NotFoundError, match=r"no protocol 'ds1-ds' .*there are: ds1-cv, ds1-ds2.*did you mean ds1-ds2"):
        load("ds1-ds")


def test_a_folder_or_a_file_that_is_no_text_is_no_protocol(tmp_path):
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(UsageError, match="is a folder"):
        load(str(tmp_path))
    with pytest.raises(UsageError, match="is not UTF-8"):
        load(str(tmp_path / "mine.toml"))


def test_a_file_without_a_name_is_called_after_itself(tmp_path):
    (tmp_path / "mine.toml").write_text(f'kind = "beats"\n{HALVES}')

    assert load(str(tmp_path / "mine.toml")).name == "mine"
