"""Whose a record is comes out of the patients file as a pseudonym, line by line, or not at all."""

import pytest

from cardioclarity.config import StorageOptions
from cardioclarity.errors import NotFoundError, StorageError, UsageError
from cardioclarity.patients import PATIENT_KEY_VARIABLE, read


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv(PATIENT_KEY_VARIABLE, "secret of the test")
    return tmp_path / "patients.csv"


def test_equal_ids_give_equal_pseudonyms_and_a_blank_one_nobody(file):
    file.write_text(
        "\ufeffsource_key,ward,patient\na.hea,7, DOE \nb.hea,,DOE\nc.hea,,ROE\nd.hea,, \n", encoding="utf-8"
    )

    (a, doe), (b, again), (c, roe), (d, nobody) = read(str(file))

    assert (a, b, c, d) == ("a.hea", "b.hea", "c.hea", "d.hea")
    assert doe == again != roe != ""
    assert nobody == ""
    assert "DOE" not in doe


def test_another_secret_gives_other_pseudonyms(file, monkeypatch):
    file.write_text("source_key,patient\na.hea,DOE\n")
    first = list(read(str(file)))
    monkeypatch.setenv(PATIENT_KEY_VARIABLE, "another")

    assert list(read(str(file))) != first


def test_without_a_secret_no_line_is_read_and_the_log_says_why(file, monkeypatch, caplog):
    file.write_text("source_key,patient\na.hea,DOE\n")
    monkeypatch.delenv(PATIENT_KEY_VARIABLE)

    assert list(read(str(file))) == []
    assert PATIENT_KEY_VARIABLE in caplog.text
    assert "DOE" not in caplog.text


def test_a_file_of_nobody_is_read(file):
    file.write_text("source_key,patient\n")

    assert list(read(str(file))) == []


def test_a_quote_that_is_not_closed_is_told_with_its_line_and_no_name(file):
    file.write_text('source_key,patient\na.hea,ROE\nb.hea,"DOE' + "\nc.hea,DOE" * 20_000)

    with pytest.raises(UsageError, match=r"no CSV file from line \d+ on: .* a quote is not closed") as caught:
        list(read(str(file)))

    assert "DOE" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"source_key\na.hea\n", b"source_key,patient\n\xff,\xfe\n"])
def test_a_file_that_is_no_such_table_is_refused(file, content):
    file.write_bytes(content)

    with pytest.raises(UsageError, match=r"patients\.csv"):
        list(read(str(file)))


@pytest.mark.parametrize("name", ["nowhere.csv", ""])
def test_a_file_that_is_not_there_is_named(tmp_path, name):
    with pytest.raises(NotFoundError, match="does not exist"):
        list(read(f"{tmp_path}/{name}"))


def test_a_file_in_a_bucket_is_reached_as_it_is_said(monkeypatch):
    monkeypatch.setenv(PATIENT_KEY_VARIABLE, "secret of the test")
    monkeypatch.setenv("CARDIOCLARITY_RETRY_S", "0")
    options = StorageOptions(endpoint_url="http://127.0.0.1:9", anon=True)

    with pytest.raises(StorageError, match=r"the store at http://127\.0\.0\.1:9 cannot be reached"):
        list(read("s3://bucket/patients.csv", options))
